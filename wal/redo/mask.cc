#include "wal/redo/mask.h"

#include <array>
#include <cstring>

#include "wal/redo/btree.h"
#include "wal/redo/heap_tuple.h"
#include "wal/redo/page.h"

namespace varve::wal::redo {
namespace {

constexpr uint32_t kLsnAndChecksum = 10;

void mask_hole(Page& page) {
  if (page.check_base().ok()) {
    std::memset(page.data() + page.lower(), 0, page.upper() - page.lower());
  }
}

void mask_hints(Page& page, uint16_t flags) {
  page.set_prune_xid(0);
  page.set_flags(static_cast<uint16_t>(page.flags() & ~flags));
}

void mask_heap_tuple(std::span<uint8_t> bytes, uint32_t block, uint16_t item) {
  HeapTuple tuple(bytes.data());
  // Commit status is a hint; but a frozen xmin is logged.
  if ((tuple.infomask() & kXminFrozen) == kXminFrozen) {
    tuple.set_infomask(static_cast<uint16_t>(tuple.infomask() & ~(kXmaxInvalid | kXmaxCommitted)));
  } else {
    tuple.set_infomask(tuple.infomask() & 0x000F);
  }
  tuple.set_field3(0);
  if (tuple.ctid_item() == kSpeculativeItem) tuple.set_ctid(block, item);
}

void mask_heap(Page& page, uint32_t block) {
  mask_hints(page, kPageHasFreeLines | kPageFull);
  mask_hole(page);
  for (uint32_t i = 1, n = page.item_count(); i <= n; ++i) {
    const LinePointer p = page.pointer(i);
    if (!p.has_storage() || p.offset() + align8(p.length()) > kBlockSize) continue;
    const std::span<uint8_t> item(page.data() + p.offset(), p.length());
    if (p.state() == LinePointer::kNormal && item.size() >= kTupleHeaderSize) {
      mask_heap_tuple(item, block, static_cast<uint16_t>(i));
    }
    std::memset(item.data() + item.size(), 0, align8(p.length()) - p.length());
  }
}

void mask_btree(Page& page) {
  mask_hints(page, kPageHasFreeLines | kPageFull | kPageAllVisible);
  mask_hole(page);
  if (!check_btree(page).ok()) return;
  BtreeSpecial special(page);
  if (special.leaf() && (special.flags() & kBtreeDeleted) == 0) {
    // Scans mark dead leaf items without logging it.
    for (uint32_t i = 1, n = page.item_count(); i <= n; ++i) {
      const LinePointer p = page.pointer(i);
      if (p.used()) {
        page.set_pointer(i, LinePointer::make(p.offset(), LinePointer::kUnused, p.length()));
      }
    }
  }
  special.clear_flag(kBtreeHasGarbage | kBtreeSplitEnd);
  special.set_cycle(0);
}

}  // namespace

std::optional<MaskKind> mask_of(uint8_t rmid, Fork fork) {
  if (fork == Fork::kVisibility) return MaskKind::kVisibilityMap;
  switch (static_cast<Rmgr>(rmid)) {
    case Rmgr::kHeap:
    case Rmgr::kHeap2:
      return MaskKind::kHeap;
    case Rmgr::kBtree:
      return MaskKind::kBtree;
    case Rmgr::kSequence:
    case Rmgr::kGeneric:
      return MaskKind::kUnusedSpace;
    case Rmgr::kXlog:
      return MaskKind::kNothing;
    default:
      return std::nullopt;
  }
}

void mask_page(std::span<uint8_t, kBlockSize> bytes, MaskKind kind, uint32_t block) {
  Page page(bytes);
  if (page.is_new()) return;
  std::memset(bytes.data(), 0, kLsnAndChecksum);
  if (page.lower() > kBlockSize) return;
  switch (kind) {
    case MaskKind::kHeap:
      mask_heap(page, block);
      break;
    case MaskKind::kBtree:
      mask_btree(page);
      break;
    case MaskKind::kUnusedSpace:
      mask_hole(page);
      break;
    case MaskKind::kVisibilityMap:
    case MaskKind::kNothing:
      break;
  }
}

std::optional<uint32_t> first_difference(std::span<const uint8_t, kBlockSize> a,
                                         std::span<const uint8_t, kBlockSize> b, MaskKind kind,
                                         uint32_t block) {
  std::array<uint8_t, kBlockSize> masked_a;
  std::array<uint8_t, kBlockSize> masked_b;
  std::memcpy(masked_a.data(), a.data(), kBlockSize);
  std::memcpy(masked_b.data(), b.data(), kBlockSize);
  mask_page(masked_a, kind, block);
  mask_page(masked_b, kind, block);
  if (std::memcmp(masked_a.data(), masked_b.data(), kBlockSize) == 0) return std::nullopt;
  uint32_t offset = 0;
  while (masked_a[offset] == masked_b[offset]) ++offset;
  return offset;
}

}  // namespace varve::wal::redo
