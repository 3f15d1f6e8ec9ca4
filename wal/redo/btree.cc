// Resource manager Btree (rules of nbtree's redo; record layouts in src/include/access/nbtxlog.h).
#include "wal/redo/btree.h"

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "wal/redo/btree_tuple.h"
#include "wal/redo/manager.h"

namespace varve::wal::redo {
namespace {

enum Operation : uint8_t {
  kInsertLeaf = 0x00,
  kInsertUpper = 0x10,
  kInsertMeta = 0x20,
  kSplitLeft = 0x30,  // the new item went to the left page
  kSplitRight = 0x40,
  kInsertPosting = 0x50,
  kDedup = 0x60,
  kDelete = 0x70,
  kUnlinkPage = 0x80,
  kUnlinkPageMeta = 0x90,
  kNewRoot = 0xA0,
  kMarkHalfDead = 0xB0,
  kVacuum = 0xC0,
  kMetaCleanup = 0xE0,
};

constexpr uint32_t kInsertSize = 2;
constexpr uint32_t kSplitSize = 10;
constexpr uint32_t kDedupSize = 2;
constexpr uint32_t kDeleteSize = 8;
constexpr uint32_t kVacuumSize = 4;
constexpr uint32_t kUnlinkSize = 36;
constexpr uint32_t kNewRootSize = 8;
constexpr uint32_t kHalfDeadSize = 20;
constexpr uint32_t kMetaDataSize = 28;

constexpr uint32_t kMetaMagic = 0x053162;
constexpr uint16_t kMetaLower = 72;
constexpr uint64_t kMinusOne =
    0xBFF0000000000000;  // -1.0: heap tuples at the last cleanup, unknown

uint32_t u32_at(const PageDelta& delta, size_t offset) {
  return load_le<uint32_t>(delta.main_data.data() + offset);
}
uint16_t u16_at(const PageDelta& delta, size_t offset) {
  return load_le<uint16_t>(delta.main_data.data() + offset);
}

void init_btree(Page& page, uint32_t prev, uint32_t next, uint32_t level, uint16_t flags) {
  page.init(kBtreeSpecialSize);
  BtreeSpecial special(page);
  special.set_prev(prev);
  special.set_next(next);
  special.set_level(level);
  special.set_flags(flags);
}

Status init_meta(const PageDelta& delta, Page& page) {
  if (delta.data.size() < kMetaDataSize) return corrupt("a metapage that is cut off");
  init_btree(page, 0, 0, 0, kBtreeMeta);
  uint8_t* meta = page.data() + kPageHeaderSize;
  store_le(meta, kMetaMagic);
  // version, root, level, fast root, fast level, deleted pages at the last cleanup
  std::memcpy(meta + 4, delta.data.data(), 24);
  store_le(meta + 32, kMinusOne);
  meta[40] = delta.data[24];  // all columns are equal as images
  page.set_lower(kMetaLower);
  return Status();
}

// Adds tuples that stand in the record in ascending address order, which is descending item order.
Status add_tuples(std::span<const uint8_t> data, Page& page) {
  std::array<uint16_t, kMaxLinePointers> sizes;
  uint32_t count = 0;
  for (std::span<const uint8_t> rest = data; !rest.empty(); ++count) {
    VARVE_TRY_ASSIGN(const std::span<const uint8_t> tuple, first_padded_tuple(rest));
    if (count == sizes.size()) return corrupt("more tuples than fit on a page");
    sizes[count] = static_cast<uint16_t>(tuple.size());
    rest = rest.subspan(tuple.size());
  }
  size_t end = data.size();
  for (uint32_t i = count; i-- > 0;) {
    end -= sizes[i];
    VARVE_TRY(page.add(count - i, data.subspan(end, sizes[i]), Page::Placement::kInsert));
  }
  return Status();
}

Status clear_incomplete_split(Page& page) {
  VARVE_TRY(check_btree(page));
  BtreeSpecial(page).clear_flag(kBtreeIncompleteSplit);
  return Status();
}

// The placeholder for a high key of a half-dead leaf: points at the top of the branch to be
// deleted.
Status init_half_dead(Page& page, uint32_t prev, uint32_t next, uint32_t top_parent) {
  init_btree(page, prev, next, 0, kBtreeHalfDead | kBtreeLeaf);
  std::array<uint8_t, kIndexTupleHeaderSize> high_key{};
  set_tuple_block(high_key.data(), top_parent);
  store_le(high_key.data() + 6, static_cast<uint16_t>(kTupleAmBit | kIndexTupleHeaderSize));
  return page.add(1, high_key, Page::Placement::kInsert);
}

Status redo_insert(const PageDelta& delta, Page& page) {
  if (delta.block_id == 1) return clear_incomplete_split(page);
  if (delta.block_id == 2) return init_meta(delta, page);
  VARVE_TRY(check_btree(page));
  VARVE_TRY(need_main_data(delta, kInsertSize));
  const uint32_t item = u16_at(delta, 0);
  if (delta.operation != kInsertPosting)
    return page.add(item, delta.data, Page::Placement::kInsert);

  if (delta.data.size() < 2 + kIndexTupleHeaderSize)
    return corrupt("an index tuple that is cut off");
  if (item < 2) return corrupt("a posting list before the first item");
  const auto place = load_le<uint16_t>(delta.data.data());
  std::vector<uint8_t> tuple(delta.data.begin() + 2, delta.data.end());
  VARVE_TRY_ASSIGN(const std::span<uint8_t> list, page.item(item - 1));
  VARVE_TRY(swap_posting(list, place, tuple));
  return page.add(item, tuple, Page::Placement::kInsert);
}

Status redo_split(const PageDelta& delta, Page& page) {
  if (delta.block_id == 3) return clear_incomplete_split(page);
  const std::optional<uint32_t> right = delta.other(1);
  if (delta.block_id == 2) {
    if (!right) return corrupt("a split without its right page");
    VARVE_TRY(check_btree(page));
    BtreeSpecial(page).set_prev(*right);
    return Status();
  }
  VARVE_TRY(need_main_data(delta, kSplitSize));
  const uint32_t level = u32_at(delta, 0);
  if (delta.block_id == 1) {
    const std::optional<uint32_t> left = delta.other(0);
    if (!left) return corrupt("a split without its left page");
    init_btree(page, *left, delta.other(2).value_or(0), level, level == 0 ? kBtreeLeaf : 0);
    return add_tuples(delta.data, page);
  }
  if (!right) return corrupt("a split without its right page");
  VARVE_TRY(check_btree(page));
  return btree_split_left({.level = level,
                           .first_right = u16_at(delta, 4),
                           .new_item = u16_at(delta, 6),
                           .posting_place = u16_at(delta, 8),
                           .new_item_left = delta.operation == kSplitLeft,
                           .right_block = *right},
                          delta.data, page);
}

// Main data: left u32, right u32, level u32, (pad), safe xid u64 @16, leaf's left @24, right @28,
// top parent @32.
Status redo_unlink(const PageDelta& delta, Page& page) {
  if (delta.block_id == 4) return init_meta(delta, page);
  switch (delta.block_id) {
    case 0: {
      VARVE_TRY(need_main_data(delta, kUnlinkSize - 12));
      const uint32_t level = u32_at(delta, 8);
      init_btree(
          page, u32_at(delta, 0), u32_at(delta, 4), level,
          static_cast<uint16_t>(kBtreeDeleted | kBtreeHasFullXid | (level == 0 ? kBtreeLeaf : 0)));
      std::memcpy(page.data() + kPageHeaderSize, delta.main_data.data() + 16, 8);
      page.set_lower(kPageHeaderSize + 8);
      page.set_upper(page.special());
      return Status();
    }
    case 1:
      VARVE_TRY(need_main_data(delta, 8));
      VARVE_TRY(check_btree(page));
      BtreeSpecial(page).set_next(u32_at(delta, 4));
      return Status();
    case 2:
      VARVE_TRY(need_main_data(delta, 4));
      VARVE_TRY(check_btree(page));
      BtreeSpecial(page).set_prev(u32_at(delta, 0));
      return Status();
    default:
      VARVE_TRY(need_main_data(delta, kUnlinkSize));
      return init_half_dead(page, u32_at(delta, 24), u32_at(delta, 28), u32_at(delta, 32));
  }
}

Status redo_new_root(const PageDelta& delta, Page& page) {
  if (delta.block_id == 1) return clear_incomplete_split(page);
  if (delta.block_id == 2) return init_meta(delta, page);
  VARVE_TRY(need_main_data(delta, kNewRootSize));
  const uint32_t level = u32_at(delta, 4);
  init_btree(page, 0, 0, level, static_cast<uint16_t>(kBtreeRoot | (level == 0 ? kBtreeLeaf : 0)));
  return level > 0 ? add_tuples(delta.data, page) : Status();
}

// Main data: item of the downlink u16 @0, leaf u32 @4, left @8, right @12, top parent @16.
Status redo_mark_half_dead(const PageDelta& delta, Page& page) {
  VARVE_TRY(need_main_data(delta, delta.block_id == 0 ? kHalfDeadSize : 2));
  if (delta.block_id == 0) {
    return init_half_dead(page, u32_at(delta, 8), u32_at(delta, 12), u32_at(delta, 16));
  }
  // The leaf's key space goes to its right sibling: its downlink takes that one's place, then that
  // one goes.
  VARVE_TRY(check_btree(page));
  const uint32_t item = u16_at(delta, 0);
  VARVE_TRY_ASSIGN(const std::span<uint8_t> leaf, page.item(item));
  VARVE_TRY_ASSIGN(const std::span<uint8_t> sibling, page.item(item + 1));
  if (leaf.size() < kIndexTupleHeaderSize || sibling.size() < kIndexTupleHeaderSize) {
    return corrupt("a downlink that is cut off");
  }
  set_tuple_block(leaf.data(), tuple_block(sibling.data()));
  return page.remove(item + 1);
}

// Which blocks an operation has (bit i: block i) and which of them it builds from nothing.
struct Shape {
  uint8_t blocks = 0;
  uint8_t init = 0;
};

Shape shape_of(uint8_t operation) {
  switch (operation) {
    case kInsertLeaf:
    case kInsertPosting:
    case kDedup:
    case kDelete:
    case kVacuum:
      return {0b1, 0};
    case kInsertUpper:
      return {0b11, 0};
    case kInsertMeta:
      return {0b111, 0b100};
    case kSplitLeft:
    case kSplitRight:
      return {0b1111, 0b10};
    case kUnlinkPage:
      return {0b1111, 0b1001};
    case kUnlinkPageMeta:
      return {0b11111, 0b11001};
    case kNewRoot:
      return {0b111, 0b101};
    case kMarkHalfDead:
      return {0b11, 0b1};
    case kMetaCleanup:
      return {0b1, 0b1};
    default:
      return {};
  }
}

}  // namespace

Status check_btree(const Page& page) {
  if (page.special() == kBlockSize - kBtreeSpecialSize) return Status();
  return corrupt("special space at " + std::to_string(page.special()) + ", not a btree's");
}

Status btree_redo(const PageDelta& delta, const BlockId&, Page& page) {
  const Shape shape = shape_of(delta.operation);
  if (delta.block_id > 7 || (shape.blocks >> delta.block_id & 1) == 0)
    return unknown_operation(delta);
  if (delta.will_init != ((shape.init >> delta.block_id & 1) != 0)) {
    return corrupt("init flag of the block does not fit the operation");
  }
  switch (delta.operation) {
    case kInsertLeaf:
    case kInsertUpper:
    case kInsertMeta:
    case kInsertPosting:
      return redo_insert(delta, page);
    case kSplitLeft:
    case kSplitRight:
      return redo_split(delta, page);
    case kDedup:
      return btree_dedup(delta, page);
    case kDelete:
      return btree_delete(delta, 4, page);
    case kVacuum:
      return btree_delete(delta, 0, page);
    case kUnlinkPage:
    case kUnlinkPageMeta:
      return redo_unlink(delta, page);
    case kNewRoot:
      return redo_new_root(delta, page);
    case kMarkHalfDead:
      return redo_mark_half_dead(delta, page);
    case kMetaCleanup:
      return init_meta(delta, page);
    default:
      return unknown_operation(delta);
  }
}

std::optional<Needs> btree_needs(const PageDelta& delta) {
  const Shape shape = shape_of(delta.operation);
  const uint8_t block = delta.block_id;
  if (block > 7 || (shape.blocks >> block & 1) == 0) return std::nullopt;
  switch (delta.operation) {
    case kInsertLeaf:
    case kInsertPosting:
      return Needs{.main_prefix = kInsertSize, .data = true};
    case kInsertUpper:
    case kInsertMeta:
      if (block == 1) return Needs{};
      return Needs{.main_prefix = block == 0 ? kInsertSize : 0, .data = true};
    case kSplitLeft:
    case kSplitRight:
      if (block == 0) return Needs{.main_prefix = kSplitSize, .data = true, .others = 0b010};
      if (block == 1) return Needs{.main_prefix = kSplitSize, .data = true, .others = 0b101};
      return block == 2 ? Needs{.others = 0b010} : Needs{};
    case kDedup:
      return Needs{.main_prefix = kDedupSize, .data = true};
    case kDelete:
      return Needs{.main_prefix = kDeleteSize, .data = true};
    case kVacuum:
      return Needs{.main_prefix = kVacuumSize, .data = true};
    case kUnlinkPage:
    case kUnlinkPageMeta:
      if (block == 4) return Needs{.data = true};
      if (block == 0) return Needs{.main_prefix = kUnlinkSize - 12};
      if (block == 3) return Needs{.main_prefix = kUnlinkSize};
      return Needs{.main_prefix = block == 1 ? 8u : 4u};
    case kNewRoot:
      if (block == 1) return Needs{};
      return Needs{.main_prefix = block == 0 ? kNewRootSize : 0, .data = true};
    case kMarkHalfDead:
      return Needs{.main_prefix = block == 0 ? kHalfDeadSize : 2};
    case kMetaCleanup:
      return Needs{.data = true};
    default:
      return std::nullopt;
  }
}

}  // namespace varve::wal::redo
