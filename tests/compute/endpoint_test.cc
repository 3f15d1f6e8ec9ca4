// An endpoint on real processes: stock Postgres, three safekeepers, a pageserver.
//
// VARVE_LONG=1 makes the long form of what kills: fifty times, every five seconds. VARVE_KILLS says
// how often otherwise.
#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
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

std::string segments_of(const Cluster& cluster, int safekeeper) {
  return cluster.layout().directory() + "/safekeeper-" + std::to_string(safekeeper) +
         "/timelines/" + cluster.id().tenant.to_string() + "/" + cluster.id().timeline.to_string();
}

std::vector<char> bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Segment by segment, up to `end`, what the first member holds.
void expect_equal_members(const Cluster& cluster, Lsn end) {
  uint64_t compared = 0;
  for (const auto& entry : fs::directory_iterator(segments_of(cluster, 1))) {
    const std::string name = entry.path().filename().string();
    if (name.size() != 24) continue;
    const uint64_t begin = std::stoull(name.substr(16), nullptr, 16) << 24;
    if (begin >= end.value) continue;
    const std::vector<char> first = bytes_of(entry.path().string());
    const size_t committed = std::min<uint64_t>(first.size(), end.value - begin);
    for (int other = 2; other <= 3; ++other) {
      const std::vector<char> bytes = bytes_of(segments_of(cluster, other) + "/" + name);
      ASSERT_GE(bytes.size(), committed) << name << " of safekeeper " << other;
      const auto differs =
          std::mismatch(first.begin(), first.begin() + static_cast<ptrdiff_t>(committed),
                        bytes.begin())
              .first -
          first.begin();
      ASSERT_EQ(static_cast<size_t>(differs), committed)
          << name << " of safekeepers 1 and " << other << " differs";
    }
    compared += committed;
  }
  std::printf("%lu MB of log equal on all members\n", compared >> 20);
}

// From the first record that a safekeeper holds to the last that is committed.
void expect_readable_log(Cluster& cluster) {
  const auto settled = cluster.settle();
  ASSERT_TRUE(settled.ok()) << settled.status().to_string();
  const std::string from = segments_of(cluster, 1);
  // A member may lag behind the quorum; what it lacks it gets.
  sleep_seconds(1.5);
  expect_equal_members(cluster, *settled);
  const std::string copy = cluster.directory() + "/wal";
  fs::remove_all(copy);
  fs::create_directory(copy);
  std::string first;
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    if (name.size() != 24) continue;
    // Made ahead of need: zeros, which pg_waldump takes for a log of another kind.
    if (Lsn(std::stoull(name.substr(16), nullptr, 16) << 24) >= *settled) continue;
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

std::string content_of(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// System V shared memory that these processes made and that outlives them.
int segments_left(const std::set<pid_t>& makers) {
  std::istringstream rows(content_of("/proc/sysvipc/shm"));
  std::string row;
  std::getline(rows, row);  // titles
  int left = 0;
  while (std::getline(rows, row)) {
    std::istringstream fields(row);
    long key, id, size;
    std::string mode;
    pid_t maker;
    left += fields >> key >> id >> mode >> size >> maker && makers.contains(maker);
  }
  return left;
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
  const char* kills = std::getenv("VARVE_KILLS");
  const int rounds = kills != nullptr ? std::atoi(kills) : long_form() ? 50 : 5;
  uint64_t acknowledged = 0;
  double longest = 0;
  std::set<pid_t> victims;
  {
    TpcB tpcb(cluster);
    checker::Workload workload({.target = cluster.target(), .sessions = 3}, **journal);
    for (int round = 0; round < rounds; ++round) {
      sleep_seconds(long_form() ? 5 : 2);
      const pid_t victim = cluster.postmaster();
      ASSERT_NE(victim, 0) << "round " << round << "\n" << cluster.log("compute-main");
      const std::string maps = content_of("/proc/" + std::to_string(victim) + "/maps");
      EXPECT_EQ(maps.find("/dev/shm/"), std::string::npos) << "what is there outlives a kill";
      victims.insert(victim);
      ::kill(victim, SIGKILL);
      const auto killed = Clock::now();
      // Backends outlive their postmaster by a moment, in which they may still commit.
      for (pid_t next = victim; (next == 0 || next == victim) && seconds_since(killed) < 30;) {
        sleep_seconds(0.02);
        next = cluster.postmaster();
      }
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
  EXPECT_EQ(segments_left(victims), 0);
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

// The settings that the gate rests on are nobody's to change.
TEST(Endpoint, AlterSystemIsKeptAndDoesNotReachTheGate) {
  Cluster cluster;
  cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  for (const char* change :
       {"fsync to off", "wal_sync_method to open_datasync", "full_page_writes to on",
        "wal_recycle to on", "restart_after_crash to on", "wal_init_zero to on"}) {
    cluster.sql(std::string("alter system set ") + change);
  }
  EXPECT_EQ(cluster.sql("select pg_reload_conf()"), "t");
  sleep_seconds(0.3);
  EXPECT_EQ(cluster.sql("select string_agg(name || '=' || setting, ' ' order by name) from "
                        "pg_settings where name in ('fsync', 'wal_sync_method', "
                        "'full_page_writes', 'wal_recycle', 'restart_after_crash', "
                        "'wal_init_zero')"),
            "fsync=on full_page_writes=off restart_after_crash=off wal_init_zero=off "
            "wal_recycle=off wal_sync_method=fdatasync");
  // What may be set is kept, over a crash and over a stop.
  EXPECT_EQ(cluster.sql("alter system set work_mem to '7MB'"), "");
  sleep_seconds(1.5);
  ::kill(cluster.postmaster(), SIGKILL);
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  while (cluster.seen().lives < 2) ASSERT_TRUE(cluster.wait_state("RUNNING"));
  EXPECT_EQ(cluster.sql("show work_mem"), "7MB");
  EXPECT_EQ(cluster.sql("alter system set work_mem to '8MB'"), "");
  EXPECT_EQ(cluster.stop_compute(), 0);
  cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  EXPECT_EQ(cluster.sql("show work_mem"), "8MB");
  EXPECT_EQ(cluster.sql("show fsync"), "on");
  // With this nothing starts, so it is left out.
  EXPECT_EQ(cluster.sql("alter system set shared_buffers to '4000GB'"), "");
  EXPECT_EQ(cluster.stop_compute(), 0);
  cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING")) << cluster.log("compute-main");
  EXPECT_EQ(cluster.sql("show work_mem"), "4MB");
  EXPECT_EQ(cluster.sql("alter system reset all"), "");
  EXPECT_EQ(cluster.sql("alter system set work_mem to '9MB'"), "");
  EXPECT_EQ(cluster.stop_compute(), 0);
  cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  EXPECT_EQ(cluster.sql("show work_mem"), "9MB");
  EXPECT_NE(cluster.sql("create tablespace s location '/var/tmp'").find("ERROR"),
            std::string::npos);
  EXPECT_EQ(cluster.stop_compute(), 0);
}

// Nobody sees a row whose commit no quorum has, whatever becomes of the session that wrote it.
TEST(Endpoint, NoRowIsShownWhileTheQuorumIsAway) {
  Cluster cluster;
  cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  EXPECT_EQ(cluster.sql("create table g(who text)"), "");
  auto reader = checker::Connection::open(cluster.target());
  auto killer = checker::Connection::open(cluster.target());
  ASSERT_TRUE(reader.ok() && killer.ok());
  EXPECT_EQ(*reader->value("select count(*) from g"), "0");
  cluster.pause_safekeeper(2);
  cluster.pause_safekeeper(3);
  const auto away = Clock::now();
  std::vector<std::thread> sessions;
  std::atomic<int> acknowledged{0};
  const auto session = [&](const std::string& who, const std::string& before) {
    sessions.emplace_back([&cluster, &acknowledged, who, before] {
      auto connection = checker::Connection::open(cluster.target());
      if (!connection.ok()) return;
      connection->run("set application_name = '" + who + "'");
      if (!before.empty()) connection->run(before);
      if (connection->run("insert into g values ('" + who + "')", {}, Duration::seconds(4)).done())
        ++acknowledged;
    });
  };
  session("cancels", "set statement_timeout = '500ms'");
  session("local", "set synchronous_commit = local");
  session("terminated", "");
  session("waits", "");
  sleep_seconds(1);
  killer->run(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = "
      "'terminated'",
      {}, Duration::seconds(2));
  killer->run(
      "select pg_cancel_backend(pid) from pg_stat_activity where application_name = "
      "'waits'",
      {}, Duration::seconds(2));
  uint64_t looks = 0;
  while (seconds_since(away) < 4) {
    const checker::Answer answer = reader->run("select count(*) from g", {}, Duration::seconds(30));
    ASSERT_TRUE(answer.done()) << answer.message();
    ASSERT_EQ(answer.at(0, 0), "0");
    ++looks;
    sleep_seconds(0.01);
  }
  EXPECT_GT(looks, 50u);
  EXPECT_EQ(acknowledged, 0);
  // The lease is over: nobody is answered at all.
  sleep_seconds(3);
  EXPECT_NE(run_as_postgres("PGHOST=127.0.0.1 PGPORT=" +
                            std::to_string(cluster.layout().first_endpoint_port()) +
                            " timeout 2 psql -X -U postgres -c 'select 1'")
                .exit_code,
            0);
  cluster.resume_safekeeper(2);
  const auto back = Clock::now();
  const checker::Answer late = reader->run("select count(*) from g", {}, Duration::seconds(30));
  ASSERT_TRUE(late.done()) << late.message();
  std::printf("%lu looks; back after %.2f s; rows then: %s\n", looks, seconds_since(back),
              std::string(late.at(0, 0)).c_str());
  for (std::thread& thread : sessions) thread.join();
  EXPECT_EQ(cluster.seen().lives, 1u);
  EXPECT_EQ(cluster.stop_compute(), 0);
}

// Whoever lost the term ends when control says so, and does not take it back.
TEST(Endpoint, ASuccessorIsNotFought) {
  Cluster cluster;
  cluster.start_compute("main");
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  EXPECT_EQ(cluster.sql("create table t as select 1 as i"), "");
  cluster.say_stop("main");
  cluster.start_compute("other");
  ASSERT_TRUE(cluster.wait_state("RUNNING", 60, "other"));
  for (int i = 0; i < 500 && cluster.compute_runs("main"); ++i) sleep_seconds(0.01);
  EXPECT_FALSE(cluster.compute_runs("main")) << cluster.log("compute-main");
  EXPECT_LE(cluster.seen("main").lives, 1u);
  sleep_seconds(0.5);
  EXPECT_EQ(cluster.seen("other").state, "RUNNING");
  EXPECT_EQ(cluster.seen("other").lives, 1u);
  EXPECT_EQ(cluster.stop_compute("other"), 0);
}

// Control that is away ends nothing; a life that ends meanwhile is followed by one when it is back.
TEST(Endpoint, ControlMayBeAway) {
  Cluster cluster;
  cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  EXPECT_EQ(cluster.sql("create table t as select 1 as i"), "");
  cluster.hide_control(true);
  sleep_seconds(2);
  EXPECT_EQ(cluster.sql("insert into t values (2)"), "");
  ::kill(cluster.postmaster(), SIGKILL);
  sleep_seconds(1);
  EXPECT_NE(cluster.tool("psql -X -c 'select 1'").exit_code, 0);
  cluster.hide_control(false);
  ASSERT_TRUE(cluster.wait_state("RUNNING", 20)) << cluster.log("compute-main");
  EXPECT_EQ(cluster.seen().lives, 2u);
  EXPECT_EQ(cluster.sql("select count(*) from t"), "2");
  EXPECT_EQ(cluster.stop_compute(), 0);
}

// Storage that restarts is waited for, not an error of a query.
TEST(Endpoint, ThePageserverMayRestart) {
  Cluster cluster;
  cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  EXPECT_EQ(cluster.tool("pgbench -i -s 2 -q").exit_code, 0);
  EXPECT_EQ(cluster.stop_compute(), 0);
  cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  cluster.kill_pageserver();
  std::thread again([&] {
    sleep_seconds(1);
    cluster.start_pageserver();
  });
  EXPECT_EQ(cluster.sql("select count(*), sum(abalance) from pgbench_accounts"), "200000|0");
  again.join();
  EXPECT_EQ(cluster.stop_compute(), 0);
}

// Storage that is gone for moments all the time fails nothing either, not even what must not fail:
// the second half of a prepared transaction reads its status in a critical section.
TEST(Endpoint, ThePageserverMayDieAgainAndAgain) {
  Cluster cluster;
  cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  cluster.sql("alter system set max_prepared_transactions to 10");
  ASSERT_EQ(cluster.tool("pgbench -i -s 4 -q").exit_code, 0);
  EXPECT_EQ(cluster.stop_compute(), 0);
  cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  const std::string script = cluster.directory() + "/two_phase.sql";
  std::ofstream(script) << "\\set a random(1, 400000)\n"
                           "begin;\n"
                           "update pgbench_accounts set abalance = abalance + 1 where aid = :a;\n"
                           "prepare transaction 'p:client_id';\n"
                           "commit prepared 'p:client_id';\n";
  std::atomic<bool> done{false};
  CommandResult bench;
  const int seconds = long_form() ? 60 : 9;
  std::thread load([&] {
    bench = cluster.tool("pgbench -n -c 6 -j 1 -T " + std::to_string(seconds) +
                         " -b tpcb-like@1 -f " + script + "@1");
    done = true;
  });
  int kills = 0;
  while (!done) {
    sleep_seconds(1.5);
    cluster.kill_pageserver();
    sleep_seconds(0.3);
    cluster.start_pageserver();
    ++kills;
    sleep_seconds(2);
  }
  load.join();
  EXPECT_EQ(bench.exit_code, 0) << bench.output;
  EXPECT_NE(bench.output.find("number of failed transactions: 0 "), std::string::npos)
      << bench.output;
  EXPECT_EQ(bench.output.find("aborted"), std::string::npos) << bench.output;
  EXPECT_EQ(cluster.seen().lives, 1u) << cluster.log("compute-main");
  EXPECT_EQ(cluster.sql("select count(*) from pg_prepared_xacts"), "0");
  std::printf("%d kills of the pageserver\n%s", kills, bench.output.c_str());
  EXPECT_EQ(cluster.stop_compute(), 0);
}

// Behind a switch a reader jumps to the next segment, so its zeros belong to the record: a member
// that held the record without them would have an end that nobody can go on from.
TEST(Endpoint, SegmentsAreSwitchedUnderKills) {
  Cluster cluster;
  cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  EXPECT_EQ(cluster.sql("create table t(i int)"), "");
  std::atomic<bool> stopping{false};
  std::atomic<int> acknowledged{0};
  std::thread writer([&] {
    while (!stopping) {
      auto connection = checker::Connection::open(cluster.target());
      while (connection.ok() && !connection->lost() && !stopping) {
        if (connection->run("insert into t values (1)").done()) ++acknowledged;
        connection->run("select pg_switch_wal()");
      }
      sleep_seconds(0.02);
    }
  });
  const int kills = long_form() ? 30 : 4;
  for (int kill = 0; kill < kills; ++kill) {
    const int before = acknowledged;
    while (acknowledged < before + 4) sleep_seconds(0.01);
    sleep_seconds(0.037 * (kill % 7));
    const pid_t victim = cluster.postmaster();
    ASSERT_NE(victim, 0);
    ::kill(victim, SIGKILL);
  }
  const int before = acknowledged;
  while (acknowledged < before + 2) sleep_seconds(0.01);
  stopping = true;
  writer.join();
  const int rows = std::stoi(cluster.sql("select count(*) from t"));
  EXPECT_GE(rows, acknowledged);
  EXPECT_LE(rows, acknowledged + kills + 1);
  std::printf("%d switches, %d kills\n", rows, kills);
  expect_readable_log(cluster);
  EXPECT_EQ(cluster.stop_compute(), 0);
}

// A superuser of the database runs programs as the Postgres user. They see nothing of the agent,
// and the user is this endpoint's alone.
TEST(Endpoint, ProgramsOfPostgresReachNobodyElse) {
  if (::geteuid() != 0) GTEST_SKIP() << "without root all processes are one user's";
  Cluster cluster;
  const pid_t agent = cluster.start_compute();
  ASSERT_TRUE(cluster.wait_state("RUNNING"));
  cluster.sql("create table seen(line text)");
  const auto program = [&](const std::string& command) {
    cluster.sql("truncate seen");
    cluster.sql("copy seen from program '(" + command + ") 2>&1; true'");
    return cluster.sql("select string_agg(line, ' ') from seen");
  };
  const std::string id = std::to_string(agent);
  EXPECT_NE(program("echo here").find("here"), std::string::npos);
  EXPECT_NE(program("cat /proc/" + id + "/environ").find("denied"), std::string::npos);
  EXPECT_NE(program("ls /proc/" + id + "/fd").find("denied"), std::string::npos);
  EXPECT_NE(program("cat " + cluster.layout().directory() + "/keys/*").find("denied"),
            std::string::npos);
  EXPECT_EQ(program("env | grep -c -e VARVE -e PRELOAD"), "0");
  const std::string own = program("id -u");
  EXPECT_GE(std::stoul(own), 0x70000000u) << cluster.log("compute-main");
  EXPECT_EQ(program("id -G"), own);
  EXPECT_EQ(cluster.stop_compute(), 0);
  cluster.start_compute("other");
  ASSERT_TRUE(cluster.wait_state("RUNNING", 60, "other"));
  EXPECT_NE(program("id -u"), own);
  EXPECT_EQ(cluster.stop_compute("other"), 0);
}

}  // namespace
}  // namespace varve::test
