// The redo routines of btree that build a page anew out of its own old tuples.
//
// Postgres does so on a temporary page that takes the special space along and nothing else; line
// pointer states, header hints and old bytes in the hole do not survive.
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "wal/redo/btree.h"
#include "wal/redo/btree_tuple.h"
#include "wal/redo/manager.h"

namespace varve::wal::redo {
namespace {

constexpr auto kAppend = Page::Placement::kInsert;

// An empty page with the special space of `page`, to be filled and put in its place.
class Rebuilt {
 public:
  explicit Rebuilt(const Page& page) {
    Page fresh(bytes_);
    fresh.init(kBtreeSpecialSize);
    std::memcpy(bytes_.data() + fresh.special(), page.data() + page.special(), kBtreeSpecialSize);
  }
  Status append(std::span<const uint8_t> tuple) {
    Page page(bytes_);
    return page.add(page.item_count() + 1u, tuple, kAppend);
  }
  void replace(Page& page) const { std::memcpy(page.data(), bytes_.data(), bytes_.size()); }

 private:
  std::array<uint8_t, kBlockSize> bytes_;
};

// A run of tuples that become one: the first one's key and everybody's heap addresses.
class Pending {
 public:
  Status start(std::span<const uint8_t> item, uint32_t number) {
    VARVE_TRY_ASSIGN(const LeafTuple tuple, read_leaf_tuple(item));
    base_ = item;
    key_ = tuple.key;
    number_ = number;
    items_ = 1;
    addresses_.assign(tuple.addresses.begin(), tuple.addresses.end());
    return Status();
  }
  Status add(std::span<const uint8_t> item) {
    VARVE_TRY_ASSIGN(const LeafTuple tuple, read_leaf_tuple(item));
    addresses_.insert(addresses_.end(), tuple.addresses.begin(), tuple.addresses.end());
    ++items_;
    return Status();
  }
  uint32_t number() const { return number_; }
  uint32_t items() const { return items_; }

  // Appends what became of the run: an only tuple goes over as it is.
  Status finish(Rebuilt& rebuilt) const {
    if (items_ == 1) {
      VARVE_TRY_ASSIGN(const std::span<const uint8_t> tuple, first_tuple(base_));
      return rebuilt.append(tuple);
    }
    VARVE_TRY_ASSIGN(const std::vector<uint8_t> merged, form_tuple(key_, addresses_));
    return rebuilt.append(merged);
  }

 private:
  std::span<const uint8_t> base_;
  std::span<const uint8_t> key_;
  std::vector<uint8_t> addresses_;
  uint32_t number_ = 0;
  uint32_t items_ = 0;
};

// What a split record's data hands to the left page.
struct LeftPieces {
  std::vector<uint8_t> new_item;  // empty when it is not needed
  std::vector<uint8_t> posting;   // the swapped posting list before it, empty without
  std::span<const uint8_t> high_key;
};

Result<LeftPieces> read_left(const BtreeSplit& split, std::span<const uint8_t> data, Page& page) {
  LeftPieces pieces;
  if (split.new_item_left || split.posting_place != 0) {
    VARVE_TRY_ASSIGN(const std::span<const uint8_t> tuple, first_padded_tuple(data));
    pieces.new_item.assign(tuple.begin(), tuple.end());
    data = data.subspan(tuple.size());
  }
  if (split.posting_place != 0) {
    if (split.new_item < 2) return corrupt("a posting list before the first item");
    VARVE_TRY_ASSIGN(const std::span<uint8_t> list, page.item(split.new_item - 1u));
    VARVE_TRY_ASSIGN(const std::span<const uint8_t> tuple, first_padded_tuple(list));
    pieces.posting.assign(tuple.begin(), tuple.end());
    VARVE_TRY(swap_posting(pieces.posting, split.posting_place, pieces.new_item));
  }
  VARVE_TRY_ASSIGN(pieces.high_key, first_padded_tuple(data));
  if (pieces.high_key.size() != data.size()) return corrupt("bytes after the high key");
  return pieces;
}

}  // namespace

Status btree_split_left(const BtreeSplit& split, std::span<const uint8_t> data, Page& page) {
  VARVE_TRY_ASSIGN(const LeftPieces pieces, read_left(split, data, page));
  const uint32_t first = BtreeSpecial(page).first_data_item();
  if (split.new_item_left && (split.new_item < first || split.new_item > split.first_right)) {
    return corrupt("the new item of a left split lies outside of the left page");
  }
  Rebuilt left(page);
  VARVE_TRY(left.append(pieces.high_key));
  const uint32_t replaced = pieces.posting.empty() ? 0 : split.new_item - 1u;
  for (uint32_t i = first; i < split.first_right; ++i) {
    if (split.new_item_left && i == split.new_item) VARVE_TRY(left.append(pieces.new_item));
    if (i == replaced) {
      VARVE_TRY(left.append(pieces.posting));
      continue;
    }
    VARVE_TRY_ASSIGN(const std::span<uint8_t> item, page.item(i));
    VARVE_TRY(left.append(item));
  }
  if (split.new_item_left && split.new_item == split.first_right) {
    VARVE_TRY(left.append(pieces.new_item));
  }
  left.replace(page);
  BtreeSpecial special(page);
  special.set_flags(
      static_cast<uint16_t>(kBtreeIncompleteSplit | (split.level == 0 ? kBtreeLeaf : 0)));
  special.set_next(split.right_block);
  special.set_cycle(0);
  return Status();
}

Status btree_dedup(const PageDelta& delta, Page& page) {
  VARVE_TRY(check_btree(page));
  VARVE_TRY(need_main_data(delta, 2));
  const auto interval_count = load_le<uint16_t>(delta.main_data.data());
  if (delta.data.size() < size_t{4} * interval_count)
    return corrupt("a list of intervals that is cut off");
  const auto base_of = [&](uint32_t i) {
    return load_le<uint16_t>(delta.data.data() + size_t{4} * i);
  };
  const auto items_of = [&](uint32_t i) {
    return load_le<uint16_t>(delta.data.data() + size_t{4} * i + 2);
  };

  Rebuilt rebuilt(page);
  const uint32_t count = page.item_count();
  const uint32_t first = BtreeSpecial(page).first_data_item();
  if (first == 2) {
    VARVE_TRY_ASSIGN(const std::span<uint8_t> high_key, page.item(1));
    VARVE_TRY(rebuilt.append(high_key));
  }
  Pending pending;
  uint32_t interval = 0;
  for (uint32_t i = first; i <= count; ++i) {
    VARVE_TRY_ASSIGN(const std::span<uint8_t> item, page.item(i));
    if (i > first && interval < interval_count && pending.number() == base_of(interval) &&
        pending.items() < items_of(interval)) {
      VARVE_TRY(pending.add(item));
      continue;
    }
    if (i > first) {
      if (pending.items() > 1) ++interval;
      VARVE_TRY(pending.finish(rebuilt));
    }
    VARVE_TRY(pending.start(item, i));
  }
  if (pending.items() > 0) {
    if (pending.items() > 1) ++interval;
    VARVE_TRY(pending.finish(rebuilt));
  }
  if (interval != interval_count) return corrupt("intervals that do not fit the page's tuples");
  rebuilt.replace(page);
  BtreeSpecial(page).clear_flag(kBtreeHasGarbage);
  return Status();
}

namespace {

// Rewrites item `number` without the addresses at `positions` (ascending u16 numbers, not empty).
Status shrink_posting(uint32_t number, std::span<const uint8_t> positions, Page& page) {
  VARVE_TRY_ASSIGN(const std::span<uint8_t> item, page.item(number));
  VARVE_TRY_ASSIGN(const LeafTuple list, read_leaf_tuple(item));
  std::vector<uint8_t> kept;
  kept.reserve(list.addresses.size());
  size_t next = 0;
  for (uint32_t i = 0; i < list.count(); ++i) {
    if (next < positions.size() && load_le<uint16_t>(positions.data() + next) == i) {
      next += 2;
      continue;
    }
    const std::span<const uint8_t> address =
        list.addresses.subspan(i * kHeapAddressSize, kHeapAddressSize);
    kept.insert(kept.end(), address.begin(), address.end());
  }
  if (!list.posting || next != positions.size() || positions.empty() || kept.empty()) {
    return corrupt("addresses to delete that are not in posting list " + std::to_string(number));
  }
  VARVE_TRY_ASSIGN(std::vector<uint8_t> tuple, form_tuple(list.key, kept));
  tuple.resize(align8(static_cast<uint32_t>(tuple.size())));
  return page.overwrite(number, tuple);
}

}  // namespace

Status btree_delete(const PageDelta& delta, uint32_t offset, Page& page) {
  VARVE_TRY(check_btree(page));
  VARVE_TRY(need_main_data(delta, offset + 4));
  const auto deleted = load_le<uint16_t>(delta.main_data.data() + offset);
  const auto updated = load_le<uint16_t>(delta.main_data.data() + offset + 2);
  if (deleted > kMaxLinePointers) return corrupt("more items to delete than fit on a page");
  Reader in(delta.data);
  std::array<uint16_t, kMaxLinePointers> numbers;
  for (uint32_t i = 0; i < deleted; ++i) numbers[i] = in.le<uint16_t>();
  const std::span<const uint8_t> updated_numbers = in.bytes(size_t{2} * updated);
  for (uint32_t i = 0; in.ok() && i < updated; ++i) {
    const std::span<const uint8_t> positions = in.bytes(size_t{2} * in.le<uint16_t>());
    if (!in.ok()) break;
    VARVE_TRY(shrink_posting(load_le<uint16_t>(updated_numbers.data() + 2 * i), positions, page));
  }
  if (!in.ok()) return corrupt("a list of items that is cut off");
  VARVE_TRY(page.remove_many({numbers.data(), deleted}));
  BtreeSpecial(page).clear_flag(kBtreeHasGarbage);
  return Status();
}

}  // namespace varve::wal::redo
