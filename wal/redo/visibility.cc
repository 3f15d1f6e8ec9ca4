#include "wal/redo/visibility.h"

#include <string>

#include "wal/redo/page.h"
#include "wal/visibility.h"

namespace varve::wal::redo {
namespace {

Status check_page_of(uint32_t heap_block, const BlockId& id) {
  if (id.fork == Fork::kVisibility && visibility_position(heap_block).map_block == id.block) {
    return Status();
  }
  return corrupt("heap block " + std::to_string(heap_block) + " has its bits on another page");
}

}  // namespace

Status apply_visibility(const VisibilityChange& change, const BlockId& id,
                        std::span<uint8_t, kBlockSize> bytes) {
  Page page(bytes);
  if (page.is_new()) return Status();
  VARVE_TRY(page.check_base());
  for (uint8_t i = 0; i < change.clear_count; ++i) {
    VARVE_TRY(check_page_of(change.clears[i].block, id));
    clear_visibility(bytes, change.clears[i].block, change.clears[i].bits);
  }
  if (change.truncate_to) {
    VARVE_TRY(check_page_of(*change.truncate_to, id));
    truncate_visibility_page(bytes, *change.truncate_to);
  }
  return Status();
}

Status set_visibility_on(std::span<uint8_t, kBlockSize> bytes, const BlockId& id,
                         uint32_t heap_block, uint8_t bits) {
  VARVE_TRY(check_page_of(heap_block, id));
  Page page(bytes);
  if (page.is_new()) page.init(0);
  set_visibility(bytes, heap_block, bits);
  return Status();
}

}  // namespace varve::wal::redo
