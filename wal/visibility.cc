#include "wal/visibility.h"

#include <cstring>

namespace varve::wal {

void truncate_visibility_page(std::span<uint8_t, kBlockSize> map_page, uint32_t heap_blocks) {
  const VisibilityPosition first = visibility_position(heap_blocks);
  map_page[first.byte] &= static_cast<uint8_t>((1u << first.shift) - 1);
  std::memset(map_page.data() + first.byte + 1, 0, kBlockSize - first.byte - 1);
}

}  // namespace varve::wal
