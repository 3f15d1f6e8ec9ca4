// What a record does to pages that it does not reference.
#pragma once

#include "base/status.h"
#include "tools/oracle/page_map.h"
#include "wal/record.h"

namespace varve::oracle {

// Clears visibility bits, forgets pages of created or truncated files, copies databases. Comes
// before the record's own blocks are looked at: the images were taken after both.
Status apply_side_effects(const wal::Record& record, PageMap& pages);

}  // namespace varve::oracle
