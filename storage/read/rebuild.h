// A page from its chain of values. Pure.
#pragma once

#include <span>
#include <vector>

#include "base/lsn.h"
#include "base/status.h"
#include "storage/format/layer_reader.h"
#include "storage/key.h"

namespace varve::storage {

// Makes `page` what `key` (a relation's or a status file's block) is after `chain`, which is newest
// first. The last of the chain must start it, unless `page` already holds the base (`has_base`).
//   kNotFound  the page does not exist there (a tombstone)
//   kCorrupt   a chain without a start, a value that does not fit, poison; names the key and the
//   LSN kUnsupported  a resource manager without native redo
// After an error `page` is undefined.
Status rebuild_page(const Key& key, std::span<const StoredValue> chain, bool has_base,
                    std::span<uint8_t, kBlockSize> page);

}  // namespace varve::storage
