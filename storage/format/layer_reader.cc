#include "storage/format/layer_reader.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/envelope.h"
#include "storage/format/layout.h"
#include "storage/value.h"

namespace varve::storage {

std::optional<Bytes> BlockCache::find(uint64_t layer, uint32_t block) {
  const auto found = entries_.find({layer, block});
  if (found == entries_.end()) {
    ++misses_;
    return std::nullopt;
  }
  ++hits_;
  order_.splice(order_.begin(), order_, found->second);
  return found->second->bytes;
}

void BlockCache::insert(uint64_t layer, uint32_t block, Bytes bytes) {
  const Name name{layer, block};
  if (bytes.size() > limit_ || entries_.contains(name)) return;
  used_ += bytes.size();
  order_.push_front({name, std::move(bytes)});
  entries_[name] = order_.begin();
  while (used_ > limit_) {
    used_ -= order_.back().bytes.size();
    entries_.erase(order_.back().name);
    order_.pop_back();
  }
}

LayerReader::LayerReader(LayerDescriptor descriptor, ReadRange read, BlockCache* cache)
    : descriptor_(std::move(descriptor)), read_(std::move(read)), cache_(cache) {
  if (cache_ != nullptr) cache_number_ = cache_->next_layer();
}

Result<std::unique_ptr<LayerReader>> LayerReader::open(const LayerDescriptor& expected,
                                                       const TenantId& tenant,
                                                       const TimelineId& timeline, ReadRange read,
                                                       BlockCache* cache) {
  std::unique_ptr<LayerReader> reader(new LayerReader(expected, std::move(read), cache));
  VARVE_TRY(reader->load(tenant, timeline));
  return reader;
}

Status LayerReader::corrupt(Status status) const {
  if (!status.is(Code::kCorrupt)) return status;
  return std::move(status)
      .with_object("layer " + descriptor_.name())
      .with_hint(
          "remove the local copy if there is one; it is fetched again from the object store");
}

Status LayerReader::load(const TenantId& tenant, const TimelineId& timeline) {
  const auto wrong = [&](const char* what) { return corrupt(Status(Code::kCorrupt, what)); };
  if (descriptor_.size < kLayerHeaderSize + kLayerFooterSize) return wrong("the file is cut");
  VARVE_TRY_ASSIGN(Bytes header, read_(0, kLayerHeaderSize));
  VARVE_TRY_ASSIGN(Bytes footer, read_(descriptor_.size - kLayerFooterSize, kLayerFooterSize));
  Result<Envelope> envelope = open_envelope(
      descriptor_.is_image() ? kImageLayerType : kDeltaLayerType, header, descriptor_.name());
  if (!envelope.ok()) return corrupt(envelope.status());
  if (envelope->tenant != tenant || envelope->timeline != timeline) {
    return wrong("the file belongs to another timeline");
  }
  if (footer.size() != kLayerFooterSize ||
      load_le<uint32_t>(footer.data() + kLayerFooterSize - 4) !=
          crc32c(footer.span().first(kLayerFooterSize - 4))) {
    return wrong("the checksum of the footer does not match");
  }
  Reader in(footer);
  const std::span<const uint8_t> magic = in.bytes(8);
  KeyRange keys;
  std::ranges::copy(in.bytes(kKeySize), keys.start.bytes.begin());
  std::ranges::copy(in.bytes(kKeySize), keys.end.bytes.begin());
  LsnRange lsn;
  lsn.start = Lsn(in.le<uint64_t>());
  lsn.end = Lsn(in.le<uint64_t>());
  const auto entries = in.le<uint64_t>();
  const auto index_offset = in.le<uint64_t>();
  const auto index_length = in.le<uint32_t>();
  const auto blocks = in.le<uint32_t>();
  const auto size = in.le<uint64_t>();
  if (!std::ranges::equal(magic, kLayerFooterMagic) || keys != descriptor_.keys ||
      lsn != descriptor_.lsn || size != descriptor_.size || entries != descriptor_.entries) {
    return wrong("the file is another layer than its name says");
  }
  if (index_offset < kLayerHeaderSize || index_offset + index_length + kLayerFooterSize != size) {
    return wrong("the index is not where it should be");
  }
  return load_index(index_offset, index_length, blocks);
}

Status LayerReader::load_index(uint64_t offset, uint32_t length, uint32_t blocks) {
  VARVE_TRY_ASSIGN(Bytes stored, read_(offset, length));
  Result<Bytes> raw = codec_.open(offset, stored);
  if (!raw.ok()) return corrupt(raw.status());
  Status wrong(Code::kCorrupt, "the index does not fit the file");
  if (raw->size() != size_t{blocks} * kIndexEntrySize) return corrupt(std::move(wrong));
  index_.resize(blocks);
  Reader in(*raw);
  uint64_t expected_offset = kLayerHeaderSize;
  for (size_t i = 0; i < index_.size(); ++i) {
    IndexEntry& entry = index_[i];
    std::ranges::copy(in.bytes(kKeySize), entry.key.bytes.begin());
    entry.lsn = Lsn(in.le<uint64_t>());
    entry.offset = in.le<uint64_t>();
    entry.length = in.le<uint32_t>();
    const bool ascending =
        i == 0 || std::pair(index_[i - 1].key, index_[i - 1].lsn) < std::pair(entry.key, entry.lsn);
    if (!ascending || entry.offset != expected_offset) return corrupt(std::move(wrong));
    expected_offset += entry.length;
  }
  if (expected_offset != offset) return corrupt(std::move(wrong));
  return Status();
}

size_t LayerReader::first_block_after(const Key& key, Lsn lsn) const {
  const auto found = std::upper_bound(index_.begin(), index_.end(), std::pair(key, lsn),
                                      [](const std::pair<Key, Lsn>& a, const IndexEntry& b) {
                                        return a < std::pair(b.key, b.lsn);
                                      });
  return static_cast<size_t>(found - index_.begin());
}

Result<Bytes> LayerReader::read_block(size_t number, Cached cached) const {
  const IndexEntry& entry = index_[number];
  if (cache_ != nullptr) {
    if (std::optional<Bytes> hit = cache_->find(cache_number_, static_cast<uint32_t>(number)))
      return std::move(*hit);
  }
  VARVE_TRY_ASSIGN(Bytes stored, read_(entry.offset, entry.length));
  Result<Bytes> raw = codec_.open(entry.offset, stored);
  if (!raw.ok()) {
    return corrupt(raw.status().is(Code::kCorrupt)
                       ? Status(Code::kCorrupt, raw.status().message() + " (block " +
                                                    std::to_string(number) + ", from " +
                                                    entry.key.to_string() + " on)")
                       : raw.status());
  }
  if (cache_ != nullptr && cached == Cached::kYes) {
    cache_->insert(cache_number_, static_cast<uint32_t>(number), *raw);
  }
  return raw;
}

template <class Wanted>
Status LayerReader::read_values(size_t number, Cached cached, const Wanted& wanted,
                                std::vector<StoredValue>& values) const {
  VARVE_TRY_ASSIGN(const Bytes block, read_block(number, cached));
  Reader in(block);
  Key key = index_[number].key;
  while (in.ok() && in.remaining() > 0) {
    if ((in.u8() & kSameKey) == 0) {
      const std::span<const uint8_t> bytes = in.bytes(kKeySize);
      if (!bytes.empty()) std::ranges::copy(bytes, key.bytes.begin());
    }
    const Lsn lsn = descriptor_.lsn.start + take_varint(in);
    const uint64_t length = take_varint(in);
    const size_t at = in.position();
    if (in.bytes(length).size() != length) in.fail();
    if (!in.ok()) break;
    if (wanted(key, lsn)) values.push_back({key, lsn, block.slice(at, length)});
  }
  if (in.ok()) return Status();
  // Its checksum held, so that this is what was written.
  return corrupt(Status(Code::kCorrupt, "block " + std::to_string(number) + " from " +
                                            index_[number].key.to_string() +
                                            " on is not made of values"));
}

Result<bool> LayerReader::find_chain(const Key& key, LsnRange range,
                                     std::vector<StoredValue>& chain) const {
  if (range.empty()) return false;
  size_t end = first_block_after(key, Lsn(range.end.value - 1));
  std::vector<StoredValue> found;
  while (end > 0) {
    --end;
    found.clear();
    VARVE_TRY(read_values(
        end, Cached::kYes, [&](const Key& k, Lsn lsn) { return k == key && range.contains(lsn); },
        found));
    for (size_t i = found.size(); i-- > 0;) {
      Result<ValueView> view = parse_value(found[i].bytes);
      if (!view.ok()) return corrupt(view.status());
      chain.push_back(std::move(found[i]));
      if (starts_chain(*view)) return true;
    }
    // What stands before this block is older than `range`, or of a smaller key.
    if (std::pair(index_[end].key, index_[end].lsn) <= std::pair(key, range.start)) break;
  }
  return false;
}

LayerReader::Iterator::Iterator(const LayerReader& reader, const KeyRange& keys, Cached cached)
    : reader_(&reader), keys_(keys), cached_(cached) {
  // Versions of the first key may begin in the block before the one that starts with it.
  const size_t after = reader.first_block_after(keys.start, Lsn(0));
  block_ = after == 0 ? 0 : after - 1;
}

Result<bool> LayerReader::Iterator::next() {
  while (at_ == values_.size()) {
    if (block_ >= reader_->index_.size() || !(reader_->index_[block_].key < keys_.end))
      return false;
    values_.clear();
    at_ = 0;
    VARVE_TRY(reader_->read_values(
        block_, cached_, [&](const Key& key, Lsn) { return keys_.contains(key); }, values_));
    ++block_;
  }
  value_ = std::move(values_[at_++]);
  return true;
}

}  // namespace varve::storage
