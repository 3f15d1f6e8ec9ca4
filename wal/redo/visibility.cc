#include "wal/redo/visibility.h"

#include <string>
#include <variant>

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

BlockId map_page_of(const RelationId& relation, uint32_t heap_block) {
  return {relation, Fork::kVisibility, visibility_position(heap_block).map_block};
}

}  // namespace

void append_map_deltas(const Effect& effect, std::vector<MapDelta>& deltas) {
  if (const auto* clear = std::get_if<VisibilityClear>(&effect)) {
    const size_t first = deltas.size();
    for (uint8_t i = 0; i < clear->count; ++i) {
      const VisibilityClear::Target& target = clear->targets[i];
      const BlockId page = map_page_of(target.relation, target.heap_block);
      size_t at = first;
      while (at < deltas.size() && deltas[at].page != page) ++at;
      if (at == deltas.size()) deltas.push_back({page, {}});
      VisibilityChange& change = deltas[at].change;
      change.clears[change.clear_count++] = {target.heap_block, target.bits};
    }
  } else if (const auto* cut = std::get_if<RelationTruncate>(&effect)) {
    if (!cut->visibility || cut->blocks % kHeapBlocksPerVisibilityPage == 0) return;
    deltas.push_back({map_page_of(cut->relation, cut->blocks), {}});
    deltas.back().change.truncate_to = cut->blocks;
  }
}

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
