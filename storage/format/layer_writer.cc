#include "storage/format/layer_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"
#include "storage/format/layout.h"

namespace varve::storage {
namespace {

constexpr size_t kPieceSize = 1 << 20;

}  // namespace

std::vector<LayerBlock> compress_blocks(const std::vector<LayerBlock>& blocks, int level) {
  Codec codec;
  std::vector<LayerBlock> compressed;
  compressed.reserve(blocks.size());
  for (const LayerBlock& block : blocks) {
    compressed.push_back({block.key, block.lsn, {}});
    codec.compress(block.bytes, level, compressed.back().bytes);
  }
  return compressed;
}

LayerWriter::LayerWriter(LayerKind kind, const TenantId& tenant, const TimelineId& timeline,
                         LsnRange lsn, const LayerFormatOptions& options, Compression compression)
    : kind_(kind), lsn_(lsn), options_(options), compression_(compression) {
  VARVE_CHECK(!lsn.empty());
  VARVE_CHECK(kind == LayerKind::kDelta || lsn.end - lsn.start == 1);
  emit(seal(kind == LayerKind::kImage ? kImageLayerType : kDeltaLayerType, tenant, timeline, {}));
}

void LayerWriter::add(const Key& key, Lsn lsn, std::span<const uint8_t> value) {
  VARVE_CHECK(lsn_.contains(lsn));
  const bool same = last_key_ && *last_key_ == key;
  if (last_key_) VARVE_CHECK(*last_key_ < key || (same && last_lsn_ < lsn));
  if (!pending_.empty() && pending_.size() + value.size() > options_.block_bytes) end_block();
  const bool repeat = same && !pending_.empty();
  if (pending_.empty()) {
    block_key_ = key;
    block_lsn_ = lsn;
  }
  pending_.push_back(repeat ? kSameKey : 0);
  if (!repeat) pending_.insert(pending_.end(), key.bytes.begin(), key.bytes.end());
  put_varint(pending_, lsn - lsn_.start);
  put_varint(pending_, value.size());
  pending_.insert(pending_.end(), value.begin(), value.end());
  last_key_ = key;
  last_lsn_ = lsn;
  ++entries_;
}

void LayerWriter::end_block() {
  if (pending_.empty()) return;
  if (compression_ == Compression::kByOwner) {
    waiting_bytes_ += pending_.size();
    waiting_.push_back({*block_key_, block_lsn_, std::exchange(pending_, {})});
    pending_.reserve(options_.block_bytes);
    return;
  }
  codec_.compress(pending_, options_.compression_level, scratch_);
  append_block(*block_key_, block_lsn_, scratch_);
  pending_.clear();
}

void LayerWriter::append_block(const Key& key, Lsn lsn, std::span<uint8_t> block) {
  Codec::place(offset_, block);
  Writer entry;
  entry.bytes(key.bytes);
  entry.le<uint64_t>(lsn.value);
  entry.le<uint64_t>(offset_);
  entry.le<uint32_t>(static_cast<uint32_t>(block.size()));
  index_.insert(index_.end(), entry.span().begin(), entry.span().end());
  emit(block);
  ++blocks_;
}

std::vector<LayerBlock> LayerWriter::take_blocks(bool all) {
  VARVE_CHECK(compression_ == Compression::kByOwner && taken_ == 0);
  if (all) end_block();
  waiting_bytes_ = 0;
  taken_ = waiting_.size();
  return std::exchange(waiting_, {});
}

void LayerWriter::put_blocks(std::vector<LayerBlock> compressed) {
  VARVE_CHECK(compressed.size() == taken_);
  taken_ = 0;
  for (LayerBlock& block : compressed) append_block(block.key, block.lsn, block.bytes);
}

void LayerWriter::emit(std::span<const uint8_t> bytes) {
  offset_ += bytes.size();
  while (!bytes.empty()) {
    if (piece_used_ == piece_.size()) {
      if (piece_used_ != 0) content_.push_back(std::move(piece_).freeze());
      piece_ = MutableBytes(kPieceSize);
      piece_used_ = 0;
    }
    const size_t count = std::min(bytes.size(), piece_.size() - piece_used_);
    std::memcpy(piece_.data() + piece_used_, bytes.data(), count);
    piece_used_ += count;
    bytes = bytes.subspan(count);
  }
}

std::vector<uint8_t> LayerWriter::make_footer(const KeyRange& keys, uint64_t index_offset,
                                              uint32_t index_length) const {
  Writer out;
  out.bytes(kLayerFooterMagic);
  out.bytes(keys.start.bytes);
  out.bytes(keys.end.bytes);
  out.le<uint64_t>(lsn_.start.value);
  out.le<uint64_t>(lsn_.end.value);
  out.le<uint64_t>(entries_);
  out.le<uint64_t>(index_offset);
  out.le<uint32_t>(index_length);
  out.le<uint32_t>(blocks_);
  out.le<uint64_t>(offset_ + kLayerFooterSize);  // length of the file
  out.zeros(kLayerFooterSize - 4 - out.size());
  out.le<uint32_t>(crc32c(out.span()));
  return out.take();
}

LayerWriter::Finished LayerWriter::finish(const KeyRange& keys) {
  VARVE_CHECK(!keys.empty());
  if (last_key_) VARVE_CHECK(*last_key_ < keys.end);
  if (compression_ == Compression::kAtOnce) end_block();
  VARVE_CHECK_MSG(pending_.empty() && waiting_.empty() && taken_ == 0,
                  "the owner compresses all blocks before the end");
  const uint64_t index_offset = offset_;
  scratch_.clear();
  codec_.seal(offset_, index_, options_.compression_level, scratch_);
  emit(scratch_);
  emit(make_footer(keys, index_offset, static_cast<uint32_t>(scratch_.size())));
  piece_.resize(piece_used_);
  content_.push_back(std::move(piece_).freeze());
  Finished finished;
  finished.content = std::move(content_);
  finished.descriptor.kind = kind_;
  finished.descriptor.keys = keys;
  finished.descriptor.lsn = lsn_;
  finished.descriptor.size = offset_;
  finished.descriptor.entries = entries_;
  return finished;
}

}  // namespace varve::storage
