// The visibility map: two bits for each heap block, in pages of the relation's map fork.
//
// Heap records clear bits of map pages that they do not name as blocks; this is the arithmetic for
// it. A map page's LSN does not change when bits are cleared.
#pragma once

#include <cstdint>
#include <span>

#include "base/lsn.h"

namespace varve::wal {

inline constexpr uint8_t kAllVisible = 1;
inline constexpr uint8_t kAllFrozen = 2;
inline constexpr uint8_t kVisibilityBits = kAllVisible | kAllFrozen;

inline constexpr uint32_t kVisibilityPageHeader =
    24;  // an ordinary page header, then the map to the end
inline constexpr uint32_t kHeapBlocksPerVisibilityPage = (kBlockSize - kVisibilityPageHeader) * 4;

struct VisibilityPosition {
  uint32_t map_block;
  uint32_t byte;  // from the start of the page
  uint8_t shift;  // 0, 2, 4 or 6
};

constexpr VisibilityPosition visibility_position(uint32_t heap_block) {
  const uint32_t within = heap_block % kHeapBlocksPerVisibilityPage;
  return {heap_block / kHeapBlocksPerVisibilityPage, kVisibilityPageHeader + within / 4,
          static_cast<uint8_t>(within % 4 * 2)};
}

// Map pages that a heap of `heap_blocks` needs.
constexpr uint32_t visibility_pages(uint32_t heap_blocks) {
  return heap_blocks / kHeapBlocksPerVisibilityPage +
         (heap_blocks % kHeapBlocksPerVisibilityPage != 0 ? 1 : 0);
}

// These work on the map page that visibility_position() names; nothing else of it is looked at.
inline uint8_t visibility_of(std::span<const uint8_t, kBlockSize> map_page, uint32_t heap_block) {
  const VisibilityPosition at = visibility_position(heap_block);
  return map_page[at.byte] >> at.shift & kVisibilityBits;
}
inline void set_visibility(std::span<uint8_t, kBlockSize> map_page, uint32_t heap_block,
                           uint8_t bits) {
  const VisibilityPosition at = visibility_position(heap_block);
  map_page[at.byte] |= static_cast<uint8_t>((bits & kVisibilityBits) << at.shift);
}
inline void clear_visibility(std::span<uint8_t, kBlockSize> map_page, uint32_t heap_block,
                             uint8_t bits) {
  const VisibilityPosition at = visibility_position(heap_block);
  map_page[at.byte] &= static_cast<uint8_t>(~((bits & kVisibilityBits) << at.shift));
}

// A heap was cut to `heap_blocks`: zeroes the bits of all blocks from there on in the map page that
// holds the first of them. Pages behind it are cut off; when the cut falls on a page edge there is
// nothing to zero.
void truncate_visibility_page(std::span<uint8_t, kBlockSize> map_page, uint32_t heap_blocks);

}  // namespace varve::wal
