#include "tests/storage/memory_objects.h"

namespace varve::test {

Mutation MemoryObjects::put(std::string_view key, std::vector<Bytes> content) {
  std::vector<uint8_t> bytes;
  for (const Bytes& piece : content) {
    bytes.insert(bytes.end(), piece.data(), piece.data() + piece.size());
  }
  const auto [at, added] = objects_.try_emplace(std::string(key), std::move(bytes));
  VARVE_CHECK_MSG(added, "a name is put once");
  return {};
}

Result<Bytes> MemoryObjects::get(std::string_view key, std::optional<ByteRange> range) {
  const auto found = objects_.find(key);
  if (found == objects_.end()) {
    return Status(Code::kNotFound, "no object").with_object(std::string(key));
  }
  const std::span<const uint8_t> all = found->second;
  if (!range) return Bytes::copy(all);
  if (range->offset > all.size() || range->length > all.size() - range->offset) {
    return Status(Code::kInvalid, "the range is not in the object");
  }
  return Bytes::copy(all.subspan(range->offset, range->length));
}

Result<ObjectInfo> MemoryObjects::head(std::string_view key) {
  const auto found = objects_.find(key);
  if (found == objects_.end()) return Status(Code::kNotFound, "no object");
  return ObjectInfo{found->first, found->second.size()};
}

Result<std::vector<ObjectInfo>> MemoryObjects::list(std::string_view prefix, std::string_view after,
                                                    size_t limit) {
  std::vector<ObjectInfo> page;
  auto at = objects_.lower_bound(prefix);
  if (after > prefix) at = objects_.upper_bound(after);
  for (; at != objects_.end() && at->first.starts_with(prefix) && page.size() < limit; ++at) {
    page.push_back({at->first, at->second.size()});
  }
  return page;
}

Mutation MemoryObjects::remove(std::vector<std::string> keys) {
  for (const std::string& key : keys) objects_.erase(key);
  return {};
}

uint64_t MemoryObjects::bytes_of(std::string_view part) const {
  uint64_t bytes = 0;
  for (const auto& [key, content] : objects_) {
    if (key.find(part) != std::string::npos) bytes += content.size();
  }
  return bytes;
}

}  // namespace varve::test
