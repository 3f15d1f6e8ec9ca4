// A stock server's cluster is imported, its log is ingested, and every page of its data directory
// must come out equal after masking what is not logged. And: the last of many tables must cost what
// the first did.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "real_io/real_world.h"
#include "storage/backup/base_backup.h"
#include "storage/tenant.h"
#include "tests/storage/data_directory.h"
#include "tests/storage/memory_objects.h"
#include "tests/wal/stock_server.h"

namespace varve::storage {
namespace {

using test::end_of;
using test::read_cluster;
using test::read_control;
using test::Tally;

constexpr char kSettings[] =
    "full_page_writes=off\nwal_level=replica\nmax_wal_size=16GB\nwal_keep_size=16GB\n"
    "checkpoint_timeout=1h\nfsync=off\nmax_prepared_transactions=10\n";

TenantShardId tenant_id() {
  return {*TenantId::parse("00112233445566778899aabbccddeeff"), 0, 1};
}
TimelineId timeline_id() {
  return *TimelineId::parse("0f0e0d0c0b0a09080706050403020100");
}

Status feed(Timeline& timeline, const std::string& wal, Lsn end) {
  while (timeline.wanted() < end) {
    const Lsn at = timeline.wanted();
    const std::string name =
        wal::segment_file_name({1, at.segment(test::kWalSegmentSize)}, test::kWalSegmentSize);
    const std::vector<uint8_t> segment = test::read_file(wal + "/" + name);
    const Lsn segment_start(at.segment(test::kWalSegmentSize) * test::kWalSegmentSize);
    const uint64_t upto =
        std::min<uint64_t>(test::kWalSegmentSize, end.value - segment_start.value);
    const uint64_t from = at - segment_start;
    VARVE_TRY(timeline.receive(at, std::span(segment).subspan(from, upto - from)));
  }
  return Status();
}

class TimelinePages : public test::PageSource {
 public:
  TimelinePages(Timeline& timeline, Lsn lsn) : timeline_(timeline), lsn_(lsn) {}
  std::vector<Result<PageAnswer>> blocks(const wal::BlockId& first, uint32_t count) override {
    std::vector<wal::BlockId> ids(count, first);
    for (uint32_t i = 0; i < count; ++i) ids[i].block += i;
    return timeline_.get_pages(ids, lsn_);
  }
  Result<Bytes> status_page(wal::SlruPage page) override {
    return timeline_.get_slru_page(page, lsn_);
  }

 private:
  Timeline& timeline_;
  Lsn lsn_;
};

Tally compare_directory(Timeline& timeline, const ClusterFiles& files, Lsn end) {
  TimelinePages pages(timeline, end);
  return test::compare_directory(pages, files);
}

// Runs `body` as a fiber of a real world whose directory goes afterwards.
void run_real(const std::function<Status(World&)>& body) {
  char root[] = "/var/tmp/varve-storage-XXXXXX";
  ASSERT_NE(mkdtemp(root), nullptr);
  real_io::RealOptions options;
  options.root = root;
  auto world = real_io::RealWorld::create(options);
  ASSERT_TRUE(world.ok()) << world.status().to_string();
  const Status status = (*world)->run([&](real_io::RealWorld& real) { return body(real.world()); });
  EXPECT_TRUE(status.ok()) << status.to_string();
  std::filesystem::remove_all(root);
}

void check_backup(Timeline& timeline, const wal::ControlFile& control, uint64_t forks) {
  const Result<BaseBackup> backup = make_base_backup(timeline, end_of(control));
  ASSERT_TRUE(backup.ok()) << backup.status().to_string();
  EXPECT_EQ(backup->position.previous, control.checkpoint_record);
  EXPECT_GE(backup->forks.size(), forks);
  const wal::Checkpoint ours =
      backup->counters.checkpoint(timeline.version(), control.checkpoint.redo, 0);
  EXPECT_EQ(ours.next_xid, control.checkpoint.next_xid);
  EXPECT_EQ(ours.next_oid, control.checkpoint.next_oid);
  EXPECT_EQ(ours.next_multi, control.checkpoint.next_multi);
  EXPECT_EQ(ours.oldest_xid, control.checkpoint.oldest_xid);
}

TEST(StorageStock, ServesTheDataDirectoryOfPgbench) {
  test::StockServer server(kSettings);
  const ClusterFiles initial = read_cluster(server.data());
  server.start();
  ASSERT_EQ(server.tool("createdb bench").exit_code, 0);
  ASSERT_EQ(server.tool("pgbench -i -q -s 5 bench").exit_code, 0);
  ASSERT_EQ(server.tool("pgbench -c 4 -T 6 bench").exit_code, 0);
  server.sql("bench",
             "create table t(a int primary key, b text); insert into t select i, 'x' from "
             "generate_series(1, 20000) i; delete from t where a % 3 = 0; vacuum t; update "
             "t set b = 'y' where a % 7 = 0; truncate pgbench_history; create table gone(a "
             "int); drop table gone; create sequence s; select setval('s', 100)");
  server.sql("postgres", "create database copied template bench strategy file_copy");
  server.sql("copied", "update t set b = 'copied' where a < 500; delete from t where a > 19000");
  server.sql("bench",
             "update t set b = 'after the copy'; begin; insert into t values (-1, 'p'); "
             "prepare transaction 'p1'");
  ASSERT_EQ(server.tool("pgbench -N -c 4 -T 3 copied").exit_code, 0);
  server.stop("fast");
  const wal::ControlFile control = read_control(server.data());
  const ClusterFiles final = read_cluster(server.data());
  const Lsn end = end_of(control);

  run_real([&](World& world) -> Status {
    test::MemoryObjects objects;
    BlockCache cache(64 << 20);
    Scope scope("test");
    StorageOptions options;
    options.timeline.open_layer_bytes = 8 << 20;
    options.compaction.target_layer_bytes = 8 << 20;
    const StorageWorld storage{world.disk, objects, world.offload};
    Tally tally;
    {
      Tenant tenant(storage, tenant_id(), Generation(1), options, cache, scope);
      VARVE_TRY_ASSIGN(const Tenant::Created created, tenant.import(timeline_id(), initial));
      Timeline& timeline = *created.timeline;
      const auto before = std::chrono::steady_clock::now();
      VARVE_TRY(feed(timeline, server.wal(), end));
      VARVE_TRY(timeline.flush());
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
      const double bytes = static_cast<double>(end - timeline.first().boundary);
      EXPECT_EQ(timeline.last_record(), end);
      EXPECT_EQ(timeline.quarantined(), 0u);
      tally = compare_directory(timeline, final, end);
      std::printf(
          "ingested %.1f MB at %.1f MB/s; %llu pages of %llu files equal, %llu only extended; "
          "%llu maps lost by images; %.2f layers a chain\n",
          bytes / 1e6, bytes / 1e6 / took.count(),
          static_cast<unsigned long long>(tally.pages - tally.unequal),
          static_cast<unsigned long long>(tally.forks),
          static_cast<unsigned long long>(tally.beyond),
          static_cast<unsigned long long>(tally.lost_maps),
          static_cast<double>(timeline.layers_visited()) /
              static_cast<double>(timeline.chains_read()));
      check_backup(timeline, control, tally.forks);
      tenant.stop();
    }
    EXPECT_EQ(tally.unequal, 0u);
    EXPECT_GT(tally.pages, 20000u);
    // The local disk is lost; what is in the store serves the same.
    VARVE_TRY(remove_tree(world.disk, "tenants"));
    Tenant tenant(storage, tenant_id(), Generation(2), options, cache, scope);
    VARVE_TRY(tenant.attach());
    Timeline* timeline = tenant.find(timeline_id());
    EXPECT_NE(timeline, nullptr);
    if (timeline != nullptr) {
      EXPECT_EQ(timeline->last_record(), end);
      EXPECT_EQ(compare_directory(*timeline, final, end).unequal, 0u);
    }
    tenant.stop();
    return Status();
  });
}

TEST(StorageStock, TheLastTablesCostWhatTheFirstDid) {
  constexpr int kTables = 20000;
  constexpr int kPart = 5000;
  test::StockServer server(kSettings);
  const ClusterFiles initial = read_cluster(server.data());
  server.start();
  std::vector<Lsn> marks;
  const auto mark = [&] {
    std::string text = server.sql("postgres", "select pg_current_wal_insert_lsn()");
    while (!text.empty() && text.back() == '\n') text.pop_back();
    marks.push_back(*Lsn::parse(text));
  };
  for (int table = 0; table < kTables; table += kPart) {
    mark();
    for (int from = table; from < table + kPart; from += 1000) {
      server.sql("postgres",
                 "do $$ begin for i in " + std::to_string(from) + ".." +
                     std::to_string(from + 999) +
                     " loop execute 'create table t' || i || '(a int)'; end loop; end $$");
    }
  }
  mark();
  server.stop("fast");
  run_real([&](World& world) -> Status {
    test::MemoryObjects objects;
    BlockCache cache(64 << 20);
    Scope scope("test");
    StorageOptions options;
    options.compaction.level0_threshold = 64;  // flushes alone are measured
    options.timeline.max_level0_layers = 256;
    const StorageWorld storage{world.disk, objects, world.offload};
    Tenant tenant(storage, tenant_id(), Generation(1), options, cache, scope);
    VARVE_TRY_ASSIGN(const Tenant::Created created, tenant.import(timeline_id(), initial));
    std::vector<double> bytes;
    std::vector<double> seconds;
    for (const Lsn lsn : marks) {
      const uint64_t held = objects.bytes_of("delta-");
      const auto before = std::chrono::steady_clock::now();
      VARVE_TRY(feed(*created.timeline, server.wal(), lsn));
      VARVE_TRY(created.timeline->flush());
      seconds.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count());
      bytes.push_back(static_cast<double>(objects.bytes_of("delta-") - held));
    }
    const double byte_ratio = bytes[4] / bytes[1];
    std::printf(
        "5,000 tables: first %.0f bytes in %.2f s, last %.0f bytes in %.2f s: %.3f x, %.2f x\n",
        bytes[1], seconds[1], bytes[4], seconds[4], byte_ratio, seconds[4] / seconds[1]);
    EXPECT_LE(byte_ratio, 1.15);
    tenant.stop();
    return Status();
  });
}

}  // namespace
}  // namespace varve::storage
