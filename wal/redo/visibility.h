// Visibility map pages as redo sees them. Bits are set by a record that names the map page (Heap2
// VISIBLE); they are cleared by heap records and by truncation that do not name it, and then the
// primary leaves the page's pd_lsn alone. The arithmetic is wal/visibility.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/lsn.h"
#include "base/status.h"
#include "wal/effects.h"
#include "wal/record.h"
#include "wal/redo/delta.h"

namespace varve::wal::redo {

struct MapDelta {
  BlockId page;
  VisibilityChange change;
};

// Appends the deltas that `effect` means for map pages: at most one for each page, since a page
// holds one delta under one LSN. Nothing for effects without any. Map pages cut off whole by a
// truncation are not here: they are the relation size's business.
void append_map_deltas(const Effect& effect, std::vector<MapDelta>& deltas);

// Applies clears and truncation to map page `id`, whose LSN stays. A page that is all zeros stays
// so: it has no bits. kCorrupt when `id` is not the map page of the heap blocks named, or the page
// is not a map page.
Status apply_visibility(const VisibilityChange& change, const BlockId& id,
                        std::span<uint8_t, kBlockSize> page);

// Sets `bits` of `heap_block` on map page `id`, initialising a page that is all zeros. LSN
// untouched.
Status set_visibility_on(std::span<uint8_t, kBlockSize> page, const BlockId& id,
                         uint32_t heap_block, uint8_t bits);

}  // namespace varve::wal::redo
