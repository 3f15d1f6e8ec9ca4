// An endpoint on real processes: stock Postgres, three safekeepers, a pageserver.
//
// VARVE_LONG=1 makes the long form of what kills: fifty times, every five seconds.
#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/checker/proof.h"
#include "tests/checker/workload.h"
#include "tests/compute/cluster.h"

namespace varve::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr char kBalances[] =
    "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from "
    "pgbench_history) and (select sum(bbalance) from pgbench_branches) = (select "
    "sum(tbalance) from pgbench_tellers) and (select sum(tbalance) from pgbench_tellers) = "
    "(select sum(delta) from pgbench_history)";

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}
void sleep_seconds(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}
bool long_form() {
  return std::getenv("VARVE_LONG") != nullptr;
}

TEST(Endpoint, StartsCommitsStopsAndStartsAgain) {
  Cluster cluster;
  for (int life = 1; life <= 3; ++life) {
    const auto began = Clock::now();
    cluster.start_compute();
    ASSERT_TRUE(cluster.wait_state("RUNNING")) << cluster.log("compute-main");
    std::printf("running after %.3f s\n", seconds_since(began));
    if (life == 1) {
      EXPECT_EQ(cluster.sql("create table t(i int)"), "");
    }
    EXPECT_EQ(cluster.sql("insert into t values (" + std::to_string(life) + ")"), "");
    EXPECT_EQ(cluster.sql("select count(*) from t"), std::to_string(life));
    const auto settled = cluster.settle();
    ASSERT_TRUE(settled.ok()) << settled.status().to_string();
    EXPECT_EQ(cluster.sql("select pg_current_wal_flush_lsn() >= '" + settled->to_string() + "'"),
              "t");
    EXPECT_EQ(cluster.stop_compute(), 0) << cluster.log("compute-main");
    EXPECT_EQ(cluster.seen().state, "STOPPED");
    EXPECT_EQ(cluster.seen().failure, "");
    EXPECT_EQ(cluster.life_directory(), "");
  }
}

// pgbench again and again, since it ends with its connections. Its logs say what was acknowledged.
class TpcB {
 public:
  explicit TpcB(Cluster& cluster) : cluster_(cluster), logs_(cluster.directory() + "/pgbench") {
    fs::create_directory(logs_);
    fs::permissions(logs_, fs::perms::all);
    thread_ = std::thread([this] {
      for (int run = 0; !stopping_; ++run) {
        cluster_.tool("pgbench -n -c 4 -j 1 -T 10 -l --log-prefix=" + logs_ + "/" +
                      std::to_string(run));
        if (!stopping_) sleep_seconds(0.05);
      }
    });
  }
  ~TpcB() { stop(); }
  void stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  uint64_t acknowledged() const {
    uint64_t lines = 0;
    for (const auto& entry : fs::directory_iterator(logs_)) {
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) ++lines;
    }
    return lines;
  }

 private:
  Cluster& cluster_;
  const std::string logs_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

// From the first record that a safekeeper holds to the last that is committed.
void expect_readable_log(Cluster& cluster) {
  const auto settled = cluster.settle();
  ASSERT_TRUE(settled.ok()) << settled.status().to_string();
  const std::string from = cluster.layout().directory() + "/safekeeper-1/timelines/" +
                           cluster.id().tenant.to_string() + "/" +
                           cluster.id().timeline.to_string();
  // A member may lag behind the quorum; what it lacks it gets.
  sleep_seconds(1.5);
  const std::string copy = cluster.directory() + "/wal";
  fs::remove_all(copy);
  fs::create_directory(copy);
  std::string first;
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    if (name.size() != 24) continue;
    fs::copy_file(entry.path(), copy + "/" + name);
    fs::permissions(copy + "/" + name, fs::perms(0644));
    if (first.empty() || name < first) first = name;
  }
  ASSERT_FALSE(first.empty());
  const Lsn begin(std::stoull(first.substr(16), nullptr, 16) << 24);
  const std::string command = "/usr/lib/postgresql/15/bin/pg_waldump -p " + copy + " -s " +
                              begin.to_string() + " -e " + settled->to_string();
  const CommandResult dump = run_as_postgres(command + " -q");
  EXPECT_EQ(dump.exit_code, 0) << dump.output;
  const CommandResult count = run_as_postgres(command + " | wc -l");
  std::printf("records for pg_waldump: %s", count.output.c_str());
}

TEST(Endpoint, KilledUnderTpcB) {
  Cluster cluster;
  cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  const CommandResult made = cluster.tool("pgbench -i -s 2 -q");
  ASSERT_EQ(made.exit_code, 0) << made.output;
  auto journal = checker::Journal::create(cluster.directory() + "/journal", 1, 20);
  ASSERT_TRUE(journal.ok());
  {
    auto connection = checker::Connection::open(cluster.target());
    ASSERT_TRUE(connection.ok()) << connection.status().to_string();
    ASSERT_TRUE(checker::make_tables(*connection, **journal).ok());
  }
  const int rounds = long_form() ? 50 : 5;
  uint64_t acknowledged = 0;
  double longest = 0;
  {
    TpcB tpcb(cluster);
    checker::Workload workload({.target = cluster.target(), .sessions = 3}, **journal);
    for (int round = 0; round < rounds; ++round) {
      sleep_seconds(long_form() ? 5 : 2);
      const pid_t victim = cluster.postmaster();
      ASSERT_NE(victim, 0) << "round " << round << "\n" << cluster.log("compute-main");
      ::kill(victim, SIGKILL);
      const auto killed = Clock::now();
      EXPECT_TRUE(workload.wait_for_progress(10, Duration::seconds(30)))
          << cluster.log("compute-main");
      longest = std::max(longest, seconds_since(killed));
    }
    tpcb.stop();
    workload.stop();
    EXPECT_TRUE(workload.status().ok()) << workload.status().to_string();
    acknowledged = tpcb.acknowledged();
    const checker::WorkloadCounters counters = workload.counters();
    std::printf(
        "%d kills; pgbench: %lu acknowledged; checker: %lu acknowledged, %lu unknown; "
        "longest wait for ten commits %.2f s; lives %lu\n",
        rounds, acknowledged, counters.acknowledged, counters.unknown, longest,
        cluster.seen().lives);
  }
  EXPECT_EQ(cluster.seen().lives, static_cast<uint64_t>(rounds) + 1);
  EXPECT_EQ(cluster.sql(kBalances), "t");
  const uint64_t rows = std::stoull(cluster.sql("select count(*) from pgbench_history"));
  EXPECT_GE(rows, acknowledged);
  EXPECT_LE(rows, acknowledged + 4u * (static_cast<uint64_t>(rounds) + 1));
  auto connection = checker::Connection::open(cluster.target());
  ASSERT_TRUE(connection.ok());
  const auto findings = checker::prove_and_remember(*connection, **journal);
  ASSERT_TRUE(findings.ok()) << findings.status().to_string();
  std::printf("%s\n", findings->summary().c_str());
  EXPECT_TRUE(findings->hold()) << findings->summary();
  const CommandResult amcheck =
      cluster.tool("pg_amcheck --install-missing --heapallindexed -d postgres");
  EXPECT_EQ(amcheck.exit_code, 0) << amcheck.output;
  expect_readable_log(cluster);
  EXPECT_EQ(cluster.stop_compute(), 0);
}

}  // namespace
}  // namespace varve::test
