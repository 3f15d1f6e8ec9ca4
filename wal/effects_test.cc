// Effects from hand-made records, their application to status pages, and hostile main data.
#include "wal/effects.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "wal/decode_record.h"
#include "wal/slru.h"
#include "wal/slru_delta.h"
#include "wal/two_phase.h"
#include "wal/visibility.h"
#include "wal/writer.h"

namespace varve::wal {
namespace {

const Version& v15() {
  return *version_of_major(15);
}

// A record with its bytes, decoded from them.
struct Made {
  std::vector<uint8_t> raw;
  Record record;
};

Made make(const Version& version, const RecordParts& parts) {
  Made made;
  made.raw = build_record(version, parts);
  seal_record(made.raw, Lsn(0x1000028));
  const Status status =
      decode_record(version, Lsn(0x1000100), Lsn(0x1000200), made.raw, made.record);
  EXPECT_TRUE(status.ok()) << status.to_string();
  return made;
}

Made make(Rmgr rmgr, uint8_t info, const Writer& main, const Version& version = v15(),
          uint32_t xid = 700, std::optional<uint16_t> origin = std::nullopt) {
  RecordParts parts;
  parts.rmid = static_cast<uint8_t>(rmgr);
  parts.info = info;
  parts.xid = xid;
  parts.main_data = main.span();
  parts.origin = origin;
  return make(version, parts);
}

template <class T>
T effect_of(const Made& made, const Version& version = v15()) {
  Effect effect;
  const Status status = parse_effect(version, made.record, effect);
  EXPECT_TRUE(status.ok()) << status.to_string();
  const T* typed = std::get_if<T>(&effect);
  EXPECT_NE(typed, nullptr) << "index " << effect.index();
  return typed != nullptr ? *typed : T{};
}

void put(Writer& out, std::initializer_list<uint32_t> words) {
  for (const uint32_t word : words) out.le<uint32_t>(word);
}

// A commit of a prepared transaction with every optional part.
Writer full_commit(const Version& version) {
  Writer main;
  main.le<int64_t>(111);
  const uint32_t statistics = version.dropped_statistics_size != 0 ? 0x100 : 0;
  main.le<uint32_t>(0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | statistics | 1u << 30);
  put(main, {5, 1663});                            // database, tablespace
  put(main, {2, 801, 802});                        // subtransactions
  put(main, {2, 1663, 5, 16384, 1663, 5, 16390});  // relations
  if (statistics != 0) {
    main.le<uint32_t>(1);
    main.zeros(version.dropped_statistics_size);
  }
  main.le<uint32_t>(3);
  main.zeros(3 * 16);  // invalidations
  main.le<uint32_t>(800);
  main.cstring("both halves");
  main.le<uint64_t>(0x55);
  main.le<int64_t>(222);
  return main;
}

TEST(Effects, CommitWithEveryPart) {
  for (const uint16_t major : {14, 15, 17, 18}) {
    const Version& version = *version_of_major(major);
    const Writer main = full_commit(version);
    const Made made = make(Rmgr::kTransaction, 0x30 | 0x80 | 1, main, version, 0, uint16_t{9});
    const auto end = effect_of<TransactionEnd>(made, version);
    EXPECT_TRUE(end.committed);
    EXPECT_TRUE(end.prepared);
    EXPECT_EQ(end.xid, 800u);
    EXPECT_EQ(end.time, 111);
    EXPECT_EQ(end.database, 5u);
    ASSERT_EQ(end.subtransactions.size(), 2u);
    EXPECT_EQ(end.subtransactions[1], 802u);
    ASSERT_EQ(end.dropped.size(), 2u);
    EXPECT_EQ(end.dropped[1].id, (RelationId{1663, 5, 16390}));
    EXPECT_EQ(end.prepared_name, "both halves");
    EXPECT_EQ(end.origin, 9);
    ASSERT_TRUE(end.progress.has_value());
    EXPECT_EQ(end.progress->remote_lsn, Lsn(0x55));
    EXPECT_EQ(end.commit_timestamp(), 222);
  }
}

TEST(Effects, EveryTruncationOfMainDataIsRefused) {
  const Writer whole = full_commit(v15());
  for (size_t size = 0; size < whole.size(); ++size) {
    Writer main;
    main.bytes(whole.span().first(size));
    const Made made = make(Rmgr::kTransaction, 0x30 | 0x80, main);
    Effect effect;
    const Status status = parse_effect(v15(), made.record, effect);
    EXPECT_TRUE(status.is(Code::kCorrupt)) << size;
    EXPECT_EQ(status.detail().lsn, Lsn(0x1000100));
  }
}

TEST(Effects, SmallCommitAndAbort) {
  Writer main;
  main.le<int64_t>(5);
  const auto commit = effect_of<TransactionEnd>(make(Rmgr::kTransaction, 0x00, main));
  EXPECT_TRUE(commit.committed);
  EXPECT_EQ(commit.xid, 700u);
  EXPECT_EQ(commit.commit_timestamp(), 5);
  const auto abort = effect_of<TransactionEnd>(make(Rmgr::kTransaction, 0x20, main));
  EXPECT_FALSE(abort.committed);
  // A prepared end must say which.
  Effect effect;
  EXPECT_TRUE(
      parse_effect(v15(), make(Rmgr::kTransaction, 0x40, main).record, effect).is(Code::kCorrupt));
}

Writer prepare_main(const Version& version) {
  Writer main;
  put(main, {0x57F94534, 0, 900, 5});
  main.le<int64_t>(77);
  put(main, {10, 3, 1, 1});
  if (version.dropped_statistics_size != 0) put(main, {0, 0});
  main.le<uint32_t>(0);  // invalidations
  main.u8(0);
  main.u8(0);
  main.le<uint16_t>(5);
  main.le<uint64_t>(0);
  main.le<int64_t>(0);
  const auto pad = [&] { main.zeros(-main.size() & 7); };
  main.cstring("four");
  pad();
  put(main, {901, 902, 903});
  pad();
  put(main, {1663, 5, 20000});
  pad();
  put(main, {1663, 5, 20001});
  pad();
  put(main, {0, 0});  // the list of other managers' data
  return main;
}

TEST(Effects, Prepare) {
  for (const uint16_t major : {14, 15, 18}) {
    const Version& version = *version_of_major(major);
    const Writer main = prepare_main(version);
    const Made made = make(Rmgr::kTransaction, 0x10, main, version);
    const auto prepare = effect_of<TransactionPrepare>(made, version);
    EXPECT_EQ(prepare.xid, 900u);
    EXPECT_EQ(prepare.database, 5u);
    EXPECT_EQ(prepare.name, "four");
    ASSERT_EQ(prepare.subtransactions.size(), 3u);
    EXPECT_EQ(prepare.subtransactions[2], 903u);
    ASSERT_EQ(prepare.dropped_on_commit.size(), 1u);
    EXPECT_EQ(prepare.dropped_on_commit[0].id.relation, 20000u);
    ASSERT_EQ(prepare.dropped_on_abort.size(), 1u);
    EXPECT_EQ(prepare.dropped_on_abort[0].id.relation, 20001u);
    EXPECT_FALSE(prepare.progress.has_value());
    EXPECT_EQ(two_phase_file(prepare).size(), main.size() + 4);
    EXPECT_EQ(two_phase_file_name(version, uint64_t{1} << 32 | 900),
              major >= 17 ? "0000000100000384" : "00000384");
  }
}

TEST(Effects, FilesAndDatabases) {
  Writer create;
  put(create, {1663, 5, 16384, 3});
  const auto created = effect_of<RelationCreate>(make(Rmgr::kStorage, 0x11, create));
  EXPECT_EQ(created.relation, (RelationId{1663, 5, 16384}));
  EXPECT_EQ(created.fork, Fork::kInit);
  Writer truncate;
  put(truncate, {7, 1663, 5, 16384, 3});
  const auto truncated = effect_of<RelationTruncate>(make(Rmgr::kStorage, 0x21, truncate));
  EXPECT_EQ(truncated.blocks, 7u);
  EXPECT_TRUE(truncated.main && truncated.visibility && !truncated.free_space);
  Writer copy;
  put(copy, {20, 1663, 1, 1663});
  EXPECT_EQ(effect_of<DatabaseCopy>(make(Rmgr::kDatabase, 0x01, copy)).source_database, 1u);
  Writer logged;
  put(logged, {21, 1663});
  EXPECT_EQ(effect_of<DatabaseCreate>(make(Rmgr::kDatabase, 0x11, logged)).database, 21u);
  Writer drop;
  put(drop, {20, 2, 1663, 1700});
  EXPECT_EQ(effect_of<DatabaseDrop>(make(Rmgr::kDatabase, 0x21, drop)).tablespaces[1], 1700u);
  // In 14 the second operation is the drop, and there is no third.
  const Version& v14 = *version_of_major(14);
  EXPECT_EQ(effect_of<DatabaseDrop>(make(Rmgr::kDatabase, 0x11, drop, v14), v14).database, 20u);
  Effect effect;
  EXPECT_TRUE(parse_effect(v14, make(Rmgr::kDatabase, 0x21, drop, v14).record, effect)
                  .is(Code::kUnsupported));
  Writer map;
  put(map, {5, 1663, 512});
  map.zeros(512);
  EXPECT_EQ(effect_of<RelationMapUpdate>(make(Rmgr::kRelationMap, 0, map)).map.size(), 512u);
  Writer space;
  space.le<uint32_t>(1800);
  space.cstring("/srv/space");
  EXPECT_EQ(effect_of<TablespaceCreate>(make(Rmgr::kTablespace, 0, space)).path, "/srv/space");
}

TEST(Effects, SpecialRelationBitMustBeHandled) {
  Writer main;
  main.zeros(200);
  Effect effect;
  // A heap record, an index record and a commit without relations say nothing about files.
  for (const Rmgr rmgr : {Rmgr::kHeap, Rmgr::kBtree, Rmgr::kTransaction, Rmgr::kGeneric}) {
    const Made made = make(rmgr, kInfoSpecialRelation, main);
    const Status status = parse_effect(v15(), made.record, effect);
    EXPECT_TRUE(status.is(Code::kUnsupported)) << static_cast<int>(rmgr);
  }
}

TEST(Effects, UnknownIsRefusedByName) {
  Writer main;
  main.zeros(200);
  Effect effect;
  for (const auto& [rmid, info] : {std::pair{200, 0},
                                   {2, 0x00},
                                   {4, 0x30},
                                   {1, 0x70},
                                   {0, 0xC0},
                                   {0, 0xE0},
                                   {6, 0x40},
                                   {8, 0x30}}) {
    const Made made = make(static_cast<Rmgr>(rmid), static_cast<uint8_t>(info), main);
    const Status status = parse_effect(v15(), made.record, effect);
    EXPECT_TRUE(status.is(Code::kUnsupported)) << rmid << " " << info;
    EXPECT_NE(status.message().find("UNKNOWN"), std::string::npos) << status.message();
  }
}

TEST(Effects, PageNumbersAreWiderFrom17On) {
  const Version& v17 = *version_of_major(17);
  Writer main;
  main.le<uint64_t>(12);
  main.le<uint32_t>(5000);
  main.le<uint32_t>(5);
  const auto truncate = effect_of<ClogTruncate>(make(Rmgr::kClog, 0x10, main, v17), v17);
  EXPECT_EQ(truncate.page, 12u);
  EXPECT_EQ(truncate.oldest_xid, 5000u);
  EXPECT_EQ(truncate.oldest_xid_database, 5u);
  Writer huge;
  huge.le<uint64_t>(uint64_t{1} << 32);
  Effect effect;
  EXPECT_TRUE(parse_effect(v17, make(Rmgr::kClog, 0, huge, v17).record, effect).is(Code::kCorrupt));
}

BlockReference heap_block(uint8_t id, uint32_t block) {
  BlockReference reference;
  reference.id = id;
  reference.block = {{1663, 5, 16384}, Fork::kMain, block};
  return reference;
}

TEST(Effects, HeapClearsOfTheVisibilityMap) {
  struct Row {
    Rmgr rmgr;
    uint8_t info;
    size_t flags_at;
    uint8_t flags;
    std::vector<uint32_t> blocks;                        // ids 0, 1
    std::vector<std::pair<uint32_t, uint8_t>> expected;  // heap block, bits
  };
  const std::vector<Row> rows = {
      {Rmgr::kHeap, 0x00, 2, 1, {8}, {{8, 3}}},
      {Rmgr::kHeap, 0x80, 2, 0, {8}, {}},
      {Rmgr::kHeap, 0x10, 7, 1, {8}, {{8, 3}}},
      {Rmgr::kHeap, 0x10, 7, 0x1E, {8}, {}},
      {Rmgr::kHeap, 0x20, 7, 1, {8, 9}, {{9, 3}}},
      {Rmgr::kHeap, 0x20, 7, 2, {8, 9}, {{8, 3}}},
      {Rmgr::kHeap, 0x20, 7, 3, {8, 9}, {{9, 3}, {8, 3}}},
      {Rmgr::kHeap, 0x40, 7, 1, {8}, {{8, 3}}},
      {Rmgr::kHeap, 0x60, 7, 1, {8}, {{8, kAllFrozen}}},
      {Rmgr::kHeap, 0x70, 2, 1, {8}, {}},
      {Rmgr::kHeap2, 0x50, 0, 1, {8}, {{8, 3}}},
      {Rmgr::kHeap2, 0xD0, 0, 0x20, {8}, {}},
      {Rmgr::kHeap2, 0x60, 7, 1, {8}, {{8, kAllFrozen}}},
      {Rmgr::kHeap2, 0x40, 7, 1, {8}, {}},
  };
  for (const Row& row : rows) {
    std::vector<BlockReference> blocks;
    for (const uint32_t block : row.blocks)
      blocks.push_back(heap_block(static_cast<uint8_t>(blocks.size()), block));
    std::vector<uint8_t> main(14);
    main[row.flags_at] = row.flags;
    RecordParts parts;
    parts.rmid = static_cast<uint8_t>(row.rmgr);
    parts.info = row.info;
    parts.blocks = blocks;
    parts.main_data = main;
    const Made made = make(v15(), parts);
    Effect effect;
    ASSERT_TRUE(parse_effect(v15(), made.record, effect).ok());
    const auto* clears = std::get_if<VisibilityClear>(&effect);
    ASSERT_EQ(clears != nullptr ? clears->count : 0, row.expected.size()) << int{row.info};
    for (size_t i = 0; i < row.expected.size(); ++i) {
      EXPECT_EQ(clears->targets[i].heap_block, row.expected[i].first);
      EXPECT_EQ(clears->targets[i].bits, row.expected[i].second);
    }
  }
}

TEST(Effects, HostileMainData) {
  RandomStream random(1, "effects");
  std::vector<SlruPage> pages;
  std::vector<uint8_t> page(kBlockSize);
  int parsed = 0;
  for (int round = 0; round < 200000; ++round) {
    const Version& version = *version_of_major(static_cast<uint16_t>(14 + random.below(5)));
    RecordParts parts;
    parts.rmid = static_cast<uint8_t>(random.below(22));
    parts.info = static_cast<uint8_t>(random.below(16) << 4);
    parts.info |= static_cast<uint8_t>(random.below(2));
    if (parts.rmid == 0 && (parts.info & kInfoRmgrMask) == kXlogSwitch) continue;  // has none
    parts.xid = static_cast<uint32_t>(random.next());
    std::vector<uint8_t> main(random.below(160));
    for (uint8_t& byte : main)
      byte = random.chance(600000) ? static_cast<uint8_t>(random.below(4))
                                   : static_cast<uint8_t>(random.next());
    parts.main_data = main;
    const BlockReference block = heap_block(static_cast<uint8_t>(random.below(3)), 4);
    if (random.chance(500000)) parts.blocks = {&block, 1};
    const Made made = make(version, parts);
    Effect effect;
    if (!parse_effect(version, made.record, effect).ok()) continue;
    ++parsed;
    pages.clear();
    touched_slru_pages(effect, true, pages);
    for (const SlruPage& touched : pages) {
      apply_to_slru_page(effect, touched, std::span<uint8_t, kBlockSize>(page.data(), kBlockSize));
      (void)slru_segment_is_removed(effect, touched);
    }
  }
  EXPECT_GT(parsed, 10000);
}

// ---- Status files ----

// All pages of the status files, in memory.
struct StatusFiles {
  std::map<SlruPage, std::vector<uint8_t>> pages;
  std::span<uint8_t, kBlockSize> page(SlruPage id) {
    std::vector<uint8_t>& bytes = pages[id];
    bytes.resize(kBlockSize);
    return std::span<uint8_t, kBlockSize>(bytes.data(), kBlockSize);
  }
  void apply(const Effect& effect) {
    std::vector<SlruPage> touched;
    touched_slru_pages(effect, true, touched);
    for (const SlruPage& id : touched) apply_to_slru_page(effect, id, page(id));
  }
};

TEST(Slru, EndOfATransactionOverPages) {
  StatusFiles files;
  Writer subs;
  put(subs, {kClogXidsPerPage - 1, kClogXidsPerPage, kClogXidsPerPage + 1});
  TransactionEnd end;
  end.committed = true;
  end.xid = kClogXidsPerPage - 2;
  end.time = 99;
  end.origin = 3;
  end.subtransactions = XidArray(subs.span());
  files.apply(end);
  for (uint32_t xid = kClogXidsPerPage - 3; xid < kClogXidsPerPage + 3; ++xid) {
    const bool in = xid >= kClogXidsPerPage - 2 && xid < kClogXidsPerPage + 2;
    EXPECT_EQ(transaction_status(files.page(slru_page_of(Slru::kClog, xid)), xid),
              in ? TransactionStatus::kCommitted : TransactionStatus::kInProgress);
    const SlruPage timestamps = slru_page_of(Slru::kCommitTimestamp, xid);
    EXPECT_EQ(commit_timestamp(files.page(timestamps), xid),
              in ? (CommitTimestamp{99, 3}) : CommitTimestamp{});
  }
  end.committed = false;
  end.subtransactions = {};
  files.apply(end);
  EXPECT_EQ(transaction_status(files.page({Slru::kClog, 0}), end.xid), TransactionStatus::kAborted);
  EXPECT_EQ(transaction_status(files.page({Slru::kClog, 0}), end.xid + 1),
            TransactionStatus::kCommitted);
}

TEST(Slru, MultiXactWritesTheNextOffsetToo) {
  StatusFiles files;
  Writer members;
  for (uint32_t i = 0; i < 5; ++i) put(members, {1000 + i, i});
  // The last id of an offsets page; members over the edge of a members page.
  MultiXactCreate create;
  create.id = kMultiXactOffsetsPerPage - 1;
  create.offset = kMultiXactMembersPerPage - 2;
  create.members = MultiXactMemberArray(members.span());
  files.apply(create);
  EXPECT_EQ(multixact_offset(files.page({Slru::kMultiXactOffset, 0}), create.id), create.offset);
  EXPECT_EQ(multixact_offset(files.page({Slru::kMultiXactOffset, 1}), create.id + 1),
            create.offset + 5);
  for (uint32_t i = 0; i < 5; ++i) {
    const uint32_t offset = create.offset + i;
    const auto member =
        multixact_member(files.page(slru_page_of(Slru::kMultiXactMember, offset)), offset);
    EXPECT_EQ(member.xid, 1000 + i);
    EXPECT_EQ(member.status, i);
  }
  // The layout by hand: member 1634 is the third of group 408, which begins at byte 8160.
  const auto bytes = files.page({Slru::kMultiXactMember, 0});
  EXPECT_EQ(bytes[8160 + 3], 1);
  EXPECT_EQ(load_le<uint32_t>(bytes.data() + 8160 + 4 + 12), 1001u);
  files.apply(SlruZeroPage{Slru::kMultiXactMember, 0});
  EXPECT_EQ(load_le<uint32_t>(bytes.data() + 8160 + 4 + 12), 0u);
  EXPECT_EQ(multixact_offset(files.page({Slru::kMultiXactOffset, 0}), create.id), create.offset);
}

TEST(Slru, MultiXactIdsAndOffsetsWrap) {
  StatusFiles files;
  Writer members;
  put(members, {10, 1, 11, 2});
  MultiXactCreate create;
  create.id = UINT32_MAX;
  create.offset = UINT32_MAX - 1;
  create.members = MultiXactMemberArray(members.span());
  files.apply(create);
  EXPECT_EQ(multixact_offset(files.page({Slru::kMultiXactOffset, 0}), 1), 1u);
  EXPECT_EQ(multixact_offset(files.page({Slru::kMultiXactOffset, 0}), 0), 0u);
}

// A random effect that changes status pages, with the arrays that it points to.
struct RandomEffect {
  Writer arrays;
  Effect effect;
};

void fill_random(RandomStream& random, RandomEffect& out) {
  const uint64_t count = random.below(random.chance(100000) ? 5000 : 6);
  // Near edges of pages and of the whole range.
  const uint64_t edge = random.chance(300000) ? 0 : random.below(200) * kClogXidsPerPage;
  const auto base = static_cast<uint32_t>(edge - random.below(edge == 0 ? 3000 : 50));
  const auto near = [&] {
    return base + static_cast<uint32_t>(random.below(random.chance(500000) ? 20 : 100000));
  };
  const uint64_t kind = random.below(3);
  if (kind == 0) {
    TransactionEnd& end = out.effect.emplace<TransactionEnd>();
    end.committed = random.chance(800000);
    end.xid = near();
    end.time = static_cast<int64_t>(random.next());
    end.origin = static_cast<uint16_t>(random.next());
    const bool contiguous = random.chance(500000);
    for (uint32_t i = 0; i < count; ++i) out.arrays.le<uint32_t>(contiguous ? base + i : near());
    end.subtransactions = XidArray(out.arrays.span());
  } else if (kind == 1) {
    const auto slru = static_cast<Slru>(random.below(4));
    out.effect = SlruZeroPage{slru, slru_page_of(slru, near()).page};
  } else {
    MultiXactCreate& create = out.effect.emplace<MultiXactCreate>();
    create.id = near();
    create.offset = near();
    for (uint32_t i = 0; i < count; ++i)
      put(out.arrays, {near(), static_cast<uint32_t>(random.below(6))});
    create.members = MultiXactMemberArray(out.arrays.span());
  }
}

TEST(SlruDelta, SplitAndAppliedIsTheSameAsApplied) {
  RandomStream random(3, "split");
  for (int round = 0; round < 3000; ++round) {
    RandomEffect made;
    fill_random(random, made);
    const bool track = random.chance(700000);
    std::vector<SlruPage> touched;
    touched_slru_pages(made.effect, track, touched);
    std::vector<SlruDelta> deltas;
    split_slru_effect(made.effect, track, deltas);
    ASSERT_EQ(deltas.size(), touched.size());
    std::set<SlruPage> seen;
    for (const SlruDelta& delta : deltas) {
      ASSERT_TRUE(std::binary_search(touched.begin(), touched.end(), delta.page));
      ASSERT_TRUE(seen.insert(delta.page).second);
      std::vector<uint8_t> whole(kBlockSize);
      for (uint8_t& byte : whole) byte = static_cast<uint8_t>(round);
      std::vector<uint8_t> split = whole;
      apply_to_slru_page(made.effect, delta.page, SlruBytes(whole.data(), kBlockSize));
      for (int times = 0; times < 2; ++times) {
        const Status status =
            apply_slru_delta(delta.page, delta.bytes, SlruBytes(split.data(), kBlockSize));
        ASSERT_TRUE(status.ok()) << status.to_string();
      }
      ASSERT_EQ(split, whole) << slru_directory(delta.page.slru) << " " << delta.page.page;
      EXPECT_EQ(slru_delta_starts_chain(delta.bytes), slru_page_is_zeroed(made.effect, delta.page));
    }
  }
}

TEST(SlruDelta, AnOrdinaryCommitIsSevenBytes) {
  TransactionEnd end;
  end.committed = true;
  end.xid = 700;
  std::vector<SlruDelta> deltas;
  split_slru_effect(end, false, deltas);
  ASSERT_EQ(deltas.size(), 1u);
  EXPECT_EQ(deltas[0].bytes, (std::vector<uint8_t>{1, 1, 1, 700 & 255, 700 >> 8, 1, 0}));
  // A million subtransactions in a row: one run a page.
  Writer subs;
  for (uint32_t i = 0; i < 1000000; ++i) subs.le<uint32_t>(701 + i);
  end.subtransactions = XidArray(subs.span());
  deltas.clear();
  split_slru_effect(end, true, deltas);
  size_t bytes = 0;
  for (const SlruDelta& delta : deltas) bytes += delta.bytes.size();
  EXPECT_EQ(deltas.size(), 31u + 1222u);
  EXPECT_EQ(bytes, 31u * 7 + 1222u * 16);
}

TEST(SlruDelta, HostileBytes) {
  RandomStream random(4, "hostile delta");
  std::vector<uint8_t> page(kBlockSize);
  int refused = 0;
  for (int round = 0; round < 100000; ++round) {
    std::vector<uint8_t> delta(random.below(40));
    for (uint8_t& byte : delta) byte = static_cast<uint8_t>(random.next());
    if (delta.size() > 1) {
      delta[0] = 1;
      delta[1] = static_cast<uint8_t>(random.below(6));
    }
    const SlruPage id{static_cast<Slru>(random.below(4)), 7};
    const Status status = apply_slru_delta(id, delta, SlruBytes(page.data(), kBlockSize));
    if (!status.ok()) ++refused;
    EXPECT_TRUE(status.ok() || status.is(Code::kCorrupt));
  }
  EXPECT_GT(refused, 50000);
  EXPECT_TRUE(apply_slru_delta({Slru::kClog, 7}, std::vector<uint8_t>{2, 0},
                               SlruBytes(page.data(), kBlockSize))
                  .is(Code::kUnsupported));
}

TEST(Slru, PathsAndTruncation) {
  EXPECT_EQ(slru_segment_path({Slru::kClog, 31}), "pg_xact/0000");
  EXPECT_EQ(slru_segment_path({Slru::kMultiXactMember, 32 * 0x14078}),
            "pg_multixact/members/14078");
  const ClogTruncate clog{64, 64 * kClogXidsPerPage, 5};
  EXPECT_TRUE(slru_segment_is_removed(clog, {Slru::kClog, 5}));
  EXPECT_TRUE(slru_segment_is_removed(clog, {Slru::kClog, 63}));
  EXPECT_FALSE(slru_segment_is_removed(clog, {Slru::kClog, 64}));
  EXPECT_FALSE(slru_segment_is_removed(clog, {Slru::kCommitTimestamp, 5}));
  // A segment that holds the cut stays.
  EXPECT_FALSE(slru_segment_is_removed(ClogTruncate{40, 0, 0}, {Slru::kClog, 32}));
  EXPECT_TRUE(slru_segment_is_removed(ClogTruncate{40, 0, 0}, {Slru::kClog, 31}));
  // Over the wrap-around: page 131,071 is before page 64.
  EXPECT_TRUE(slru_segment_is_removed(clog, {Slru::kClog, 131071}));
  MultiXactTruncate multi;
  multi.end_multi = 64 * kMultiXactOffsetsPerPage;
  multi.first_offset = 0;
  multi.end_offset = 40 * kMultiXactMembersPerPage;
  // The multixact before the oldest lies in the segment before.
  EXPECT_TRUE(slru_segment_is_removed(multi, {Slru::kMultiXactOffset, 31}));
  EXPECT_FALSE(slru_segment_is_removed(multi, {Slru::kMultiXactOffset, 32}));
  EXPECT_TRUE(slru_segment_is_removed(multi, {Slru::kMultiXactMember, 31}));
  EXPECT_FALSE(slru_segment_is_removed(multi, {Slru::kMultiXactMember, 32}));
}

}  // namespace
}  // namespace varve::wal
