// The index: the one object that says what a timeline consists of, written anew and under a new
// name at each change.
//
// Names are index-<generation>-<sequence>, fixed-width hexadecimal, so that a listing of one small
// prefix finds the newest: highest generation that is not above mine, then highest sequence. A name
// gets one content and no other: a PUT whose answer was lost may arrive later, so that the next
// attempt takes the next sequence. A life of a pageserver has a generation of its own, never used
// by another life, and writes an index of that generation before it relies on anything, so that a
// late index of an older life loses.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "runtime/object_store.h"
#include "storage/layer_map.h"
#include "storage/log_chunk.h"

namespace varve::storage {

// What never changes in a cluster.
struct ClusterIdentity {
  uint16_t postgres_major = 0;
  uint64_t system_id = 0;
  uint32_t segment_size = 0;  // of the log, bytes
  bool data_checksums = false;
  bool operator==(const ClusterIdentity&) const = default;
};

struct TimelineIndex {
  ClusterIdentity cluster;
  LogPosition start;                   // the import's end or the branch point
  std::optional<TimelineId> ancestor;  // whose versions up to `start` this timeline shares
  LogPosition flushed;                 // all up to here is in `layers`, or the ancestor's
  std::vector<LayerRef> layers;
};

Bytes encode_index(const TenantId& tenant, const TimelineId& timeline, const TimelineIndex& index);
// kCorrupt and kUnsupported name `object`.
Result<TimelineIndex> decode_index(const TenantId& tenant, const TimelineId& timeline,
                                   const Bytes& bytes, std::string_view object);

// "tenants/<tenant shard>/timelines/<timeline>/"
std::string timeline_prefix(const TenantShardId& tenant, const TimelineId& timeline);
// What the names of its indexes begin with.
std::string index_prefix(const std::string& prefix);
// "tenants/<tenant shard>/deleted/<timeline>": an empty object that says so, for ever. Outside of
// the timeline's prefix, so that one listing finds all of a tenant's and nothing of it is left
// there.
std::string deletion_mark(const TenantShardId& tenant, const TimelineId& timeline);
// What a tenant's marks begin with.
std::string deletion_marks(const TenantShardId& tenant);
// "…/index-<generation>-<sequence>" below a timeline's prefix.
std::string index_key(const std::string& prefix, Generation generation, uint64_t sequence);

struct FoundIndex {
  std::string key;
  Generation generation;
  uint64_t sequence = 0;
};
// The newest index whose generation is not above `generation`, by listing; nothing when there is
// none. Suspends.
Result<std::optional<FoundIndex>> find_index(ObjectStore& objects, const std::string& prefix,
                                             Generation generation);

}  // namespace varve::storage
