// An object store in memory, which never fails and counts what it holds.
#pragma once

#include <map>
#include <string>

#include "runtime/object_store.h"

namespace varve::test {

class MemoryObjects : public ObjectStore {
 public:
  Mutation put(std::string_view key, std::vector<Bytes> content) override;
  Result<Bytes> get(std::string_view key, std::optional<ByteRange> range) override;
  Result<ObjectInfo> head(std::string_view key) override;
  Result<std::vector<ObjectInfo>> list(std::string_view prefix, std::string_view after,
                                       size_t limit) override;
  Mutation remove(std::vector<std::string> keys) override;

  // Bytes put so far under names that contain `part`.
  uint64_t bytes_of(std::string_view part) const;

 private:
  std::map<std::string, std::vector<uint8_t>, std::less<>> objects_;
};

}  // namespace varve::test
