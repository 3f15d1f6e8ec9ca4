// Index tuples of a btree and its posting lists (src/include/access/nbtree.h, itup.h).
//
// An index tuple begins with 8 bytes: block (high half, low half), item, t_info (13 bits size, AM
// bit 0x2000). With the AM bit set the first six bytes are not a heap address: in a posting list
// the item word is 0x2000 | count and the block word is where, inside of the tuple, the array of
// 6-byte heap addresses begins.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/codec.h"
#include "base/status.h"
#include "wal/redo/page.h"

namespace varve::wal::redo {

inline constexpr uint32_t kIndexTupleHeaderSize = 8;
inline constexpr uint32_t kHeapAddressSize = 6;
inline constexpr uint16_t kTupleSizeMask = 0x1FFF;
inline constexpr uint16_t kTupleAmBit = 0x2000;
inline constexpr uint16_t kPostingBit = 0x2000;  // of the item word
inline constexpr uint16_t kPostingCountMask = 0x0FFF;

inline uint32_t tuple_block(const uint8_t* tuple) {
  return uint32_t{load_le<uint16_t>(tuple)} << 16 | load_le<uint16_t>(tuple + 2);
}
inline void set_tuple_block(uint8_t* tuple, uint32_t block) {
  store_le(tuple, static_cast<uint16_t>(block >> 16));
  store_le(tuple + 2, static_cast<uint16_t>(block));
}
inline uint16_t tuple_info(const uint8_t* tuple) {
  return load_le<uint16_t>(tuple + 6);
}

// The first index tuple in `bytes`, cut to its own size; kCorrupt when it has no header or runs
// over the end.
Result<std::span<const uint8_t>> first_tuple(std::span<const uint8_t> bytes);
// first_tuple() with the padding to 8 that pages and records keep behind a tuple.
Result<std::span<const uint8_t>> first_padded_tuple(std::span<const uint8_t> bytes);

// The heap addresses that a leaf tuple stands for: one, or those of its posting list.
struct LeafTuple {
  std::span<const uint8_t> key;        // the tuple without its posting list, header included
  std::span<const uint8_t> addresses;  // kHeapAddressSize bytes each, at least one
  bool posting = false;

  uint32_t count() const { return static_cast<uint32_t>(addresses.size() / kHeapAddressSize); }
};

// Reads the tuple that an item holds. kCorrupt when its parts do not fit in the item.
Result<LeafTuple> read_leaf_tuple(std::span<const uint8_t> item);

// A tuple of `key` and `addresses` (count * kHeapAddressSize bytes, at least one address): a
// posting list, or a plain tuple when there is only one. Sizes are rounded to 8 and the padding is
// zeroed. kCorrupt when it would be larger than a tuple can be.
Result<std::vector<uint8_t>> form_tuple(std::span<const uint8_t> key,
                                        std::span<const uint8_t> addresses);

// A new heap address falls inside the range of a posting list: the list takes the address at
// position `place`, and what comes out of its end is the new tuple's address. Rewrites both in
// place. kCorrupt unless 0 < place < count.
Status swap_posting(std::span<uint8_t> posting_item, uint32_t place, std::span<uint8_t> new_tuple);

}  // namespace varve::wal::redo
