// The checked unit of a layer file: a header of 16 bytes and up to 2^31 bytes, perhaps compressed.
//
//   0  4  CRC-32C of the block's offset in the file (u64), of bytes 4..15 and of the stored bytes
//   4  4  length stored
//   8  4  length once decompressed
//  12  1  0 stored as it is, 1 zstd
//  13  3  zero
//
// The offset is under the checksum so that a block that was written to, or read from, the wrong
// place is noticed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace varve::storage {

inline constexpr size_t kBlockHeaderSize = 16;

// Compression contexts, which are costly to make. Not for two threads at a time.
class Codec {
 public:
  Codec();
  ~Codec();
  Codec(Codec&&) noexcept;
  Codec& operator=(Codec&&) noexcept;

  // Appends the block of `raw` that will stand at `offset` of its file. `level` 0: never
  // compressed. A block is kept compressed only when that saves an eighth. Invariant: raw.size() <
  // 2^31.
  void seal(uint64_t offset, std::span<const uint8_t> raw, int level, std::vector<uint8_t>& out);

  // The two halves of seal(): compression, which is the work and knows no place, and the checksum.
  // `out` is overwritten with a block that has none yet. Same invariant.
  void compress(std::span<const uint8_t> raw, int level, std::vector<uint8_t>& out);
  // Invariant: `block` is what compress() made.
  static void place(uint64_t offset, std::span<uint8_t> block);

  // The bytes that `stored` (header included) was sealed from at `offset`. kCorrupt when anything
  // does not match; the caller adds names.
  Result<Bytes> open(uint64_t offset, const Bytes& stored);

 private:
  struct Contexts;
  std::unique_ptr<Contexts> contexts_;
};

}  // namespace varve::storage
