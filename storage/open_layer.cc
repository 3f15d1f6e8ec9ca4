#include "storage/open_layer.h"

#include <cstring>

#include "base/check.h"
#include "storage/value.h"

namespace varve::storage {
namespace {

constexpr size_t kArenaPiece = 256 << 10;
// A map node and the vector in it, as the allocator rounds them.
constexpr uint64_t kKeyOverhead = 128;

}  // namespace

std::span<const uint8_t> OpenLayer::keep(std::span<const uint8_t> value) {
  if (value.size() > arena_left_) {
    const size_t size = value.size() > kArenaPiece / 4 ? value.size() : kArenaPiece;
    arena_.push_back(std::make_unique_for_overwrite<uint8_t[]>(size));
    bytes_ += size;
    if (size == value.size()) {
      std::memcpy(arena_.back().get(), value.data(), size);
      return {arena_.back().get(), size};
    }
    arena_at_ = arena_.back().get();
    arena_left_ = size;
  }
  std::memcpy(arena_at_, value.data(), value.size());
  const std::span<const uint8_t> kept(arena_at_, value.size());
  arena_at_ += value.size();
  arena_left_ -= value.size();
  return kept;
}

OpenLayer::Versions& OpenLayer::versions_of(const Key& key) {
  if (recent_.empty()) recent_.resize(kRecent);
  // The relation and the block; what the rest says is compared.
  const uint64_t mixed = (key.word(8) ^ key.word(10) * 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9;
  Recent& recent = recent_[mixed >> 54];
  static_assert(kRecent == 1 << (64 - 54));
  if (recent.versions != nullptr && recent.key == key) return *recent.versions;
  const auto [at, added] = values_.try_emplace(key);
  if (added) bytes_ += kKeyOverhead;
  recent = {key, &at->second};
  return at->second;
}

void OpenLayer::put(const Key& key, Lsn lsn, std::span<const uint8_t> value) {
  VARVE_CHECK(!frozen() && lsn >= lsn_.start && !value.empty());
  Versions& versions = versions_of(key);
  if (!versions.empty() && versions.back().lsn == lsn) {
    versions.back().bytes = keep(value);
    return;
  }
  VARVE_CHECK(versions.empty() || versions.back().lsn < lsn);
  versions.push_back({lsn, keep(value)});
  bytes_ += sizeof(Version);
}

void OpenLayer::freeze(Lsn end) {
  VARVE_CHECK(!frozen() && lsn_.start < end);
  lsn_.end = end;
  recent_ = {};
}

LsnRange OpenLayer::lsn() const {
  VARVE_CHECK(frozen());
  return lsn_;
}

bool OpenLayer::find_chain(const Key& key, LsnRange range, std::vector<StoredValue>& chain) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return false;
  const Versions& versions = found->second;
  for (size_t i = versions.size(); i-- > 0;) {
    if (versions[i].lsn >= range.end) continue;
    if (versions[i].lsn < range.start) return false;
    chain.push_back({key, versions[i].lsn, Bytes::copy(versions[i].bytes)});
    const Result<ValueView> view = parse_value(versions[i].bytes);
    VARVE_CHECK_MSG(view.ok(), "ingest put a value that is none");
    if (starts_chain(*view)) return true;
  }
  return false;
}

}  // namespace varve::storage
