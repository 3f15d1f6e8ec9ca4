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
#include "stock_server.h"
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

std::vector<Point> draw_points(const StockServer& server, const ControlFile& base, size_t count,
                               uint64_t seed) {
  std::vector<Point> points;
  RandomStream random(seed, "points");
  const uint64_t first = base.checkpoint_record.segment(kDefaultSegmentSize);
  const Lsn last = control_of(server.data()).checkpoint_record;
  std::vector<uint8_t> log;
  for (uint64_t n = first; n <= last.segment(kDefaultSegmentSize); ++n) {
    const auto bytes =
        read_file(server.wal() + "/" + segment_file_name({1, n}, kDefaultSegmentSize));
    log.insert(log.end(), bytes.begin(), bytes.end());
  }
  // Twice: what records there are, then the state behind those drawn.
  std::map<std::string, std::vector<uint64_t>> by_type;
  std::vector<uint64_t> drawn;
  uint64_t records = 0;
  for (const bool collect : {false, true}) {
    Decoder decoder({base.identity(version()), Depth::kFull, TimelineRule::kExact});
    const Lsn segment(first * kDefaultSegmentSize);
    decoder.reset(base.checkpoint_record, std::nullopt);
    decoder.feed(base.checkpoint_record,
                 std::span<const uint8_t>(log).subspan(base.checkpoint_record - segment));
    CheckpointState state(base.checkpoint, base.parameters);
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
    records = at;
    if (collect) break;
    drawn = draw_records(random, by_type, records, count);
  }
  std::printf("%lu records, next xid %lx to %lx\n", records, base.checkpoint.next_xid,
              control_of(server.data()).checkpoint.next_xid);
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

TEST(Recovery, CountersEqualThoseOfAStockRecovery) {
  StockServer server(
      "wal_keep_size = 20GB\nmax_wal_size = 8GB\nwal_level = logical\nautovacuum = off\n"
      "max_prepared_transactions = 10\ntrack_commit_timestamp = on\n");
  for (const uint32_t xid : {1'400'000'000u, 2'800'000'000u, 4'294'967'295u - 25'000u})
    ASSERT_NO_FATAL_FAILURE(move_next_xid(server, xid));
  const std::string base = server.directory() + "/base";
  must_run("mkdir -m 700 " + base + " && cp -a " + server.data() + "/. " + base + " && rm -rf " +
           base + "/pg_wal/0*");
  const ControlFile start = control_of(base);
  EXPECT_EQ(start.checkpoint.next_xid >> 32, 1u);
  server.start();
  server.sql_file("postgres", WAL_CORPUS_SQL);
  server.stop("fast");
  EXPECT_EQ(control_of(server.data()).checkpoint.next_xid >> 32, 2u);

  const uint64_t count = from_environment("WAL_RECOVERY_POINTS", 6);
  const uint64_t seed = from_environment("WAL_RECOVERY_SEED", 1);
  size_t ahead = 0;
  for (const Point& point : draw_points(server, start, count, seed)) {
    SCOPED_TRACE(point.record.to_string() + " " + point.name);
    const Checkpoint theirs = recover(server, base, point);
    const Checkpoint ours = point.state.checkpoint(version(), theirs.redo, theirs.time);
    // Ids in lists of subtransactions and in snapshots count for us, not for a recovery without
    // readers. The primary had given them out.
    EXPECT_GE(ours.next_xid, theirs.next_xid);
    EXPECT_LE(ours.next_xid, theirs.next_xid + 70);
    if (ours.next_xid != theirs.next_xid) ++ahead;
    EXPECT_EQ(ours.next_oid, theirs.next_oid);
    EXPECT_EQ(ours.next_multi, theirs.next_multi);
    EXPECT_EQ(ours.next_multi_offset, theirs.next_multi_offset);
    EXPECT_EQ(ours.oldest_xid, theirs.oldest_xid);
    EXPECT_EQ(ours.oldest_xid_database, theirs.oldest_xid_database);
    EXPECT_EQ(ours.oldest_multi, theirs.oldest_multi);
    EXPECT_EQ(ours.oldest_multi_database, theirs.oldest_multi_database);
    EXPECT_EQ(ours.oldest_commit_timestamp_xid, theirs.oldest_commit_timestamp_xid);
    EXPECT_EQ(ours.newest_commit_timestamp_xid, theirs.newest_commit_timestamp_xid);
    if (HasFailure()) break;
  }
  std::printf("%lu places, seed %lu; next xid ahead of recovery's at %zu\n", count, seed, ahead);
}

}  // namespace
}  // namespace varve::wal
