// Measures a pageserver behind three safekeepers: how fast the log becomes pages, what a compute's
// start costs it warm and with its disk wiped, what a branch costs. By hand, not a test.
//
//   storage_figures SCALE     pgbench's scale; 70 is about 1 GB
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "base/random.h"
#include "consensus/client/safekeeper_client.h"
#include "consensus/proposer/driver.h"
#include "storage/client/backup_client.h"
#include "storage/client/page_client.h"
#include "storage/client/timeline_client.h"
#include "storage/key.h"
#include "tests/storage/data_directory.h"
#include "tests/storage/fleet.h"
#include "tests/storage/stock_log.h"
#include "tests/wal/stock_server.h"

namespace varve::storage {
namespace {

using test::Fleet;

constexpr char kSettings[] =
    "full_page_writes=off\nwal_level=replica\nmax_wal_size=32GB\nwal_keep_size=32GB\n"
    "checkpoint_timeout=1h\nfsync=off\n";

const TenantShardId kTenant{*TenantId::parse("00112233445566778899aabbccddeeff"), 0, 1};
const TimelineId kTimeline = *TimelineId::parse("0f0e0d0c0b0a09080706050403020100");

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

void print(const char* what, std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  std::printf("%-44s median %8.2f ms   p99 %8.2f ms   max %8.2f ms\n", what,
              1e3 * seconds[seconds.size() / 2], 1e3 * seconds[seconds.size() * 99 / 100],
              1e3 * seconds.back());
  std::fflush(stdout);
}

void print_memory(const Fleet& fleet) {
  std::ifstream status("/proc/" + std::to_string(fleet.pid("pageserver-1")) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM") || line.starts_with("VmRSS")) std::printf("%s\n", line.c_str());
  }
}

Status create(Fleet& fleet, const ImportedTimeline& imported) {
  for (int number = 1; number <= tool::kSafekeepers; ++number) {
    consensus::NewTimeline timeline;
    timeline.id = {kTenant.tenant, kTimeline};
    timeline.membership = fleet.membership();
    timeline.server = {150000, imported.system_id, imported.segment_size};
    timeline.start = imported.lsn;
    timeline.prefix = {imported.log_prefix};
    VARVE_TRY(consensus::create_timeline(*fleet.safekeeper(number), timeline));
  }
  return Status();
}

Status push(Fleet& fleet, const std::string& wal, const ImportedTimeline& imported, Lsn end) {
  const consensus::ProposerConfig config{{kTenant.tenant, kTimeline},
                                         fleet.membership(),
                                         {150000, imported.system_id, imported.segment_size}};
  const consensus::ProposerOptions options;
  consensus::ProposerDriver driver(
      fleet.world(), config, {config.id, fleet.node_token(), "figures"}, options, fleet.scope());
  const Status status = [&]() -> Status {
    VARVE_TRY(driver.elect().status());
    test::StockLog log(wal, imported.system_id, imported.lsn, imported.last_record_start, end);
    for (Bytes piece = log.next(256 << 10); !piece.empty(); piece = log.next(256 << 10)) {
      VARVE_TRY(driver.append(std::move(piece)));
    }
    VARVE_TRY(driver.wait_committed(end));
    driver.heartbeat();
    return timeline_status(*fleet.pageserver(), kTenant, kTimeline, end).status();
  }();
  driver.stop(Status(Code::kCancelled, "done"));
  return status;
}

// As a starting compute and its first queries ask.
Status measure_reads(Fleet& fleet, const char* state, Lsn end) {
  RpcClient& client = *fleet.pageserver();
  std::printf("--- %s\n", state);
  std::vector<double> seconds;
  std::optional<FetchedBackup> backup;
  for (int i = 0; i < 9; ++i) {
    const Stopwatch watch;
    VARVE_TRY_ASSIGN(backup, base_backup(client, kTenant, kTimeline, end));
    seconds.push_back(watch.seconds());
    if (i == 0) std::printf("first base backup %.2f ms\n", 1e3 * watch.seconds());
  }
  print("base backup", seconds);
  RandomStream random(1, "pages");
  std::vector<wal::BlockId> blocks;
  for (const FetchedBackup::Fork& fork : backup->forks) {
    if (fork.fork != wal::Fork::kMain || fork.blocks == 0) continue;
    for (int i = 0; i < 3; ++i) {
      const auto block = static_cast<uint32_t>(random.below(fork.blocks));
      blocks.push_back({fork.relation, fork.fork, block});
    }
  }
  for (size_t i = blocks.size(); i > 1; --i) std::swap(blocks[i - 1], blocks[random.below(i)]);
  const auto largest = std::ranges::max_element(backup->forks, {}, &FetchedBackup::Fork::blocks);
  const auto ask = [&](const wal::BlockId& first, uint32_t count) -> Status {
    const Stopwatch watch;
    VARVE_TRY_ASSIGN(const auto pages, get_pages(client, kTenant, kTimeline,
                                                 {{Key::block(first).bytes, count, end, end}}));
    seconds.push_back(watch.seconds());
    for (const auto& page : pages) VARVE_TRY(page.status());
    return Status();
  };
  seconds.clear();
  for (size_t i = 0; i < 500; ++i) VARVE_TRY(ask(blocks[i], 1));
  print("one page, any relation", seconds);
  seconds.clear();
  for (int i = 0; i < 500; ++i) {
    VARVE_TRY(ask(
        {largest->relation, largest->fork, static_cast<uint32_t>(random.below(largest->blocks))},
        1));
  }
  print("one page, largest relation", seconds);
  seconds.clear();
  for (uint32_t i = 0; i < 200 && (i + 1) * 32 < largest->blocks; ++i) {
    VARVE_TRY(ask({largest->relation, largest->fork, i * 32}, 32));
  }
  print("32 pages in a row", seconds);
  return Status();
}

Status measure_branches(Fleet& fleet, Lsn end) {
  std::vector<double> seconds;
  for (uint8_t n = 1; n <= 20; ++n) {
    TimelineId id = kTimeline;
    id.bytes[15] = n;
    const Stopwatch watch;
    VARVE_TRY(branch_timeline(*fleet.pageserver(), kTenant, fleet.generation(), id, kTimeline, end)
                  .status());
    seconds.push_back(watch.seconds());
  }
  print("branch", seconds);
  return Status();
}

Status measure(Fleet& fleet, const test::StockServer& server, const ClusterFiles& initial,
               Lsn end) {
  fleet.attach(kTenant.tenant);
  VARVE_TRY(fleet.serve_control());
  for (int n = 1; n <= tool::kSafekeepers; ++n) fleet.start("safekeeper-" + std::to_string(n));
  fleet.start("pageserver-1");
  VARVE_TRY(fleet.wait_ready());
  test::ClusterSource source(initial);
  const Stopwatch importing;
  VARVE_TRY_ASSIGN(
      const ImportedTimeline imported,
      import_timeline(*fleet.pageserver(), kTenant, fleet.generation(), kTimeline, source));
  std::printf("import %.1f ms\n", 1e3 * importing.seconds());
  VARVE_TRY(create(fleet, imported));
  const Stopwatch pushing;
  VARVE_TRY(push(fleet, server.wal(), imported, end));
  const double bytes = static_cast<double>(end - imported.lsn);
  std::printf("%.0f MB of log into pages at %.1f MB/s, quorum included\n", bytes / 1e6,
              bytes / 1e6 / pushing.seconds());
  print_memory(fleet);
  VARVE_TRY_ASSIGN(const TimelineState state,
                   timeline_status(*fleet.pageserver(), kTenant, kTimeline));
  std::printf("%llu layers, %.0f MB\n", static_cast<unsigned long long>(state.layers),
              static_cast<double>(state.layer_bytes) / 1e6);
  VARVE_TRY(measure_reads(fleet, "warm, right after the load", end));
  VARVE_TRY(measure_branches(fleet, end));
  VARVE_TRY(sleep_for(Duration::seconds(10)));
  VARVE_TRY(measure_reads(fleet, "warm, compacted", end));
  print_memory(fleet);
  for (const bool wiped : {false, true}) {
    const Stopwatch stopping;
    if (fleet.stop("pageserver-1") != 0) std::printf("unclean stop\n");
    const double stopped = stopping.seconds();
    if (wiped) fleet.wipe("pageserver-1");
    const Stopwatch starting;
    fleet.start("pageserver-1");
    VARVE_TRY(fleet.wait_ready("pageserver-1"));
    std::printf("stopped in %.1f ms, ready in %.1f ms\n", 1e3 * stopped, 1e3 * starting.seconds());
    VARVE_TRY(measure_reads(fleet, wiped ? "disk wiped" : "restarted", end));
    print_memory(fleet);
  }
  return Status();
}

int run(const std::string& scale) {
  test::StockServer server(kSettings);
  const ClusterFiles initial = test::read_cluster(server.data());
  server.start();
  server.tool("createdb bench");
  server.tool("pgbench -i -q -s " + scale + " bench");
  server.tool("pgbench -c 8 -T 20 bench");
  server.stop("fast");
  const Lsn end = test::end_of(test::read_control(server.data()));
  Fleet fleet;
  const Status status = fleet.run([&] { return measure(fleet, server, initial, end); });
  if (!status.ok()) std::printf("%s\n", status.to_string().c_str());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace varve::storage

int main(int argc, char** argv) {
  return varve::storage::run(argc > 1 ? argv[1] : "10");
}
