// Poison stays out: whether storage can digest a record, asked before the record enters the log.
#pragma once

#include "base/status.h"
#include "wal/record.h"
#include "wal/version.h"

namespace varve::compute {

// Success when ingest can take the record apart: its effect is known and each of its blocks can be
// stored. A page of a resource manager whose redo is not built in is no obstacle (its deltas are
// kept whole); an operation or a record of an extension that nobody knows is. `version` must
// outlive the answer. Suitable as compute::Digest.
Status digestible(const wal::Version& version, const wal::Record& record);

}  // namespace varve::compute
