// Counters, the forged checkpoint and pg_control.
#include <gtest/gtest.h>

#include <vector>

#include "base/codec.h"
#include "base/crc32c.h"
#include "wal/checkpoint_record.h"
#include "wal/checkpoint_state.h"
#include "wal/control_file.h"
#include "wal/decoder.h"
#include "wal/extent.h"

namespace varve::wal {
namespace {

LogIdentity identity() {
  return {version_of_major(15), 42, kDefaultSegmentSize, 1};
}

Checkpoint sample() {
  Checkpoint c;
  c.redo = Lsn(0x1000028);
  c.full_page_writes = true;
  c.next_xid = uint64_t{3} << 32 | 1000;
  c.next_oid = 24576;
  c.next_multi = 7;
  c.next_multi_offset = 20;
  c.oldest_xid = 700;
  c.oldest_xid_database = 1;
  c.oldest_multi = 1;
  c.oldest_multi_database = 1;
  c.time = 1700000000;
  c.oldest_commit_timestamp_xid = 800;
  c.newest_commit_timestamp_xid = 999;
  c.oldest_active_xid = 0;
  return c;
}

ServerParameters settings() {
  ServerParameters parameters;
  parameters.max_connections = 100;
  parameters.max_prepared_transactions = 4;
  parameters.wal_level = 1;
  parameters.track_commit_timestamp = true;
  return parameters;
}

TEST(Checkpoint, RoundTrip) {
  for (const uint16_t major : {14, 15, 16, 17, 18}) {
    const Version& version = *version_of_major(major);
    Checkpoint c = sample();
    if (version.checkpoint_has_wal_level) c.wal_level = 2;
    const auto bytes = c.encode(version);
    const auto parsed = Checkpoint::parse(version, bytes);
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, c);
  }
  EXPECT_FALSE(Checkpoint::parse(*version_of_major(15), std::vector<uint8_t>(87)).ok());
}

Record with_xid(uint32_t xid) {
  Record record;
  record.xid = xid;
  return record;
}

uint64_t next_xid(const CheckpointState& state) {
  return state.checkpoint(*version_of_major(15), Lsn(), 0).next_xid;
}

TEST(CheckpointState, XidsWrapIntoTheNextEpoch) {
  Checkpoint c = sample();
  c.next_xid = uint64_t{3} << 32 | 0xFFFFFFFE;
  CheckpointState state(c, settings());
  state.apply(with_xid(0xFFFFFFFD), NoEffect{});
  EXPECT_EQ(next_xid(state), uint64_t{3} << 32 | 0xFFFFFFFE);
  state.apply(with_xid(0xFFFFFFFE), NoEffect{});
  EXPECT_EQ(next_xid(state), uint64_t{3} << 32 | 0xFFFFFFFF);
  state.apply(with_xid(0xFFFFFFFF), NoEffect{});
  EXPECT_EQ(next_xid(state), uint64_t{4} << 32 | 3);
  // An older transaction of the last epoch goes on.
  state.apply(with_xid(0xFFFFFFF0), NoEffect{});
  EXPECT_EQ(next_xid(state), uint64_t{4} << 32 | 3);
  EXPECT_EQ(state.widen(0xFFFFFFF0), uint64_t{3} << 32 | 0xFFFFFFF0);
  EXPECT_EQ(state.widen(3), uint64_t{4} << 32 | 3);
  state.apply(with_xid(40), NoEffect{});
  EXPECT_EQ(next_xid(state), uint64_t{4} << 32 | 41);
  state.apply(with_xid(0), NoEffect{});
  EXPECT_EQ(next_xid(state), uint64_t{4} << 32 | 41);
}

TEST(CheckpointState, EveryPlaceWhereAnXidStandsCounts) {
  const CheckpointState base(sample(), settings());
  const auto after = [&](const Record& record, const Effect& effect) {
    CheckpointState state = base;
    state.apply(record, effect);
    return static_cast<uint32_t>(next_xid(state));
  };
  Writer list;
  list.le<uint32_t>(5000);
  list.le<uint32_t>(0);
  Record top = with_xid(0);
  top.toplevel_xid = 4000;
  EXPECT_EQ(after(top, NoEffect{}), 4001u);
  TransactionEnd end;
  end.subtransactions = XidArray(list.span().first(4));
  EXPECT_EQ(after(with_xid(0), end), 5001u);
  TransactionPrepare prepare;
  prepare.xid = 4500;
  EXPECT_EQ(after(with_xid(0), prepare), 4501u);
  prepare.subtransactions = XidArray(list.span().first(4));
  EXPECT_EQ(after(with_xid(0), prepare), 5001u);
  SubtransactionAssignment assignment;
  assignment.top = 10;
  assignment.subtransactions = XidArray(list.span().first(4));
  EXPECT_EQ(after(with_xid(0), assignment), 5001u);
  MultiXactCreate create;
  create.id = 9;
  create.offset = 30;
  create.members = MultiXactMemberArray(list.span());
  EXPECT_EQ(after(with_xid(0), create), 5001u);
  RunningTransactions running;
  running.next_xid = 6000;
  EXPECT_EQ(after(with_xid(0), running), 6000u);
}

TEST(CheckpointState, CountersFollowTheirRecords) {
  CheckpointState state(sample(), settings());
  const auto now = [&] { return state.checkpoint(*version_of_major(15), Lsn(8), 5); };
  EXPECT_EQ(now().redo, Lsn(8));
  EXPECT_EQ(now().time, 5);
  state.apply(with_xid(0), NextOid{40000});
  EXPECT_EQ(now().next_oid, 40000u);
  Writer members;
  members.zeros(16);
  MultiXactCreate create;
  create.id = 9;
  create.offset = 30;
  create.members = MultiXactMemberArray(members.span());
  state.apply(with_xid(0), create);
  EXPECT_EQ(now().next_multi, 10u);
  EXPECT_EQ(now().next_multi_offset, 32u);
  state.apply(with_xid(0), ClogTruncate{0, 900, 5});
  EXPECT_EQ(now().oldest_xid, 900u);
  EXPECT_EQ(now().oldest_xid_database, 5u);
  MultiXactTruncate truncate;
  truncate.end_multi = 4;
  truncate.oldest_multi_database = 6;
  state.apply(with_xid(0), truncate);
  EXPECT_EQ(now().oldest_multi, 4u);
  EXPECT_EQ(now().oldest_multi_database, 6u);
  state.apply(with_xid(0), CommitTimestampTruncate{0, 850});
  EXPECT_EQ(now().oldest_commit_timestamp_xid, 850u);
  TransactionEnd end;
  end.committed = true;
  end.xid = 1500;
  state.apply(with_xid(0), end);
  EXPECT_EQ(now().newest_commit_timestamp_xid, 1500u);
  ServerParameters off = settings();
  off.track_commit_timestamp = false;
  state.apply(with_xid(0), off);
  EXPECT_EQ(now().oldest_commit_timestamp_xid, 0u);
  EXPECT_EQ(now().newest_commit_timestamp_xid, 0u);
  state.apply(with_xid(0), settings());
  EXPECT_EQ(now().oldest_commit_timestamp_xid, 1501u);
  EXPECT_EQ(state.parameters(), settings());
  // Online: minima, and no Oids. Shutdown: the truth.
  Checkpoint older = sample();
  older.next_oid = 1;
  state.apply(with_xid(0), CheckpointTaken{false, older});
  EXPECT_EQ(static_cast<uint32_t>(now().next_xid), 1501u);
  EXPECT_EQ(now().next_oid, 40000u);
  older.next_oid = 39000;
  state.apply(with_xid(0), CheckpointTaken{true, older});
  EXPECT_EQ(static_cast<uint32_t>(now().next_xid), 1000u);
  EXPECT_EQ(now().next_oid, 39000u);
}

TEST(CheckpointState, EncodingRoundTrip) {
  const Version& version = *version_of_major(15);
  CheckpointState state(sample(), settings());
  state.apply(with_xid(77777), NoEffect{});
  const auto decoded = CheckpointState::decode(version, state.encode(version));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(*decoded, state);
  EXPECT_FALSE(CheckpointState::decode(version, std::vector<uint8_t>(7)).ok());
}

// The places of extent.h's table; what a reader makes of the forged bytes.
TEST(ForgedCheckpoint, IsReadAtEveryAlignment) {
  for (const uint64_t boundary :
       {0x9C5AA78, 0x9C5BFE8, 0x9C5BFF8, 0x9C5BF90, 0x9C5C000, 0x9FFFFC0, 0x9FFFFF8, 0xA000000}) {
    const ForgedCheckpoint forged =
        forge_checkpoint(identity(), Lsn(boundary), Lsn(0x9C00028), sample());
    EXPECT_EQ((LsnRange{forged.start, forged.end}),
              record_extent(Lsn(boundary), 114, false, kDefaultSegmentSize));
    EXPECT_EQ(forged.end, Lsn(boundary) + forged.bytes.size());
    EXPECT_EQ(forged.checkpoint.redo, forged.start);
    Decoder decoder({identity(), Depth::kFull, TimelineRule::kExact});
    decoder.reset(Lsn(boundary), Lsn(0x9C00028));
    decoder.feed(Lsn(boundary), forged.bytes);
    Record record;
    ASSERT_EQ(decoder.next(record), Step::kRecord) << decoder.status().to_string();
    EXPECT_EQ(record.total_length, 114u);
    Effect effect;
    ASSERT_TRUE(parse_effect(*identity().version, record, effect).ok());
    EXPECT_TRUE(std::get<CheckpointTaken>(effect).shutdown);
    EXPECT_EQ(std::get<CheckpointTaken>(effect).checkpoint, forged.checkpoint);
  }
}

TEST(ForgedCheckpoint, SegmentPiecesLeadAReaderToIt) {
  for (const uint64_t boundary : {0x9C5AA78, 0x9C5C000, 0x9FFFFF8, 0xA000000, 0xA000030}) {
    const ForgedCheckpoint forged =
        forge_checkpoint(identity(), Lsn(boundary), Lsn(0x9C00028), sample());
    const Lsn segment(boundary - boundary % kDefaultSegmentSize);
    std::vector<uint8_t> file(2 * kDefaultSegmentSize);
    for (const LogPiece& piece : forged_segment_pieces(identity(), forged))
      std::copy(piece.bytes.begin(), piece.bytes.end(),
                file.begin() + static_cast<long>(piece.at - segment));
    ASSERT_TRUE(identity_of_segment(file).ok()) << boundary;
    const Lsn page = Lsn(boundary).page_start();
    Decoder decoder({identity(), Depth::kFull, TimelineRule::kExact});
    decoder.reset_to_page(page);
    decoder.feed(page, std::span(file).subspan(page - segment));
    Record record;
    ASSERT_EQ(decoder.next(record), Step::kRecord) << decoder.status().to_string();
    EXPECT_EQ(record.start, forged.start);
    EXPECT_EQ(decoder.next(record), Step::kEndOfWal);
    EXPECT_EQ(decoder.boundary(), forged.end);
  }
}

std::vector<uint8_t> control_bytes(const Version& version) {
  std::vector<uint8_t> file(kControlFileSize);
  uint8_t* p = file.data();
  store_le<uint64_t>(p, 42);
  store_le<uint32_t>(p + 8, version.control_version);
  store_le<uint32_t>(p + 16, 6);
  const auto checkpoint = sample().encode(version);
  std::copy(checkpoint.begin(), checkpoint.end(), p + 40);
  store_le<uint64_t>(p + 136, 77);
  store_le<uint32_t>(p + 216, 8192);
  store_le<uint32_t>(p + 220, 131072);
  store_le<uint32_t>(p + 224, 8192);
  store_le<uint32_t>(p + 228, kDefaultSegmentSize);
  for (size_t i = 256; i < version.control_crc; ++i) p[i] = static_cast<uint8_t>(i);
  store_le<uint32_t>(p + version.control_crc, crc32c(std::span(file).first(version.control_crc)));
  return file;
}

TEST(ControlFile, ForgeKeepsTheRest) {
  for (const uint16_t major : {14, 15, 16, 17, 18}) {
    const Version& version = *version_of_major(major);
    const std::vector<uint8_t> original = control_bytes(version);
    ForgedStart start;
    start.checkpoint_record = Lsn(0x9C5C018);
    start.checkpoint = sample();
    start.checkpoint.redo = start.checkpoint_record;
    start.parameters = settings();
    start.time = 1800000000;
    const auto forged = forge_control_file(version, original, start);
    ASSERT_TRUE(forged.ok()) << forged.status().to_string();
    const auto parsed = parse_control_file(version, *forged);
    ASSERT_TRUE(parsed.ok()) << parsed.status().to_string();
    EXPECT_EQ(parsed->state, ClusterState::kShutDown);
    EXPECT_EQ(parsed->checkpoint_record, start.checkpoint_record);
    EXPECT_EQ(parsed->checkpoint, start.checkpoint);
    EXPECT_EQ(parsed->parameters, settings());
    EXPECT_EQ(parsed->minimum_recovery_point, Lsn());
    EXPECT_EQ(parsed->unlogged_lsn, Lsn(1000));
    EXPECT_EQ(parsed->system_id, 42u);
    // Build constants and the nonce are as they were.
    for (size_t i = 204; i < version.control_crc; ++i) ASSERT_EQ((*forged)[i], original[i]);
  }
}

TEST(ControlFile, RefusesWhatIsNotOne) {
  const Version& version = *version_of_major(15);
  const std::vector<uint8_t> good = control_bytes(version);
  EXPECT_TRUE(parse_control_file(version, good).ok());
  for (size_t i = 0; i < version.control_crc + 4; ++i) {
    std::vector<uint8_t> bad = good;
    bad[i] ^= 1;
    EXPECT_FALSE(parse_control_file(version, bad).ok()) << i;
  }
  EXPECT_FALSE(parse_control_file(version, std::span(good).first(512)).ok());
  EXPECT_TRUE(parse_control_file(*version_of_major(17), good).is(Code::kUnsupported));
}

}  // namespace
}  // namespace varve::wal
