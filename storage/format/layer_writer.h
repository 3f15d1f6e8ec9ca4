// Writes a layer file front to back, from values in order.
//
// Pure: bytes come out as pieces for a file or an object; nothing suspends. May run off the
// reactor, since it shares nothing. Where a layer is too large to be written in one go there, its
// owner takes the blocks that are full, has them compressed elsewhere (compress_blocks() is a
// function of its arguments) and puts them back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "storage/format/block.h"
#include "storage/format/layer.h"

namespace varve::storage {

struct LayerFormatOptions {
  uint32_t block_bytes = 16 << 10;
  int compression_level = 1;

  template <class V>
  static void describe(V&& v) {
    v(&LayerFormatOptions::block_bytes,
      {"block_bytes", "bytes", 64, 1 << 20,
       "values that are read, checked and decompressed together; two pages by default"});
    v(&LayerFormatOptions::compression_level,
      {"compression_level", "count", 0, 19, "of zstd; 0 stores as it is"});
  }
};

// Values of a layer that stand together.
struct LayerBlock {
  Key key;  // of the first value
  Lsn lsn;
  std::vector<uint8_t> bytes;
};
// Each block's bytes compressed, as the writer takes them.
std::vector<LayerBlock> compress_blocks(const std::vector<LayerBlock>& blocks, int level);

class LayerWriter {
 public:
  enum class Compression : uint8_t { kAtOnce, kByOwner };
  // `lsn`: of the layer; an image layer's is [l, l + 1).
  LayerWriter(LayerKind kind, const TenantId& tenant, const TimelineId& timeline, LsnRange lsn,
              const LayerFormatOptions& options, Compression compression = Compression::kAtOnce);

  // Invariants: (key, lsn) ascending strictly, lsn inside the layer's range; one value for each key
  // in an image layer.
  void add(const Key& key, Lsn lsn, std::span<const uint8_t> value);

  // Bytes of the file so far, about.
  uint64_t size() const { return offset_ + waiting_bytes_ + pending_.size(); }

  // With kByOwner: bytes of full blocks that wait to be compressed; taking them, with `all` the one
  // that is being filled too; and putting all that were taken back, in order, before finish().
  uint64_t waiting_bytes() const { return waiting_bytes_; }
  std::vector<LayerBlock> take_blocks(bool all);
  void put_blocks(std::vector<LayerBlock> compressed);

  uint64_t entries() const { return entries_; }
  const std::optional<Key>& last_key() const { return last_key_; }

  struct Finished {
    std::vector<Bytes> content;
    LayerDescriptor descriptor;  // without generation and number
  };
  // Ends the file. `keys` is the range the layer stands for and must contain every key added. The
  // writer is spent.
  Finished finish(const KeyRange& keys);

 private:
  void end_block();
  void append_block(const Key& key, Lsn lsn, std::span<uint8_t> block);
  void emit(std::span<const uint8_t> bytes);
  std::vector<uint8_t> make_footer(const KeyRange& keys, uint64_t index_offset,
                                   uint32_t index_length) const;

  LayerKind kind_;
  LsnRange lsn_;
  LayerFormatOptions options_;
  Compression compression_;
  Codec codec_;
  std::vector<LayerBlock> waiting_;
  uint64_t waiting_bytes_ = 0;
  uint64_t taken_ = 0;            // blocks that were not put back yet
  std::vector<uint8_t> pending_;  // raw bytes of the block being filled
  std::vector<uint8_t> scratch_;
  std::vector<uint8_t> index_;
  std::optional<Key> last_key_;
  Lsn last_lsn_;
  std::optional<Key> block_key_;  // first of the block being filled
  Lsn block_lsn_;
  uint64_t offset_ = 0;
  uint64_t entries_ = 0;
  uint32_t blocks_ = 0;
  MutableBytes piece_;
  size_t piece_used_ = 0;
  std::vector<Bytes> content_;
};

}  // namespace varve::storage
