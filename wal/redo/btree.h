// Inside of wal/redo: the special space of btree pages, and the three redo routines that rebuild a
// page out of its old tuples (btree_rebuild.cc); the rest is btree.cc.
#pragma once

#include <cstdint>

#include "base/codec.h"
#include "base/status.h"
#include "wal/redo/delta.h"
#include "wal/redo/page.h"

namespace varve::wal::redo {

inline constexpr uint16_t kBtreeSpecialSize = 16;

// Flags of a btree page.
inline constexpr uint16_t kBtreeLeaf = 1;
inline constexpr uint16_t kBtreeRoot = 2;
inline constexpr uint16_t kBtreeDeleted = 4;
inline constexpr uint16_t kBtreeMeta = 8;
inline constexpr uint16_t kBtreeHalfDead = 16;
inline constexpr uint16_t kBtreeSplitEnd = 32;
inline constexpr uint16_t kBtreeHasGarbage = 64;
inline constexpr uint16_t kBtreeIncompleteSplit = 128;
inline constexpr uint16_t kBtreeHasFullXid = 256;

// The special space: prev u32, next u32, level u32, flags u16, cycle id u16. Invariant: the page is
// a btree's (see check_btree).
class BtreeSpecial {
 public:
  explicit BtreeSpecial(Page& page) : p_(page.data() + kBlockSize - kBtreeSpecialSize) {}

  void set_prev(uint32_t block) { store_le(p_, block); }
  uint32_t next() const { return load_le<uint32_t>(p_ + 4); }
  void set_next(uint32_t block) { store_le(p_ + 4, block); }
  void set_level(uint32_t level) { store_le(p_ + 8, level); }
  uint16_t flags() const { return load_le<uint16_t>(p_ + 12); }
  void set_flags(uint16_t flags) { store_le(p_ + 12, flags); }
  void clear_flag(uint16_t flag) { set_flags(static_cast<uint16_t>(flags() & ~flag)); }
  void set_cycle(uint16_t cycle) { store_le(p_ + 14, cycle); }
  bool leaf() const { return (flags() & kBtreeLeaf) != 0; }
  // Only a page with a right sibling has a high key, as its first item.
  uint32_t first_data_item() const { return next() == 0 ? 1 : 2; }

 private:
  uint8_t* p_;
};

// kCorrupt unless the special space is as large as a btree's.
Status check_btree(const Page& page);

struct BtreeSplit {
  uint32_t level;
  uint16_t first_right;    // first item of the original page that went to the right page
  uint16_t new_item;       // where the new item would be on the original page
  uint16_t posting_place;  // nonzero: the item before it is a posting list, swapped at this place
  bool new_item_left;
  uint32_t right_block;
};

// The original page of a split becomes the left one.
Status btree_split_left(const BtreeSplit& split, std::span<const uint8_t> data, Page& page);

// Merges runs of tuples with equal keys into posting lists.
Status btree_dedup(const PageDelta& delta, Page& page);

// Takes heap addresses out of posting lists, then whole tuples. `offset` is where the two counts
// stand in main data.
Status btree_delete(const PageDelta& delta, uint32_t offset, Page& page);

}  // namespace varve::wal::redo
