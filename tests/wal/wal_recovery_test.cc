// Counters at random record ends against a stock server that recovers to the same place.
//
// The log crosses the wrap-around of transaction ids, from epoch 1 into epoch 2. A copy of the
// cluster as it was at its beginning is recovered by stock Postgres up to a drawn record and ends
// recovery there; the checkpoint that this writes must be the one that CheckpointState would forge.
// WAL_RECOVERY_POINTS says at how many places (default 6; 200 take some minutes), WAL_RECOVERY_SEED
// which.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "tests/wal/status_files.h"
#include "tests/wal/stock_server.h"
#include "wal/checkpoint_state.h"
#include "wal/control_file.h"
#include "wal/decoder.h"
#include "wal/effects.h"
#include "wal/record_names.h"
#include "wal/slru.h"

namespace varve::wal {
namespace {

using test::read_file;
using test::run_as_postgres;
using test::StockServer;

const Version& version() {
  return *version_of_major(15);
}

ControlFile control_of(const std::string& data) {
  const auto control = parse_control_file(version(), read_file(data + "/global/pg_control"));
  EXPECT_TRUE(control.ok()) << control.status().to_string();
  return *control;
}

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

void must_run(const std::string& command) {
  const test::CommandResult result = run_as_postgres(command);
  ASSERT_EQ(result.exit_code, 0) << command << "\n" << result.output;
}

// Moves the cluster's next transaction id to `xid` of epoch 1. Ids may be at most 2^31 ahead of the
// oldest, so that everything is frozen after each move.
void move_next_xid(StockServer& server, uint32_t xid) {
  const std::string segment =
      server.data() + "/" + slru_segment_path(slru_page_of(Slru::kClog, xid));
  must_run("test -e " + segment + " || head -c 262144 /dev/zero > " + segment);
  const test::CommandResult moved =
      server.tool("pg_resetwal -e 1 -x " + std::to_string(xid) + " " + server.data());
  ASSERT_EQ(moved.exit_code, 0) << moved.output;
  server.start();
  server.sql("postgres", "UPDATE pg_database SET datallowconn = true");
  ASSERT_EQ(server.tool("vacuumdb -q --all --freeze").exit_code, 0);
  server.stop("fast");
}

// The state after each record, kept only for the drawn ones.
struct Point {
  Lsn record;
  std::string name;
  CheckpointState state;
};

// Half of them from all records, half with each type as likely as another: the rare ones move the
// rare counters.
std::vector<uint64_t> draw_records(RandomStream& random,
                                   const std::map<std::string, std::vector<uint64_t>>& by_type,
                                   uint64_t records, size_t count) {
  std::set<uint64_t> drawn;
  while (drawn.size() < count) {
    if (drawn.size() % 2 == 0) {
      drawn.insert(1 + random.below(records - 1));
    } else {
      auto type = by_type.begin();
      std::advance(type, random.below(by_type.size()));
      drawn.insert(type->second[random.below(type->second.size())]);
    }
  }
  return {drawn.begin(), drawn.end()};
}

// The log since a checkpoint.
struct Log {
  ControlFile base;
  std::vector<uint8_t> bytes;  // from the start of the checkpoint's segment on

  Decoder decoder() const {
    Decoder decoder({base.identity(version()), Depth::kFull, TimelineRule::kExact});
    const Lsn begin = base.checkpoint_record;
    decoder.reset(begin, std::nullopt);
    decoder.feed(
        begin, std::span<const uint8_t>(bytes).subspan(begin.segment_offset(kDefaultSegmentSize)));
    return decoder;
  }
};

Log load_log(const StockServer& server, const ControlFile& base) {
  Log log{base, {}};
  const Lsn last = control_of(server.data()).checkpoint_record;
  for (uint64_t n = base.checkpoint_record.segment(kDefaultSegmentSize);
       n <= last.segment(kDefaultSegmentSize); ++n) {
    const auto bytes =
        read_file(server.wal() + "/" + segment_file_name({1, n}, kDefaultSegmentSize));
    log.bytes.insert(log.bytes.end(), bytes.begin(), bytes.end());
  }
  return log;
}

std::vector<Point> draw_points(const Log& log, size_t count, uint64_t seed) {
  std::vector<Point> points;
  RandomStream random(seed, "points");
  // Twice: what records there are, then the state behind those drawn.
  std::map<std::string, std::vector<uint64_t>> by_type;
  std::vector<uint64_t> drawn;
  for (const bool collect : {false, true}) {
    Decoder decoder = log.decoder();
    CheckpointState state(log.base.checkpoint, log.base.parameters);
    Record record;
    Effect effect;
    uint64_t at = 0;
    for (; decoder.next(record) == Step::kRecord; ++at) {
      EXPECT_TRUE(parse_effect(version(), record, effect).ok());
      if (at > 0) state.apply(record, effect);
      const std::string name = record_name(version(), record.rmid, record.info);
      if (!collect && at > 0) by_type[name].push_back(at);
      if (collect && std::binary_search(drawn.begin(), drawn.end(), at))
        points.push_back({record.start, name, state});
    }
    if (!collect) drawn = draw_records(random, by_type, at, count);
  }
  return points;
}

// What stock Postgres writes into pg_control when it recovers a copy of `base` through the record
// at `point`.
Checkpoint recover(const StockServer& server, const std::string& base, const Point& point) {
  const std::string copy = server.directory() + "/copy";
  must_run("rm -rf " + copy + " && cp -a " + base + " " + copy);
  const std::string track = point.state.parameters().track_commit_timestamp ? "on" : "off";
  // Without a postmaster recovery ends with a checkpoint at once. A target is where a record
  // begins; it is included.
  const test::CommandResult result =
      run_as_postgres("touch " + copy +
                      "/recovery.signal; echo | /usr/lib/postgresql/15/bin/postgres --single -D " +
                      copy + " -c restore_command='cp " + server.wal() +
                      "/%f %p' -c recovery_target_lsn=" + point.record.to_string() +
                      " -c recovery_target_action=promote -c hot_standby=off" +
                      " -c track_commit_timestamp=" + track + " postgres");
  EXPECT_NE(result.output.find("recovery stopping after WAL location"), std::string::npos)
      << result.output;
  return control_of(copy).checkpoint;
}

// One cluster for both tests. Its log crosses edges: of transaction ids from 2^32 - 1 to 3, of
// segments of all four kinds of status files; and at the end all that is old is frozen, so that
// files are truncated across those edges.
class Recovery : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = std::make_unique<StockServer>(
        "wal_keep_size = 20GB\nmax_wal_size = 8GB\nwal_level = logical\nautovacuum = off\n"
        "max_prepared_transactions = 10\ntrack_commit_timestamp = on\n");
    for (const uint32_t xid : {1'400'000'000u, 2'800'000'000u, 4'294'967'295u - 25'000u})
      ASSERT_NO_FATAL_FAILURE(move_next_xid(*server_, xid));
    ASSERT_NO_FATAL_FAILURE(move_next_multi());
    must_run("mkdir -m 700 " + base() + " && cp -a " + server_->data() + "/. " + base() +
             " && rm -rf " + base() + "/pg_wal/0*");
    server_->start();
    server_->sql_file("postgres", WAL_CORPUS_SQL);
    server_->sql("postgres", "ROLLBACK PREPARED 'stays'");
    // The first pass freezes, the second finds that nothing older is left.
    for (int pass = 0; pass < 2; ++pass)
      ASSERT_EQ(server_->tool("vacuumdb -q --all --freeze").exit_code, 0);
    server_->sql("postgres", "SELECT pg_current_xact_id(); CHECKPOINT");
    server_->stop("fast");
    log_ = std::make_unique<Log>(load_log(*server_, control_of(base())));
  }
  static void TearDownTestSuite() {
    log_.reset();
    server_.reset();
  }

  // Multixacts and their members just before the end of their first segments.
  static void move_next_multi() {
    const std::string files = server_->data() + "/pg_multixact/";
    for (const char* name : {"offsets/0000", "members/0000"})
      must_run("head -c 262144 /dev/zero > " + files + name);
    const test::CommandResult moved =
        server_->tool("pg_resetwal -m 64500,64000 -O 51000 " + server_->data());
    ASSERT_EQ(moved.exit_code, 0) << moved.output;
    server_->start();
    server_->stop("fast");
  }

  static std::string base() { return server_->directory() + "/base"; }

  static std::unique_ptr<StockServer> server_;
  static std::unique_ptr<Log> log_;
};

std::unique_ptr<StockServer> Recovery::server_;
std::unique_ptr<Log> Recovery::log_;

TEST_F(Recovery, StatusFilesEqualAfterTruncation) {
  test::StatusFiles files(version(), log_->base.parameters.track_commit_timestamp);
  files.load(base());
  Decoder decoder = log_->decoder();
  Record record;
  Effect effect;
  std::set<std::string> missing = {"CLOG/TRUNCATE", "CommitTs/TRUNCATE", "MultiXact/TRUNCATE_ID"};
  while (decoder.next(record) == Step::kRecord) {
    ASSERT_TRUE(parse_effect(version(), record, effect).ok());
    files.apply(effect);
    missing.erase(record_name(version(), record.rmid, record.info));
  }
  for (const std::string& name : missing) ADD_FAILURE() << name << " is not in the log";
  const size_t compared = files.compare(server_->data());
  std::printf("%zu status pages equal, %zu removed\n", compared, files.removed());
}

TEST_F(Recovery, CountersEqualThoseOfAStockRecovery) {
  const Checkpoint end = control_of(server_->data()).checkpoint;
  EXPECT_EQ(log_->base.checkpoint.next_xid >> 32, 1u);
  EXPECT_EQ(end.next_xid >> 32, 2u);
  const uint64_t count = from_environment("WAL_RECOVERY_POINTS", 6);
  const uint64_t seed = from_environment("WAL_RECOVERY_SEED", 1);
  size_t ahead = 0;
  for (const Point& point : draw_points(*log_, count, seed)) {
    SCOPED_TRACE(point.record.to_string() + " " + point.name);
    const Checkpoint theirs = recover(*server_, base(), point);
    const Checkpoint ours = point.state.checkpoint(version(), theirs.redo, theirs.time);
    // Ids in lists of subtransactions and in snapshots count for us, not for a recovery without
    // readers. The primary had given them out.
    EXPECT_GE(ours.next_xid, theirs.next_xid);
    EXPECT_LE(ours.next_xid, theirs.next_xid + 70);
    // Truncation of pg_xact moves the oldest id for the primary and for us, not for a recovery.
    EXPECT_FALSE(xid_precedes(ours.oldest_xid, theirs.oldest_xid));
    if (ours.next_xid != theirs.next_xid || ours.oldest_xid != theirs.oldest_xid) ++ahead;
    EXPECT_EQ(ours.next_oid, theirs.next_oid);
    EXPECT_EQ(ours.next_multi, theirs.next_multi);
    EXPECT_EQ(ours.next_multi_offset, theirs.next_multi_offset);
    EXPECT_EQ(ours.oldest_multi, theirs.oldest_multi);
    EXPECT_EQ(ours.oldest_multi_database, theirs.oldest_multi_database);
    EXPECT_EQ(ours.oldest_commit_timestamp_xid, theirs.oldest_commit_timestamp_xid);
    EXPECT_EQ(ours.newest_commit_timestamp_xid, theirs.newest_commit_timestamp_xid);
    if (HasFailure()) break;
  }
  std::printf("%lu places, seed %lu; ahead of recovery at %zu; next xid %lx to %lx\n", count, seed,
              ahead, log_->base.checkpoint.next_xid, end.next_xid);
}

}  // namespace
}  // namespace varve::wal
