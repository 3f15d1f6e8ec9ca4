// The real processes of storage joined: three safekeepers and a pageserver, killed and wiped while
// a stock server's log is pushed, must serve that server's data directory.
//
// Control is played by the test: it registers the pageserver, creates timelines, counts
// generations. So is the compute: a proposer pushes what a stock Postgres wrote.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "consensus/client/safekeeper_client.h"
#include "consensus/proposer/driver.h"
#include "storage/client/backup_client.h"
#include "storage/client/import_client.h"
#include "storage/client/methods.h"
#include "storage/client/page_client.h"
#include "storage/client/timeline_client.h"
#include "tests/storage/data_directory.h"
#include "tests/storage/fleet.h"
#include "tests/storage/stock_log.h"
#include "tests/wal/stock_server.h"

namespace varve::storage {
namespace {

using test::ClusterSource;
using test::Fleet;
using test::StockLog;

constexpr char kSettings[] =
    "full_page_writes=off\nwal_level=replica\nmax_wal_size=16GB\nwal_keep_size=16GB\n"
    "checkpoint_timeout=1h\nfsync=off\nmax_prepared_transactions=10\n";

TenantShardId tenant_id() {
  return {*TenantId::parse("00112233445566778899aabbccddeeff"), 0, 1};
}
TimelineId timeline_id(uint8_t n) {
  TimelineId id = *TimelineId::parse("0f0e0d0c0b0a09080706050403020100");
  id.bytes[15] = n;
  return id;
}

// Pages through the RPC, as a compute asks for them.
class RpcPages : public test::PageSource {
 public:
  RpcPages(RpcClient& client, const TimelineId& timeline, Lsn lsn)
      : client_(client), timeline_(timeline), lsn_(lsn) {}

  std::vector<Result<PageAnswer>> blocks(const wal::BlockId& first, uint32_t count) override {
    return ask(Key::block(first), count);
  }
  Result<Bytes> status_page(wal::SlruPage page) override {
    VARVE_TRY_ASSIGN(PageAnswer answer, ask(Key::slru_block(page), 1)[0]);
    return std::move(answer.page);
  }

 private:
  std::vector<Result<PageAnswer>> ask(const Key& first, uint32_t count) {
    auto pages = get_pages(client_, tenant_id(), timeline_, {{first.bytes, count, lsn_, lsn_}});
    if (!pages.ok()) return {count, Result<PageAnswer>(pages.status())};
    std::vector<Result<PageAnswer>> answers;
    for (Result<FetchedPage>& page : *pages) {
      if (!page.ok()) {
        answers.emplace_back(page.status());
      } else {
        answers.emplace_back(PageAnswer{std::move(page->page), page->beyond_end});
        if (page->beyond_end) answers.back()->page = MutableBytes::zeroed(kBlockSize).freeze();
      }
    }
    return answers;
  }

  RpcClient& client_;
  TimelineId timeline_;
  Lsn lsn_;
};

Status create_on_safekeepers(Fleet& fleet, const ImportedTimeline& imported) {
  for (int number = 1; number <= tool::kSafekeepers; ++number) {
    consensus::NewTimeline timeline;
    timeline.id = {tenant_id().tenant, timeline_id(0)};
    timeline.membership = fleet.membership();
    timeline.server = {150000, imported.system_id, imported.segment_size};
    timeline.start = imported.lsn;
    timeline.prefix = {imported.log_prefix};
    VARVE_TRY(consensus::create_timeline(*fleet.safekeeper(number), timeline));
  }
  return Status();
}

Result<TimelineState> wait_ingested(RpcClient& client, Lsn lsn) {
  for (;;) {
    Result<TimelineState> state = timeline_status(client, tenant_id(), timeline_id(0), lsn);
    if (state.ok() || !policy_of(state.code()).retryable) return state;
    VARVE_TRY(sleep_for(Duration::millis(50)));
  }
}

Status wait_flushed(RpcClient& client, Lsn above) {
  for (;;) {
    VARVE_TRY_ASSIGN(const TimelineState state, wait_ingested(client, Lsn(0)));
    if (state.remote_consistent > above) return Status();
    VARVE_TRY(sleep_for(Duration::millis(20)));
  }
}

// What happens while the log is pushed, at the given hundredths of it.
struct Disaster {
  int at;
  std::function<void(Fleet&)> happen;
  bool flushed = false;  // only once some of the log is in the object store
};

// As control settles a timeline that no compute runs: nobody else says after such a crash how much
// of the log is committed.
Status settle(Fleet& fleet, const ImportedTimeline& imported, Lsn end) {
  const consensus::ProposerConfig config{{tenant_id().tenant, timeline_id(0)},
                                         fleet.membership(),
                                         {150000, imported.system_id, imported.segment_size}};
  const consensus::ProposerOptions options;
  consensus::ProposerDriver driver(fleet.world(), config,
                                   {config.id, fleet.node_token(), "varve-join-test"}, options,
                                   fleet.scope());
  const Status status = [&]() -> Status {
    VARVE_TRY_ASSIGN(const consensus::WonElection won, driver.elect());
    EXPECT_EQ(won.start, end);
    VARVE_TRY(driver.wait_committed(end));
    driver.heartbeat();
    return wait_ingested(*fleet.pageserver(), end).status();
  }();
  driver.stop(Status(Code::kCancelled, "settled"));
  return status;
}

Status push(Fleet& fleet, StockLog& log, const ImportedTimeline& imported, Lsn end,
            std::vector<Disaster> disasters) {
  const consensus::ProposerConfig config{{tenant_id().tenant, timeline_id(0)},
                                         fleet.membership(),
                                         {150000, imported.system_id, imported.segment_size}};
  const consensus::ProposerOptions options;
  consensus::ProposerDriver driver(fleet.world(), config,
                                   {config.id, fleet.node_token(), "varve-join-test"}, options,
                                   fleet.scope());
  const Status status = [&]() -> Status {
    VARVE_TRY_ASSIGN(const consensus::WonElection won, driver.elect());
    EXPECT_EQ(won.start, imported.lsn);
    const uint64_t total = end - imported.lsn;
    for (Bytes piece = log.next(256 << 10); !piece.empty(); piece = log.next(256 << 10)) {
      const uint64_t done = (driver.available() - imported.lsn) * 100 / total;
      for (Disaster& disaster : disasters) {
        if (disaster.happen && static_cast<int>(done) >= disaster.at) {
          if (disaster.flushed) VARVE_TRY(wait_flushed(*fleet.pageserver(), imported.lsn));
          std::exchange(disaster.happen, nullptr)(fleet);
        }
      }
      VARVE_TRY(driver.append(std::move(piece)));
    }
    EXPECT_EQ(driver.available(), end);
    VARVE_TRY(driver.wait_committed(end));
    driver.heartbeat();
    VARVE_TRY(wait_ingested(*fleet.pageserver(), end).status());
    // What storage has made durable travels back to the proposer through a safekeeper.
    const Instant deadline = now() + Duration::seconds(20);
    while (!driver.feedback() || driver.feedback()->remote_consistent <= imported.lsn) {
      if (now() > deadline) return Status(Code::kInternal, "no feedback of storage came back");
      VARVE_TRY(sleep_for(Duration::millis(50)));
      driver.heartbeat();
    }
    EXPECT_LE(driver.feedback()->remote_consistent, end);
    return Status();
  }();
  driver.stop(Status(Code::kCancelled, "pushed"));
  return status;
}

double seconds_since(std::chrono::steady_clock::time_point before) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
}

struct Stock {
  ClusterFiles initial;
  ClusterFiles final;
  wal::ControlFile first;
  wal::ControlFile last;
};

Stock write_log(test::StockServer& server) {
  Stock stock;
  stock.initial = test::read_cluster(server.data());
  stock.first = test::read_control(server.data());
  server.start();
  EXPECT_EQ(server.tool("createdb bench").exit_code, 0);
  EXPECT_EQ(server.tool("pgbench -i -q -s 5 bench").exit_code, 0);
  EXPECT_EQ(server.tool("pgbench -c 8 -T 8 bench").exit_code, 0);
  server.sql("bench",
             "create table t(a int primary key, b text); insert into t select i, 'x' from "
             "generate_series(1, 20000) i; delete from t where a % 3 = 0; vacuum t; begin; "
             "insert into t values (-1, 'p'); prepare transaction 'p1'");
  server.stop("fast");
  stock.last = test::read_control(server.data());
  stock.final = test::read_cluster(server.data());
  return stock;
}

void check_pages(RpcClient& client, const Stock& stock, Lsn end) {
  RpcPages pages(client, timeline_id(0), end);
  const auto before = std::chrono::steady_clock::now();
  const test::Tally tally = test::compare_directory(pages, stock.final);
  EXPECT_EQ(tally.unequal, 0u);
  EXPECT_GT(tally.pages, 13000u);
  std::printf("%llu pages of %llu files equal, %.2f s\n",
              static_cast<unsigned long long>(tally.pages - tally.unequal),
              static_cast<unsigned long long>(tally.forks), seconds_since(before));
}

TEST(Join, KilledAndWipedProcessesServeTheDataDirectory) {
  test::StockServer server(kSettings);
  const Stock stock = write_log(server);
  const Lsn end = test::end_of(stock.last);
  Fleet fleet;
  const Status status = fleet.run([&]() -> Status {
    fleet.attach(tenant_id().tenant);
    fleet.start("pageserver-1");  // control does not answer yet
    for (int n = 1; n <= tool::kSafekeepers; ++n) fleet.start("safekeeper-" + std::to_string(n));
    VARVE_TRY(sleep_for(Duration::millis(300)));
    VARVE_TRY(fleet.serve_control());
    VARVE_TRY(fleet.wait_ready());

    ClusterSource source(stock.initial);
    VARVE_TRY_ASSIGN(const ImportedTimeline imported,
                     import_timeline(*fleet.pageserver(), tenant_id(), fleet.generation(),
                                     timeline_id(0), source));
    EXPECT_EQ(imported.lsn, test::end_of(stock.first));
    EXPECT_NE(imported.lsn.value % test::kWalSegmentSize, 0u);  // the stream starts mid-segment
    VARVE_TRY(create_on_safekeepers(fleet, imported));
    StockLog log(server.wal(), imported.system_id, imported.lsn, imported.last_record_start, end);
    const auto before = std::chrono::steady_clock::now();
    VARVE_TRY(push(fleet, log, imported, end,
                   {{10, [](Fleet& f) { f.kill("safekeeper-1"); }},
                    {20, [](Fleet& f) { f.start("safekeeper-1"); }},
                    {30, [](Fleet& f) { f.kill("pageserver-1"), f.start("pageserver-1"); }},
                    {40, [](Fleet& f) { f.kill("safekeeper-2"), f.start("safekeeper-2"); }},
                    {60,
                     [](Fleet& f) {
                       f.kill("pageserver-1");
                       f.wipe("pageserver-1");
                       f.start("pageserver-1");
                     },
                     true},
                    {80, [](Fleet& f) { f.kill("safekeeper-3"), f.start("safekeeper-3"); }}}));
    std::printf("%.1f MB of log through the quorum into pages, with six disasters, in %.2f s\n",
                static_cast<double>(end - imported.lsn) / 1e6, seconds_since(before));
    check_pages(*fleet.pageserver(), stock, end);

    // Stops in order, with what it has; a new life finds it without reading the log again.
    const auto stopping = std::chrono::steady_clock::now();
    EXPECT_EQ(fleet.stop("pageserver-1"), 0);
    std::printf("stopped in %.3f s\n", seconds_since(stopping));
    for (int n = 1; n <= tool::kSafekeepers; ++n) fleet.kill("safekeeper-" + std::to_string(n));
    fleet.wipe("pageserver-1");
    fleet.start("pageserver-1");
    VARVE_TRY(fleet.wait_ready("pageserver-1"));
    VARVE_TRY_ASSIGN(const TimelineState state,
                     timeline_status(*fleet.pageserver(), tenant_id(), timeline_id(0)));
    EXPECT_EQ(state.last_record, end);
    EXPECT_EQ(state.remote_consistent, end);
    check_pages(*fleet.pageserver(), stock, end);

    VARVE_TRY_ASSIGN(const FetchedBackup backup,
                     base_backup(*fleet.pageserver(), tenant_id(), timeline_id(0), end));
    EXPECT_EQ(backup.last_record_start, stock.last.checkpoint_record);
    EXPECT_EQ(backup.system_id, imported.system_id);
    EXPECT_EQ(backup.two_phase.size(), 1u);
    EXPECT_GE(backup.databases.size(), 4u);
    return Status();
  });
  EXPECT_TRUE(status.ok()) << status.to_string();
}

void kill_all(Fleet& fleet) {
  fleet.kill("pageserver-1");
  for (int n = 1; n <= tool::kSafekeepers; ++n) fleet.kill("safekeeper-" + std::to_string(n));
  for (int n = 1; n <= tool::kSafekeepers; ++n) fleet.start("safekeeper-" + std::to_string(n));
  fleet.start("pageserver-1");
}

TEST(Join, PowerCutsLoseNothingThatWasAnsweredFor) {
  test::StockServer server(kSettings);
  const Stock stock = write_log(server);
  const Lsn end = test::end_of(stock.last);
  Fleet fleet(Fleet::Kill::kPowerCut);
  const Status status = fleet.run([&]() -> Status {
    fleet.attach(tenant_id().tenant);
    VARVE_TRY(fleet.serve_control());
    for (int n = 1; n <= tool::kSafekeepers; ++n) fleet.start("safekeeper-" + std::to_string(n));
    fleet.start("pageserver-1");
    VARVE_TRY(fleet.wait_ready());
    ClusterSource source(stock.initial);
    VARVE_TRY_ASSIGN(const ImportedTimeline imported,
                     import_timeline(*fleet.pageserver(), tenant_id(), fleet.generation(),
                                     timeline_id(0), source));
    // The import answered: nothing of it is lost, though it is in no log.
    fleet.kill("pageserver-1");
    fleet.wipe("pageserver-1");
    fleet.start("pageserver-1");
    VARVE_TRY(create_on_safekeepers(fleet, imported));
    StockLog log(server.wal(), imported.system_id, imported.lsn, imported.last_record_start, end);
    VARVE_TRY(push(fleet, log, imported, end,
                   {{30, kill_all}, {55, kill_all, true}, {80, kill_all, true}}));
    check_pages(*fleet.pageserver(), stock, end);
    kill_all(fleet);
    VARVE_TRY(fleet.wait_ready());
    VARVE_TRY(settle(fleet, imported, end));
    check_pages(*fleet.pageserver(), stock, end);
    return Status();
  });
  EXPECT_TRUE(status.ok()) << status.to_string();
}

}  // namespace
}  // namespace varve::storage
