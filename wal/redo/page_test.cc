// Page primitives against a model: items as byte strings in item order, storage as Postgres would
// place it.
#include "wal/redo/page.h"

#include <gtest/gtest.h>
// gtest must come before this one, or FAIL does not compile.
#include <rapidcheck/gtest.h>

#include <array>
#include <vector>

#include "base/random.h"

namespace varve::wal::redo {
namespace {

using PageBytes = std::array<uint8_t, kBlockSize>;
using Item = std::vector<uint8_t>;

Item random_item(RandomStream& random, uint64_t longest) {
  Item item(random.between(1, longest));
  for (uint8_t& byte : item) byte = static_cast<uint8_t>(random.next());
  return item;
}

std::vector<Item> items_of(Page& page) {
  std::vector<Item> items;
  for (uint32_t i = 1; i <= page.item_count(); ++i) {
    const auto item = page.item(i);
    RC_ASSERT(item.ok());
    items.emplace_back(item->begin(), item->end());
  }
  return items;
}

// Storage is [upper, special) without gaps or overlaps.
void check_packed(Page& page) {
  RC_ASSERT(page.check_base().ok());
  uint32_t total = 0;
  std::vector<bool> taken(kBlockSize);
  for (uint32_t i = 1; i <= page.item_count(); ++i) {
    const LinePointer p = page.pointer(i);
    for (uint32_t at = p.offset(); at < p.offset() + align8(p.length()); ++at) {
      RC_ASSERT(!taken[at]);
      taken[at] = true;
      ++total;
    }
  }
  RC_ASSERT(total == static_cast<uint32_t>(page.special() - page.upper()));
}

RC_GTEST_PROP(Page, IndexItemsFollowAModel, (uint64_t seed)) {
  RandomStream random(seed, "index items");
  PageBytes bytes;
  Page page(bytes);
  page.init(16);
  std::vector<Item> model;
  for (int step = 0; step < 60; ++step) {
    const uint64_t what = random.below(10);
    if (what < 6 || model.empty()) {
      const Item item = random_item(random, 400);
      const uint64_t at = random.below(model.size() + 1);
      const bool room = page.upper() - page.lower() >=
                        static_cast<int>(align8(static_cast<uint32_t>(item.size()))) + 4;
      const Status status = page.add(static_cast<uint32_t>(at + 1), item, Page::Placement::kInsert);
      RC_ASSERT(status.ok() == room);
      if (room) model.insert(model.begin() + static_cast<ptrdiff_t>(at), item);
    } else if (what < 8) {
      const uint64_t at = random.below(model.size());
      const Item item = random_item(random, 400);
      if (page.overwrite(static_cast<uint32_t>(at + 1), item).ok()) model[at] = item;
    } else {
      std::vector<uint16_t> gone;
      std::vector<Item> kept;
      for (size_t i = 0; i < model.size(); ++i) {
        if (random.chance(250000)) {
          gone.push_back(static_cast<uint16_t>(i + 1));
        } else {
          kept.push_back(model[i]);
        }
      }
      RC_ASSERT(page.remove_many(gone).ok());
      model = kept;
    }
    RC_ASSERT(items_of(page) == model);
    check_packed(page);
  }
}

// One or two deletions keep the physical order of the rest; three repack it in item order.
TEST(Page, MultiDeleteRepacksFromThreeOn) {
  for (const size_t deletions : {size_t{1}, size_t{2}, size_t{3}}) {
    PageBytes bytes;
    Page page(bytes);
    page.init(16);
    // Each new item goes to the front: item order is the reverse of placement order.
    for (uint8_t i = 0; i < 6; ++i) {
      ASSERT_TRUE(page.add(1, Item(16, i), Page::Placement::kInsert).ok());
    }
    std::vector<uint16_t> gone;
    for (uint16_t i = 0; i < deletions; ++i) gone.push_back(static_cast<uint16_t>(i + 1));
    ASSERT_TRUE(page.remove_many(gone).ok());
    const bool repacked = page.pointer(1).offset() > page.pointer(2).offset();
    EXPECT_EQ(repacked, deletions >= 3);
  }
}

TEST(Page, MultiDeleteRefusesNumbersOutOfOrder) {
  PageBytes bytes;
  Page page(bytes);
  page.init(16);
  for (uint8_t i = 0; i < 6; ++i)
    ASSERT_TRUE(page.add(1, Item(16, i), Page::Placement::kInsert).ok());
  const std::vector<uint16_t> numbers = {3, 2, 5};
  EXPECT_TRUE(page.remove_many(numbers).is(Code::kCorrupt));
}

RC_GTEST_PROP(Page, RepairPacksInItemOrderAndCutsTheTail, (uint64_t seed)) {
  RandomStream random(seed, "heap items");
  PageBytes bytes;
  Page page(bytes);
  page.init(0);
  const uint32_t count = static_cast<uint32_t>(random.between(1, 60));
  std::vector<Item> model;
  for (uint32_t i = 1; i <= count; ++i) {
    const Item item = random_item(random, 100);
    RC_ASSERT(page.add(i, item, Page::Placement::kOverwrite).ok());
    model.push_back(item);
  }
  // Some go and come back at other places, so that item order is not placement order.
  for (uint32_t i = 1; i <= count; ++i) {
    const uint64_t fate = random.below(5);
    if (fate == 0) page.set_pointer(i, LinePointer{});
    if (fate == 1) page.set_pointer(i, LinePointer::make(0, LinePointer::kDead, 0));
    if (fate == 2) {
      page.set_pointer(i, LinePointer{});
      const Item item = random_item(random, 60);
      if (page.add(i, item, Page::Placement::kOverwrite).ok()) model[i - 1] = item;
    }
  }
  std::vector<LinePointer> before;
  for (uint32_t i = 1; i <= count; ++i) before.push_back(page.pointer(i));
  uint32_t last_used = 0;
  for (uint32_t i = 1; i <= count; ++i) {
    if (before[i - 1].used()) last_used = i;
  }
  RC_ASSERT(page.repair_fragmentation().ok());
  RC_ASSERT(page.item_count() == last_used);
  uint32_t place = page.special();
  bool unused = false;
  for (uint32_t i = 1; i <= last_used; ++i) {
    const LinePointer p = page.pointer(i);
    RC_ASSERT(p.state() == before[i - 1].state());
    unused = unused || !p.used();
    if (!p.has_storage()) continue;
    place -= align8(p.length());
    RC_ASSERT(p.offset() == place);
    RC_ASSERT(Item(bytes.begin() + place, bytes.begin() + place + p.length()) == model[i - 1]);
  }
  RC_ASSERT(page.upper() == place);
  RC_ASSERT(((page.flags() & kPageHasFreeLines) != 0) == unused);
}

TEST(Page, VacuumNeverCutsTheFirstPointer) {
  PageBytes bytes;
  Page page(bytes);
  page.init(0);
  page.set_lower(kPageHeaderSize + 4 * 5);
  page.truncate_pointers();
  EXPECT_EQ(page.item_count(), 1);
  EXPECT_NE(page.flags() & kPageHasFreeLines, 0);
  page.set_pointer(1, LinePointer::make(0, LinePointer::kDead, 0));
  page.truncate_pointers();
  EXPECT_EQ(page.item_count(), 1);
  EXPECT_EQ(page.flags() & kPageHasFreeLines, 0);
}

TEST(Page, HeapPlacementTakesFreeNumbersOnly) {
  PageBytes bytes;
  Page page(bytes);
  page.init(0);
  EXPECT_TRUE(page.add(2, Item(8), Page::Placement::kOverwrite).is(Code::kCorrupt));
  EXPECT_TRUE(page.add(1, Item(8), Page::Placement::kOverwrite).ok());
  EXPECT_TRUE(page.add(1, Item(8), Page::Placement::kOverwrite).is(Code::kCorrupt));
  EXPECT_TRUE(page.add(2, Item(9000), Page::Placement::kOverwrite).is(Code::kCorrupt));
  EXPECT_TRUE(page.add(2, Item(8153), Page::Placement::kOverwrite).is(Code::kCorrupt));
  EXPECT_TRUE(page.add(2, Item(8152), Page::Placement::kOverwrite).ok());  // to the last byte
  EXPECT_EQ(page.pointer(1).length(), 8);
}

TEST(Page, PruneHintIsTheOldestInCircularOrder) {
  PageBytes bytes;
  Page page(bytes);
  page.init(0);
  page.set_prunable(1000);
  EXPECT_EQ(page.prune_xid(), 1000u);
  page.set_prunable(1001);
  EXPECT_EQ(page.prune_xid(), 1000u);
  page.set_prunable(0xFFFFFF00);  // before the counter went round
  EXPECT_EQ(page.prune_xid(), 0xFFFFFF00u);
}

TEST(Page, SanityIsWhatPostgresDemandsOfAPageOnDisk) {
  PageBytes bytes{};
  Page page(bytes);
  EXPECT_TRUE(page.sane());
  bytes[8000] = 1;
  EXPECT_FALSE(page.sane());
  page.init(16);
  EXPECT_TRUE(page.sane());
  page.set_flags(8);
  EXPECT_FALSE(page.sane());
  page.set_flags(0);
  page.set_lower(8180);
  EXPECT_FALSE(page.sane());
  EXPECT_TRUE(page.check_base().is(Code::kCorrupt));
}

}  // namespace
}  // namespace varve::wal::redo
