// Redo on recorded records: equal to the primary, equal whole and split, and safe when the bytes
// are hostile.
#include "wal/redo/redo.h"

#include <gtest/gtest.h>
// gtest must come before this one, or FAIL does not compile.
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "base/random.h"
#include "wal/image.h"
#include "wal/redo/btree.h"
#include "wal/redo/heap_tuple.h"
#include "wal/redo/mask.h"
#include "wal/redo/page.h"
#include "wal/redo/testing/recorded_cases.h"
#include "wal/redo/visibility.h"
#include "wal/visibility.h"

namespace varve::wal::redo {
namespace {

using PageBytes = std::array<uint8_t, kBlockSize>;

constexpr ClusterFacts kFacts{};

std::string name_of(const RecordedCase& one) {
  return one.record.start.to_string() + " " + rmgr_name(one.record.rmid) + " operation " +
         std::to_string(one.record.operation()) + " block " + std::to_string(one.block_id);
}

std::vector<uint8_t> split_of(const RecordedCase& one) {
  auto delta = split(one.record, one.block(), kFacts);
  EXPECT_TRUE(delta.ok()) << delta.status().to_string();
  EXPECT_TRUE(delta.ok() && delta->has_value());
  return delta.ok() && *delta ? **delta : std::vector<uint8_t>();
}

TEST(RecordedRedo, AgreesWithThePrimary) {
  ASSERT_GE(recorded_cases().size(), 150u);
  std::set<std::pair<uint8_t, uint8_t>> types;
  for (const auto& one : recorded_cases()) {
    types.insert({one->record.rmid, one->record.operation()});
    PageBytes page = one->before;
    const Status status = apply(one->block().block, page, one->record.end, split_of(*one));
    ASSERT_TRUE(status.ok()) << name_of(*one) << ": " << status.to_string();
    PageBytes image;
    ASSERT_TRUE(restore_image(*one->block().image, image).ok());
    const auto kind = mask_of(one->record.rmid, one->block().block.fork);
    ASSERT_TRUE(kind.has_value());
    const auto offset = first_difference(page, image, *kind, one->block().block.block);
    EXPECT_FALSE(offset.has_value()) << name_of(*one) << ": byte " << *offset;
  }
  EXPECT_EQ(types.size(), 31u);  // every type of the table but images on their own
}

// The trimmed and stored delta means what the whole record means, byte by byte and without masks.
TEST(RecordedRedo, SplitThenApplyEqualsApplyWhole) {
  size_t trimmed = 0;
  for (const auto& one : recorded_cases()) {
    const auto whole = whole_delta(one->record, one->block(), kFacts);
    ASSERT_TRUE(whole.has_value());
    PageBytes from_whole = one->before;
    ASSERT_TRUE(apply(one->block().block, from_whole, *whole).ok()) << name_of(*one);

    const std::vector<uint8_t> bytes = split_of(*one);
    trimmed += bytes.size() < encode(*whole).size() ? 1 : 0;
    PageBytes from_split = one->before;
    ASSERT_TRUE(apply(one->block().block, from_split, one->record.end, bytes).ok())
        << name_of(*one);
    EXPECT_EQ(from_whole, from_split) << name_of(*one);

    const auto parsed = parse(bytes, one->record.end);
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(encode(*parsed), bytes) << name_of(*one);
    EXPECT_EQ(will_init(bytes), parsed->will_init);
    EXPECT_EQ(will_init(bytes), one->block().will_init) << name_of(*one);
  }
  EXPECT_GT(trimmed, 20u);
}

TEST(RecordedRedo, SetsTheLsnUnlessThePrimaryDoesNot) {
  for (const auto& one : recorded_cases()) {
    const bool set_visible = one->record.is(Rmgr::kHeap2) &&
                             (one->record.operation() & 0x70) == 0x40 && one->block_id == 1;
    for (const bool logged : {false, true}) {
      PageBytes page = one->before;
      const auto delta = split(one->record, one->block(), {.hint_bits_logged = logged});
      ASSERT_TRUE(delta.ok() && *delta);
      ASSERT_TRUE(apply(one->block().block, page, one->record.end, **delta).ok());
      const Lsn expected = set_visible && !logged ? Page(page).lsn() : one->record.end;
      EXPECT_EQ(Page(page).lsn(), expected) << name_of(*one);
      EXPECT_EQ(Page(page).lsn() < one->record.end, set_visible && !logged) << name_of(*one);
    }
  }
}

TEST(RecordedRedo, RefusesToApplyTwice) {
  for (const auto& one : recorded_cases()) {
    const std::vector<uint8_t> delta = split_of(*one);
    PageBytes page = one->before;
    ASSERT_TRUE(apply(one->block().block, page, one->record.end, delta).ok());
    if (will_init(delta) || Page(page).lsn() != one->record.end) continue;
    const Status again = apply(one->block().block, page, one->record.end, delta);
    EXPECT_TRUE(again.is(Code::kCorrupt)) << name_of(*one);
    EXPECT_EQ(again.detail().lsn, one->record.end);
    EXPECT_EQ(again.detail().object, one->block().block.to_string());
  }
}

TEST(RecordedRedo, NeedsABaseUnlessItInitialises) {
  for (const auto& one : recorded_cases()) {
    const std::vector<uint8_t> delta = split_of(*one);
    PageBytes page{};
    const Status status = apply(one->block().block, page, one->record.end, delta);
    const bool map = one->block().block.fork == Fork::kVisibility;
    EXPECT_EQ(status.ok(), will_init(delta) || map) << name_of(*one) << status.to_string();
    // And whoever initialises does not look at what was there.
    if (!will_init(delta)) continue;
    PageBytes garbage;
    garbage.fill(0xA5);
    ASSERT_TRUE(apply(one->block().block, garbage, one->record.end, delta).ok());
    EXPECT_EQ(garbage, page) << name_of(*one);
  }
}

// Deltas of different pages commute: any interleaving that keeps each page's order gives the same
// pages.
RC_GTEST_PROP(RecordedRedo, OrderOfUnrelatedPagesDoesNotMatter, (uint64_t seed)) {
  const auto& cases = recorded_cases();
  RandomStream random(seed, "order");
  std::vector<size_t> order(std::min<size_t>(cases.size(), 24));
  for (size_t& i : order) i = random.below(cases.size());
  std::sort(order.begin(), order.end());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  const auto run = [&](const std::vector<size_t>& sequence) {
    std::map<size_t, PageBytes> pages;
    for (const size_t i : sequence) pages[i] = cases[i]->before;
    for (const size_t i : sequence) {
      RC_ASSERT(
          apply(cases[i]->block().block, pages[i], cases[i]->record.end, split_of(*cases[i])).ok());
    }
    return pages;
  };
  const auto expected = run(order);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  RC_ASSERT(run(order) == expected);
}

// --- what masks hide, so that recorded images can't show it
// -------------------------------------------------

// Calls `check` for every recorded block 0 of this operation; at least one.
template <class Check>
void for_recorded(Rmgr rmgr, uint8_t operation, Check check) {
  size_t found = 0;
  for (const auto& one : recorded_cases()) {
    if (!one->record.is(rmgr) || one->record.operation() != operation || one->block_id != 0)
      continue;
    ++found;
    check(*one);
  }
  EXPECT_GT(found, 0u);
}

TEST(MaskedDetails, ALockForgetsTheSuccessorOfARolledBackUpdate) {
  size_t forgot = 0;
  for_recorded(Rmgr::kHeap, 0x60, [&](const RecordedCase& one) {
    PageBytes bytes = one.before;
    Page page(bytes);
    const auto item = load_le<uint16_t>(one.record.main_data.data() + 4);
    HeapTuple tuple(heap_tuple_at(page, item)->data());
    tuple.set_hot_updated(true);
    tuple.set_ctid(1234, 56);
    ASSERT_TRUE(apply(one.block().block, bytes, one.record.end, split_of(one)).ok());
    EXPECT_EQ((tuple.infomask2() & kHotUpdated) == 0, tuple.only_locked());
    EXPECT_EQ(tuple.ctid_item(), tuple.only_locked() ? item : 56);
    forgot += tuple.only_locked() ? 1 : 0;
  });
  EXPECT_GT(forgot, 0u);
}

TEST(MaskedDetails, DeletesAndUpdatesMarkThePagePrunable) {
  for (const uint8_t operation : {0x10, 0x20, 0x40}) {
    for_recorded(Rmgr::kHeap, operation, [](const RecordedCase& one) {
      PageBytes bytes = one.before;
      Page(bytes).set_prune_xid(0);
      ASSERT_TRUE(apply(one.block().block, bytes, one.record.end, split_of(one)).ok());
      // An update whose old row lies on another page marks that one.
      const bool old_row_here = one.record.blocks.size() == 1;
      EXPECT_EQ(Page(bytes).prune_xid(), old_row_here ? one.record.xid : 0) << name_of(one);
    });
  }
}

TEST(MaskedDetails, FreezingSettlesAnOldVacuumFull) {
  for_recorded(Rmgr::kHeap2, 0x30, [](const RecordedCase& one) {
    for (const auto& [flags, expected] : {std::pair<uint8_t, uint32_t>{2, 2}, {4, 0}, {0, 77}}) {
      PageDelta delta = *whole_delta(one.record, one.block(), kFacts);
      std::vector<uint8_t> data(delta.data.begin(), delta.data.end());
      data[10] = flags;
      delta.data = data;
      PageBytes bytes = one.before;
      Page page(bytes);
      uint8_t* tuple = heap_tuple_at(page, load_le<uint16_t>(data.data() + 4))->data();
      HeapTuple(tuple).set_field3(77);
      ASSERT_TRUE(apply(one.block().block, bytes, delta).ok());
      EXPECT_EQ(load_le<uint32_t>(tuple + 8), expected);
    }
  });
}

TEST(MaskedDetails, ASplitForgetsTheVacuumCycle) {
  for (const uint8_t operation : {0x30, 0x40}) {
    for_recorded(Rmgr::kBtree, operation, [](const RecordedCase& one) {
      PageBytes bytes = one.before;
      Page page(bytes);
      BtreeSpecial(page).set_cycle(99);
      ASSERT_TRUE(apply(one.block().block, bytes, one.record.end, split_of(one)).ok());
      EXPECT_EQ(load_le<uint16_t>(bytes.data() + kBlockSize - 2), 0);
    });
  }
}

TEST(MaskedDetails, DeletionOfIndexTuplesClearsTheGarbageFlag) {
  for (const uint8_t operation : {0x60, 0x70, 0xC0}) {
    for_recorded(Rmgr::kBtree, operation, [](const RecordedCase& one) {
      PageBytes bytes = one.before;
      Page page(bytes);
      BtreeSpecial special(page);
      special.set_flags(special.flags() | kBtreeHasGarbage);
      ASSERT_TRUE(apply(one.block().block, bytes, one.record.end, split_of(one)).ok());
      EXPECT_EQ(special.flags() & kBtreeHasGarbage, 0);
    });
  }
}

// --- hostile input
// --------------------------------------------------------------------------------------

void mutate(RandomStream& random, std::vector<uint8_t>& bytes) {
  const uint64_t rounds = random.between(1, 4);
  for (uint64_t i = 0; i < rounds && !bytes.empty(); ++i) {
    const size_t at = random.below(bytes.size());
    switch (random.below(6)) {
      case 0:
        bytes[at] ^= static_cast<uint8_t>(1 << random.below(8));
        break;
      case 1:
        bytes[at] = static_cast<uint8_t>(random.next());
        break;
      case 2:
        bytes[at] = random.chance(500000) ? 0xFF : 0;
        break;
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.insert(bytes.begin() + static_cast<ptrdiff_t>(at), random.below(9), 0x20);
        break;
      case 5:
        bytes[at] = static_cast<uint8_t>(bytes[at] + random.between(0, 4) - 2);
        break;
    }
  }
}

void mutate(RandomStream& random, PageBytes& page) {
  const uint64_t rounds = random.between(1, 3);
  for (uint64_t i = 0; i < rounds; ++i) {
    // Header and line pointers are where it hurts.
    const size_t range = random.chance(700000) ? 300 : kBlockSize;
    const size_t at = random.below(range);
    page[at] = random.chance(500000) ? static_cast<uint8_t>(random.next())
                                     : page[at] ^ static_cast<uint8_t>(1 << random.below(8));
  }
}

TEST(HostileRedo, MutatedDeltasAndPagesAreErrorsOrPages) {
  const auto& cases = recorded_cases();
  ASSERT_FALSE(cases.empty());
  RandomStream random(20261121, "hostile");
  uint64_t refused = 0;
  constexpr uint64_t kRounds = 300000;
  for (uint64_t i = 0; i < kRounds; ++i) {
    const RecordedCase& one = *cases[random.below(cases.size())];
    PageBytes page = one.before;
    std::vector<uint8_t> bytes = split_of(one);
    const uint64_t what = random.below(4);
    if (what != 0) mutate(random, bytes);
    if (what == 0 || what == 3) mutate(random, page);
    // Now and then the page of another case, of another kind.
    if (random.chance(50000)) page = cases[random.below(cases.size())]->before;
    // A copy of its own, so that reading past its end is seen.
    const std::vector<uint8_t> exact(bytes);
    const Status status = apply(one.block().block, page, one.record.end, exact);
    if (status.ok()) {
      ASSERT_TRUE(Page(page).sane()) << name_of(one);
    } else {
      ++refused;
      ASSERT_TRUE(status.is(Code::kCorrupt) || status.is(Code::kUnsupported)) << status.to_string();
      ASSERT_EQ(status.detail().lsn, one.record.end) << status.to_string();
    }
  }
  // Most mutations hit a length, a count or an offset; if few are refused, the checks are gone.
  EXPECT_GT(refused, kRounds / 10);
  EXPECT_LT(refused, kRounds * 9 / 10);
}

RC_GTEST_PROP(HostileRedo, AnyBytesParseOrNot, (std::vector<uint8_t> bytes, uint8_t flags)) {
  if (bytes.size() >= 2) {
    bytes[0] = 1;
    bytes[1] = flags;
  }
  const auto delta = parse(bytes, Lsn(0x1000));
  if (!delta.ok()) {
    RC_ASSERT(delta.is(Code::kCorrupt));
    return;
  }
  RC_ASSERT(will_init(bytes) == delta->will_init);
  const std::vector<uint8_t> once = encode(*delta);
  const auto again = parse(once, Lsn(0x1000));
  RC_ASSERT(again.ok());
  RC_ASSERT(encode(*again) == once);
}

TEST(Delta, RefusesANewerVersionByNumber) {
  const std::vector<uint8_t> bytes = {2, 0, 10, 0, 0};
  const auto delta = parse(bytes, Lsn(0x1000));
  EXPECT_TRUE(delta.is(Code::kUnsupported));
  EXPECT_NE(delta.status().message().find("version 2"), std::string::npos);
  EXPECT_FALSE(will_init(bytes));
}

// --- what the recorded corpus does not hold
// -----------------------------------------------------------------

BlockId page_of(Fork fork = Fork::kMain, uint32_t block = 7) {
  return {{1663, 5, 16384}, fork, block};
}

BlockReference reference(uint8_t id, const BlockId& block) {
  BlockReference result;
  result.id = id;
  result.block = block;
  return result;
}

BlockReference with_image(uint8_t id, const BlockId& block, const BlockImage& image) {
  BlockReference result = reference(id, block);
  result.image = image;
  return result;
}

BlockReference with_data(uint8_t id, const BlockId& block, std::span<const uint8_t> data) {
  BlockReference result = reference(id, block);
  result.has_data = true;
  result.data = data;
  return result;
}

BlockImage whole_image(std::span<const uint8_t> bytes) {
  BlockImage image;
  image.bytes = bytes;
  image.apply = true;
  return image;
}

PageBytes empty_page(uint32_t special) {
  PageBytes bytes;
  Page(bytes).init(special);
  return bytes;
}

TEST(Images, BecomeThePageWithItsNewLsn) {
  PageBytes source = empty_page(0);
  source[5000] = 42;
  Record record;
  record.end = Lsn(0x12345678);
  record.rmid = static_cast<uint8_t>(Rmgr::kXlog);
  record.info = 0xB0;
  record.blocks.push_back(with_image(3, page_of(), whole_image(source)));
  const auto delta = split(record, record.blocks[0], kFacts);
  ASSERT_TRUE(delta.ok() && *delta);
  EXPECT_TRUE(will_init(**delta));
  PageBytes page;
  page.fill(0xEE);
  ASSERT_TRUE(apply(page_of(), page, record.end, **delta).ok());
  EXPECT_EQ(Page(page).lsn(), record.end);
  Page(source).set_lsn(record.end);
  EXPECT_EQ(page, source);
}

TEST(Images, OfNothingStayNothing) {
  const PageBytes zeros{};
  Record record;
  record.end = Lsn(0x12345678);
  record.info = 0xB0;
  record.blocks.push_back(with_image(0, page_of(), whole_image(zeros)));
  const auto delta = split(record, record.blocks[0], kFacts);
  ASSERT_TRUE(delta.ok() && *delta);
  PageBytes page;
  page.fill(0xEE);
  ASSERT_TRUE(apply(page_of(), page, record.end, **delta).ok());
  EXPECT_EQ(page, zeros);
}

TEST(Images, GistAndHashChangeThePageAfterwards) {
  PageBytes source = empty_page(16);
  store_le<uint16_t>(source.data() + 8176 + 12, 0x8 | 0x1);
  const uint8_t md[] = {9, 0, 0, 0, 0x11, 0, 0x22, 0, 3};
  const auto run = [&](Rmgr rmgr, uint8_t info, uint8_t id) {
    Record record;
    record.end = Lsn(0x700001000);
    record.rmid = static_cast<uint8_t>(rmgr);
    record.info = info;
    record.main_data = md;
    record.blocks.push_back(with_image(id, page_of(), whole_image(source)));
    const auto delta = split(record, record.blocks[0], kFacts);
    EXPECT_TRUE(delta.ok() && *delta);
    PageBytes page{};
    const Status status = apply(page_of(), page, record.end, **delta);
    EXPECT_TRUE(status.ok()) << status.to_string();
    return page;
  };
  const auto flags = [](const PageBytes& p) { return load_le<uint16_t>(p.data() + 8176 + 12); };
  const PageBytes child = run(Rmgr::kGist, 0x00, 1);
  EXPECT_EQ(flags(child), 1);
  EXPECT_EQ(load_le<uint32_t>(child.data() + 8176), 7u);
  EXPECT_EQ(load_le<uint32_t>(child.data() + 8180), 0x1000u);
  EXPECT_EQ(flags(run(Rmgr::kGist, 0x00, 0)),
            9);  // the page inserted into keeps what the image says
  EXPECT_EQ(flags(run(Rmgr::kGist, 0x30, 0)), 1);  // split: the child it completes
  const PageBytes old_bucket = run(Rmgr::kHash, 0x40, 0);
  EXPECT_EQ(load_le<uint32_t>(old_bucket.data() + 8176), 9u);
  EXPECT_EQ(flags(old_bucket), 0x11);
  EXPECT_EQ(flags(run(Rmgr::kHash, 0x60, 0)), 9);  // md read as two u16: 9, 0
  EXPECT_EQ(flags(run(Rmgr::kHash, 0x60, 1)), 0);
  EXPECT_EQ(flags(run(Rmgr::kHash, 0x20, 0)), 9);
}

TEST(Unsupported, KeepsTheDeltaAndNamesTheManager) {
  const uint8_t bytes[] = {1, 2, 3, 4, 5};
  for (const Rmgr rmgr : {Rmgr::kHash, Rmgr::kGin, Rmgr::kGist, Rmgr::kSpgist, Rmgr::kBrin}) {
    Record record;
    record.end = Lsn(0x1000);
    record.rmid = static_cast<uint8_t>(rmgr);
    record.info = 0x10;
    record.xid = 77;
    record.main_data = bytes;
    record.blocks.push_back(with_data(0, page_of(), bytes));
    record.blocks.push_back(reference(2, page_of(Fork::kMain, 300)));
    const auto delta = split(record, record.blocks[0], kFacts);
    ASSERT_TRUE(delta.ok() && *delta);
    const auto parsed = parse(**delta, record.end);
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(parsed->xid, 77u);
    EXPECT_EQ(parsed->main_data.size(), sizeof bytes);
    EXPECT_EQ(parsed->data.size(), sizeof bytes);
    EXPECT_EQ(parsed->other(2), 300u);
    PageBytes page = empty_page(16);
    const Status status = apply(page_of(), page, record.end, **delta);
    EXPECT_TRUE(status.is(Code::kUnsupported));
    EXPECT_NE(status.message().find(rmgr_name(record.rmid)), std::string::npos);
  }
}

TEST(Split, NamesAnOperationThatNoManagerHas) {
  Record record;
  record.end = Lsn(0x1000);
  record.rmid = static_cast<uint8_t>(Rmgr::kBtree);
  record.info = 0xF0;
  record.blocks.push_back(reference(0, page_of()));
  const auto delta = split(record, record.blocks[0], kFacts);
  EXPECT_TRUE(delta.is(Code::kCorrupt));
  EXPECT_EQ(delta.status().detail().lsn, record.end);
}

TEST(HintRecords, WithoutImageMoveTheLsnOfLoggedPagesOnly) {
  Record record;
  record.end = Lsn(0x2000);
  record.rmid = static_cast<uint8_t>(Rmgr::kXlog);
  record.info = 0xA0;
  record.blocks.push_back(reference(0, page_of()));
  record.blocks.push_back(reference(1, page_of(Fork::kFreeSpace)));
  const auto main = split(record, record.blocks[0], kFacts);
  ASSERT_TRUE(main.ok() && *main);
  PageBytes page = empty_page(0);
  PageBytes expected = page;
  ASSERT_TRUE(apply(page_of(), page, record.end, **main).ok());
  Page(expected).set_lsn(record.end);
  EXPECT_EQ(page, expected);
  const auto space = split(record, record.blocks[1], kFacts);
  ASSERT_TRUE(space.ok());
  EXPECT_FALSE(space->has_value());
}

// Generic records have no type in the corpus (they need an extension's index).
TEST(Generic, CopiesRangesAndZeroesTheHole) {
  PageBytes page = empty_page(8);
  page[4000] = 99;  // in the hole
  Writer data;
  data.le<uint16_t>(12);  // pd_lower
  data.le<uint16_t>(2);
  data.le<uint16_t>(28);
  data.le<uint16_t>(24);
  data.le<uint16_t>(3);
  data.text("abc");
  Record record;
  record.end = Lsn(0x2000);
  record.rmid = static_cast<uint8_t>(Rmgr::kGeneric);
  record.blocks.push_back(with_data(0, page_of(), data.span()));
  const auto delta = split(record, record.blocks[0], kFacts);
  ASSERT_TRUE(delta.ok() && *delta);
  ASSERT_TRUE(apply(page_of(), page, record.end, **delta).ok());
  EXPECT_EQ(page[24], 'a');
  EXPECT_EQ(page[26], 'c');
  EXPECT_EQ(page[4000], 0);
  EXPECT_EQ(Page(page).lower(), 28);
}

// --- visibility maps
// ------------------------------------------------------------------------------------

RC_GTEST_PROP(VisibilityChange, ClearsAndCutsOnlyWhatItNames, (uint32_t a, uint32_t b, bool cut)) {
  const uint32_t first = kHeapBlocksPerVisibilityPage * 2;  // map page 2
  a = first + a % kHeapBlocksPerVisibilityPage;
  b = first + b % kHeapBlocksPerVisibilityPage;
  PageBytes page = empty_page(0);
  Page(page).set_lsn(Lsn(0x500));
  std::fill(page.begin() + kVisibilityPageHeader, page.end(), 0xFF);
  struct VisibilityChange change;
  change.clears[0] = {a, kVisibilityBits};
  change.clears[1] = {b, kAllFrozen};
  change.clear_count = 2;
  if (cut) change.truncate_to = b;
  const BlockId id = page_of(Fork::kVisibility, 2);
  RC_ASSERT(apply(id, page, Lsn(0x900), encode(change)).ok());
  RC_ASSERT(Page(page).lsn() == Lsn(0x500));
  for (uint32_t i = first; i < first + kHeapBlocksPerVisibilityPage; ++i) {
    uint8_t expected = kVisibilityBits;
    if (i == b) expected = kAllVisible;
    if (i == a || (cut && i >= b)) expected = 0;
    RC_ASSERT(visibility_of(page, i) == expected);
  }
  // The wrong map page is an error, a page that never was stays nothing.
  RC_ASSERT(
      apply(page_of(Fork::kVisibility, 1), page, Lsn(0x900), encode(change)).is(Code::kCorrupt));
  PageBytes nothing{};
  RC_ASSERT(apply(id, nothing, Lsn(0x900), encode(change)).ok());
  RC_ASSERT(nothing == PageBytes{});
}

TEST(MapDeltas, AreOneForEachMapPage) {
  const RelationId relation{1663, 5, 16384};
  VisibilityClear clear;
  clear.count = 2;
  clear.targets[0] = {relation, 10, kVisibilityBits};
  clear.targets[1] = {relation, 11, kAllFrozen};
  std::vector<MapDelta> deltas;
  append_map_deltas(clear, deltas);
  ASSERT_EQ(deltas.size(), 1u);
  EXPECT_EQ(deltas[0].page, (BlockId{relation, Fork::kVisibility, 0}));
  EXPECT_EQ(deltas[0].change.clear_count, 2);

  clear.targets[1].heap_block = kHeapBlocksPerVisibilityPage;
  append_map_deltas(clear, deltas);  // appends, and looks at its own only
  ASSERT_EQ(deltas.size(), 3u);
  EXPECT_EQ(deltas[1].page.block, 0u);
  EXPECT_EQ(deltas[2].page.block, 1u);

  RelationTruncate cut{.relation = relation, .blocks = 33000, .main = true, .visibility = true};
  deltas.clear();
  append_map_deltas(cut, deltas);
  ASSERT_EQ(deltas.size(), 1u);
  EXPECT_EQ(deltas[0].page.block, 1u);
  EXPECT_EQ(deltas[0].change.truncate_to, 33000u);
  // On a page edge the page goes whole, and without the map fork nothing is cut.
  deltas.clear();
  cut.blocks = kHeapBlocksPerVisibilityPage;
  append_map_deltas(cut, deltas);
  cut.blocks = 5;
  cut.visibility = false;
  append_map_deltas(cut, deltas);
  EXPECT_TRUE(deltas.empty());
}

}  // namespace
}  // namespace varve::wal::redo
