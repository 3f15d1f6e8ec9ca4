// An object store, as S3 is at its worst.
//
// Reads see what was put before. A PUT or DELETE whose answer was lost may take effect at any later
// moment, after its successor too. Hence the law of this house: **a name is PUT with one content
// only, and never again after a DELETE.** Every mutating call's error says whether it is certain
// that nothing happened (`maybe_applied`).
//
// Keys are '/'-separated, at most 1,024 bytes, of [A-Za-z0-9._/-]; anything else is Invalid. All
// calls suspend.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace varve {

struct ObjectInfo {
  std::string key;
  uint64_t size = 0;
};

struct ByteRange {
  uint64_t offset = 0;
  uint64_t length = 0;
};

// The outcome of a mutation.
struct [[nodiscard]] Mutation {
  Status status;
  bool maybe_applied = false;  // with an error: false only if it certainly was not and will not be
};

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;
  // Succeeds again with the same content. With other content: an error where the store can tell,
  // silence where it can't; the caller keeps the law.
  virtual Mutation put(std::string_view key, std::vector<Bytes> content) = 0;
  // NotFound if absent. `range` must lie inside the object (Invalid otherwise).
  virtual Result<Bytes> get(std::string_view key,
                            std::optional<ByteRange> range = std::nullopt) = 0;
  virtual Result<ObjectInfo> head(std::string_view key) = 0;
  // Sorted by key, strictly after `after`, at most `limit` (≤ 1,000).
  virtual Result<std::vector<ObjectInfo>> list(std::string_view prefix, std::string_view after,
                                               size_t limit) = 0;
  // Absent keys count as removed. After an error any subset may be, or may later become, removed.
  virtual Mutation remove(std::vector<std::string> keys) = 0;
};

// Success if `key` is one the interface takes.
Status check_object_key(std::string_view key);

}  // namespace varve
