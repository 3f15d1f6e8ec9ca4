// What a wake and a branch cost, and that neither grows with the database: 1 GB against 100 MB.
#include <sys/stat.h>

#include <chrono>
#include <filesystem>

#include "bench/arena.h"
#include "bench/row.h"
#include "tests/checker/connection.h"

namespace varve::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kWakeRounds = 5;     // ten wakes of each
constexpr int kBranchRounds = 10;  // twenty branches of each
const Duration kStartLimit = Duration::seconds(120);

enum class Pageserver { kWarm, kWiped };
enum class Figure { kMillis, kPages };

double millis_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// Nothing of any compute is left, and nothing of the pageserver's if that is wanted. The system is
// up, the endpoint isn't.
Status make_cold(product::Cluster& cluster, Pageserver pageserver) {
  if (pageserver == Pageserver::kWiped) VARVE_TRY(cluster.stop());
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(cluster.directory() + "/computes", failed))
    if (!failed) fs::remove_all(entry.path(), failed);
  if (pageserver == Pageserver::kWiped && !failed) {
    fs::remove_all(cluster.directory() + "/pageserver-1", failed);
    VARVE_TRY(cluster.start_again());
  }
  return failed ? Status(Code::kInternal, failed.message()) : Status();
}

// Pages of relations that lie on the compute's disk: what was fetched. Its files are as long as the
// relations and have holes where nothing was read.
double fetched_pages(const product::Cluster& cluster) {
  double bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(cluster.directory() + "/computes")) {
    const std::string path = entry.path();
    struct stat status;
    if (path.find("/base/") == std::string::npos && path.find("/global/") == std::string::npos)
      continue;
    if (::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode))
      bytes += static_cast<double>(status.st_blocks) * 512;
  }
  return bytes / 8192;
}

// `varve endpoint start`, as a user types it, with a client that waits for its first row.
Result<double> wake(Arena& arena, const SizedProject& sized, Pageserver pageserver, Figure figure) {
  VARVE_TRY_ASSIGN(const std::string target, arena.project(sized));
  VARVE_TRY_ASSIGN(product::Cluster* const cluster, arena.cluster());
  VARVE_TRY(arena.stop_project(sized));
  VARVE_TRY(make_cold(*cluster, pageserver));
  const auto start = Clock::now();
  VARVE_TRY_ASSIGN(auto verb,
                   programs::ChildProcess::spawn(
                       {.command = {arena.options().executable, "endpoint", "start", "main",
                                    "--project", sized.name, "--data", cluster->directory()},
                        .log = arena.options().scratch + "/endpoint-start.log"}));
  VARVE_TRY_ASSIGN(checker::Connection client,
                   checker::Connection::open_patiently(target, kStartLimit));
  VARVE_TRY_ASSIGN(const std::string row,
                   client.value("select aid from pgbench_accounts where aid = 300000"));
  const double took = millis_since(start);
  if (row != "300000") return Status(Code::kCorrupt, "the row is not there");
  const double pages = fetched_pages(*cluster);
  VARVE_TRY_ASSIGN(const int code, verb.wait(kStartLimit));
  if (code != 0) return Status(Code::kInternal, "varve endpoint start failed");
  VARVE_TRY(arena.stop_project(sized));
  return figure == Figure::kMillis ? took : pages;
}

Result<RowResult> compare(const Measure& large, const Measure& small, int rounds) {
  VARVE_TRY_ASSIGN(Pairs pairs, measure_pairs(large, small, rounds));
  return RowResult{std::move(pairs.value), std::move(pairs.peer)};
}

Result<RowResult> measure_wake(Arena& arena, Pageserver pageserver, Figure figure) {
  return compare([&] { return wake(arena, kLargeProject, pageserver, figure); },
                 [&] { return wake(arena, kSmallProject, pageserver, figure); }, kWakeRounds);
}

Result<double> create_branch(Arena& arena, const SizedProject& sized) {
  VARVE_TRY(arena.project(sized).status());
  VARVE_TRY_ASSIGN(product::Cluster* const cluster, arena.cluster());
  double took = 0;
  VARVE_TRY(cluster->control([&](tool::ControlClient& client) -> Status {
    // Connects.
    VARVE_TRY(client.projects().status());
    const auto start = Clock::now();
    VARVE_TRY(client.create_branch(sized.name, "bench", {}).status());
    took = millis_since(start);
    return client.delete_branch(sized.name, "bench");
  }));
  return took;
}

Result<RowResult> measure_branches(Arena& arena) {
  return compare([&] { return create_branch(arena, kLargeProject); },
                 [&] { return create_branch(arena, kSmallProject); }, kBranchRounds);
}

constexpr char kPeer[] = "the same at 100 MB";

}  // namespace

std::vector<Row> cold_rows() {
  return {
      {"cold_first_row", "ms", kPeer, false,
       "from `varve endpoint start` to a waiting client's first row, 1 GB",
       [](Arena& arena) { return measure_wake(arena, Pageserver::kWarm, Figure::kMillis); }},
      {"cold_first_row_wiped", "ms", kPeer, false, "the same after the pageserver lost its disk",
       [](Arena& arena) { return measure_wake(arena, Pageserver::kWiped, Figure::kMillis); }},
      {"cold_fetches", "pages", kPeer, false, "pages that were fetched until then",
       [](Arena& arena) { return measure_wake(arena, Pageserver::kWarm, Figure::kPages); }},
      {"branch_create", "ms", kPeer, false, "a branch of a running main, 1 GB, by RPC",
       measure_branches},
  };
}

}  // namespace varve::bench
