// The real PostgresHost under a real Postgres 15: starts from a plan, survives nothing that it must
// not survive, and refuses to run without its shim.
//
// With --agent as first argument this program is the process that runs a compute and is killed.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "real_io/main_world.h"
#include "real_io/postgres/binary.h"
#include "tests/compute/host_compute.h"
#include "tests/wal/stock_server.h"

namespace varve::test {
namespace {

namespace fs = std::filesystem;
using real_io::RealWorld;

constexpr char kBin[] = "/usr/lib/postgresql/15/bin/";
constexpr char kSums[] =
    "select sum(abalance)||' '||count(*)||' '||sum(aid)||' '||sum(hashtext(filler)) from "
    "pgbench_accounts";
const char* g_self = nullptr;
uint64_t g_nonce = 0;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Incarnation fresh_nonce() {
  return Incarnation((static_cast<uint64_t>(::getpid()) << 32) | ++g_nonce);
}

real_io::PostgresHostOptions options_in(const std::string& root) {
  real_io::PostgresHostOptions options;
  options.directory = root + "/computes";
  options.shim = VARVE_SHIM;
  options.output_path = root + "/postgres.log";
  return options;
}

// Processes that work below `directory`.
std::string processes_in(const std::string& directory) {
  std::string text =
      run_as_postgres("for p in /proc/[0-9]*; do readlink $p/cwd; done 2>/dev/null | grep -c '^" +
                      directory + "' || true")
          .output;
  return text.substr(0, text.find('\n'));
}

class PostgresHostTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    original_ = new StockServer("shared_buffers=32MB");
    original_->start();
    original_->sql("postgres", "create extension amcheck");
    ASSERT_EQ(original_->tool("pgbench -i -s 3 -q postgres").exit_code, 0);
    sums_ = original_->sql("postgres", kSums);
    while (!sums_.empty() && sums_.back() == '\n') sums_.pop_back();
    original_->stop("fast");
  }
  static void TearDownTestSuite() { delete original_; }

  void SetUp() override {
    root_ = original_->directory() + "/host";
    fs::remove_all(root_);
    fs::create_directory(root_);
    fs::permissions(root_, fs::perms(0755));
  }

  // Runs `body` in a world of its own; commands go to `shell`, so that the loop goes on.
  void in_world(real_io::PostgresHostOptions options,
                std::function<Status(RealWorld&, PostgresHost&)> body) {
    real_io::RealOptions world_options;
    world_options.root = root_;
    auto world = RealWorld::create(world_options);
    ASSERT_TRUE(world.ok()) << world.status().to_string();
    const Status status = (*world)->run([&](RealWorld& real) -> Status {
      real_io::ThreadPool shell(real.reactor(), 2);
      shell_ = &shell;
      VARVE_TRY_ASSIGN(auto host,
                       real_io::make_postgres_host(real.reactor(), real.world().log, options));
      return body(real, *host);
    });
    EXPECT_TRUE(status.ok()) << status.to_string() << "\n" << log();
  }
  CommandResult run(const std::string& command) {
    auto result = real_io::run_on(*shell_, "a command",
                                  [command](real_io::Syscalls&) -> Result<CommandResult> {
                                    return run_as_postgres(command);
                                  });
    return result.ok() ? *result : CommandResult{-1, result.status().to_string()};
  }
  CommandResult tool(const std::string& sockets, const std::string& command) {
    return run("PGHOST=" + sockets + " PGPORT=5432 PGUSER=postgres " + kBin + command + " 2>&1");
  }
  std::string sql(const std::string& sockets, const std::string& statements) {
    std::string text = tool(sockets, "psql -X -A -t -d postgres -c \"" + statements + "\"").output;
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }
  std::string log() {
    std::ifstream in(root_ + "/postgres.log");
    return {std::istreambuf_iterator<char>(in), {}};
  }

  static StockServer* original_;
  static std::string sums_;
  std::string root_;
  real_io::ThreadPool* shell_ = nullptr;
};
StockServer* PostgresHostTest::original_ = nullptr;
std::string PostgresHostTest::sums_;

TEST_F(PostgresHostTest, RunsFromAPlan) {
  real_io::PostgresHostOptions options = options_in(root_);
  std::string announced;
  // Whatever a host does with users, its own supervisor's death still reaches it.
  ASSERT_EQ(::prctl(PR_SET_PDEATHSIG, SIGCONT), 0);
  options.on_ready = [&](const real_io::RealPostgresLife& life) { announced = life.directory(); };
  in_world(options, [&](RealWorld&, PostgresHost& host) -> Status {
    HostCompute compute(host, original_->data(), {"shared_buffers=16MB"});
    const auto began = std::chrono::steady_clock::now();
    VARVE_TRY(compute.start(fresh_nonce()));
    const double ready = seconds_since(began);
    const std::string sockets = compute.sockets();
    EXPECT_EQ(sql(sockets, "select count(*) from pgbench_branches"), "3");
    std::printf("ready after %.3f s, first row after %.3f s, %lu pages\n", ready,
                seconds_since(began), compute.pages());
    // Hints: a bitmap scan announces its pages, which are filled by us and then read by it.
    sql(sockets,
        "set enable_seqscan=off; set enable_indexscan=off; set effective_io_concurrency=8; select "
        "count(filler) from pgbench_accounts where aid > 100000 and aid % 3 = 0");
    EXPECT_GT(compute.prefetched(), 100u);
    EXPECT_EQ(sql(sockets, kSums), sums_);
    for (const char* setting : {"fsync to off", "wal_sync_method to open_datasync"})
      sql(sockets, std::string("alter system set ") + setting);
    sql(sockets, "select pg_reload_conf()");
    EXPECT_EQ(sql(sockets, "select current_setting('fsync')||current_setting('wal_sync_method')"),
              "onfdatasync");
    const CommandResult bench = tool(sockets, "pgbench -n -c 8 -j 2 -T 5 postgres");
    EXPECT_EQ(bench.exit_code, 0) << bench.output << log();
    EXPECT_EQ(sql(sockets,
                  "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from "
                  "pgbench_history) and (select sum(bbalance) from pgbench_branches) = (select "
                  "sum(tbalance) from pgbench_tellers)"),
              "t");
    const CommandResult amcheck = tool(sockets, "pg_amcheck --heapallindexed -d postgres");
    EXPECT_EQ(amcheck.exit_code, 0) << amcheck.output;
    const size_t latency = bench.output.find("latency");
    std::printf("%s%lu pages fetched, %lu for hints, %lu tickets\n",
                latency == std::string::npos ? "" : bench.output.substr(latency).c_str(),
                compute.pages(), compute.prefetched(), compute.passes());
    EXPECT_EQ(compute.kill_text(), "");
    EXPECT_EQ(announced, compute.life().directory());
    EXPECT_GT(compute.passes(), 100u);
    VARVE_TRY(compute.life().stop(PostgresStop::kFast));
    VARVE_TRY_ASSIGN(const PostgresExit exit, compute.life().wait_exit());
    EXPECT_EQ(exit.code, 0) << exit.reason;
    EXPECT_FALSE(fs::exists(compute.life().directory() + "/control"));
    return Status();
  });
  int death_signal = 0;
  ASSERT_EQ(::prctl(PR_GET_PDEATHSIG, &death_signal), 0);
  EXPECT_EQ(death_signal, SIGCONT);
  EXPECT_EQ(::prctl(PR_GET_DUMPABLE), 1);
  // Nothing is left of it.
  EXPECT_TRUE(fs::is_empty(root_ + "/computes"));
}

TEST_F(PostgresHostTest, NoCommitBeforeTheQuorum) {
  in_world(options_in(root_), [&](RealWorld&, PostgresHost& host) -> Status {
    HostCompute compute(host, original_->data(), {});
    VARVE_TRY(compute.start(fresh_nonce()));
    const std::string sockets = compute.sockets();
    EXPECT_EQ(sql(sockets, "create table g(i int)"), "CREATE TABLE");
    compute.hold_quorum = true;
    const CommandResult held = run("PGHOST=" + sockets + " timeout 2 " + kBin +
                                   "psql -X -d postgres -c 'insert into g values (1)' 2>&1");
    EXPECT_EQ(held.exit_code, 124) << held.output;
    EXPECT_EQ(sql(sockets, "select count(*) from g"), "0");
    compute.hold_quorum = false;
    VARVE_TRY(sleep_for(Duration::millis(300)));
    EXPECT_EQ(sql(sockets, "select count(*) from g"), "1");
    return Status();
  });
}

TEST_F(PostgresHostTest, PausesAndGoesOn) {
  in_world(options_in(root_), [&](RealWorld&, PostgresHost& host) -> Status {
    HostCompute compute(host, original_->data(), {});
    VARVE_TRY(compute.start(fresh_nonce()));
    const std::string query = "PGHOST=" + compute.sockets() + " timeout 2 " + kBin +
                              "psql -X -A -t -d postgres -c 'select 1' 2>&1";
    VARVE_TRY(compute.life().pause());
    EXPECT_EQ(run(query).exit_code, 124);
    VARVE_TRY(compute.life().resume());
    EXPECT_EQ(run(query).output, "1\n");
    VARVE_TRY(compute.life().pause());
    const auto began = std::chrono::steady_clock::now();
    VARVE_TRY(compute.life().stop(PostgresStop::kKill));
    EXPECT_LT(seconds_since(began), 2.0);
    EXPECT_EQ(processes_in(compute.life().directory()), "0");
    return Status();
  });
}

TEST_F(PostgresHostTest, NoBackendOutlivesThePostmaster) {
  in_world(options_in(root_), [&](RealWorld&, PostgresHost& host) -> Status {
    std::string first;
    {
      HostCompute compute(host, original_->data(), {});
      VARVE_TRY(compute.start(fresh_nonce()));
      first = compute.life().directory();
      // A busy backend, and a program of its own that has left every group and the directory.
      run("PGHOST=" + compute.sockets() + " " + kBin +
          "psql -X -d postgres -c 'select sum(i) from generate_series(1, 1000000000) i' > "
          "/dev/null 2>&1 &");
      sql(compute.sockets(),
          "copy (select 1) to program '(cd / && sleep 321.5) > /dev/null 2>&1 &'");
      VARVE_TRY(sleep_for(Duration::millis(300)));
      EXPECT_EQ(run("pgrep -f 'sleep 321[.]5' | wc -l").output, "1\n");
      const auto began = std::chrono::steady_clock::now();
      ::kill(static_cast<pid_t>(compute.life().postmaster()), SIGKILL);
      VARVE_TRY_ASSIGN(const PostgresExit exit, compute.life().wait_exit());
      EXPECT_LT(seconds_since(began), 2.0);
      EXPECT_EQ(exit.code, 128 + SIGKILL);
      EXPECT_EQ(processes_in(first), "0");
      EXPECT_EQ(run("pgrep -f 'sleep 321[.]5' | wc -l").output, "0\n");
      EXPECT_FALSE(fs::exists(first + "/control"));
    }
    HostCompute compute(host, original_->data(), {});
    VARVE_TRY(compute.start(fresh_nonce()));
    EXPECT_NE(compute.life().directory(), first);
    EXPECT_EQ(sql(compute.sockets(), kSums), sums_);
    return Status();
  });
}

TEST_F(PostgresHostTest, NothingOutlivesTheAgent) {
  const std::string told = root_ + "/directory";
  const pid_t agent = ::fork();
  if (agent == 0) {
    ::execl(g_self, g_self, "--agent", original_->data().c_str(), root_.c_str(), told.c_str(),
            nullptr);
    ::_exit(127);
  }
  std::string directory;
  for (int i = 0; i < 3000 && directory.empty(); ++i) {
    ::usleep(20000);
    std::ifstream(told) >> directory;
  }
  ASSERT_FALSE(directory.empty()) << log();
  run_as_postgres("PGHOST=" + directory + "/run " + kBin +
                  "psql -X -d postgres -c 'select sum(i) from generate_series(1, 1000000000) i' > "
                  "/dev/null 2>&1 &");
  ::usleep(300000);
  EXPECT_NE(processes_in(directory), "0");
  ::kill(agent, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(agent, &status, 0), agent);
  const auto began = std::chrono::steady_clock::now();
  while (processes_in(directory) != "0" && seconds_since(began) < 10) ::usleep(20000);
  EXPECT_LT(seconds_since(began), 2.0);
  ASSERT_TRUE(fs::exists(directory));
  // Nobody was left to make it useless; it is so by itself, for whoever starts Postgres by hand.
  ASSERT_TRUE(fs::exists(directory + "/control"));
  fs::remove(directory + "/data/postmaster.pid");
  const CommandResult by_hand =
      run_as_postgres("timeout 20 " + std::string(kBin) + "postgres -D " + directory +
                      "/data -c listen_addresses= -c unix_socket_directories=/tmp 2>&1");
  EXPECT_EQ(by_hand.exit_code, 1) << by_hand.output;
  EXPECT_NE(by_hand.output.find("incompatible with server"), std::string::npos) << by_hand.output;
  in_world(options_in(root_), [&](RealWorld&, PostgresHost& host) -> Status {
    HostCompute compute(host, original_->data(), {});
    VARVE_TRY(compute.start(fresh_nonce()));
    EXPECT_FALSE(fs::exists(directory));  // a leftover is removed, never used
    EXPECT_EQ(sql(compute.sockets(), kSums), sums_);
    return Status();
  });
}

TEST_F(PostgresHostTest, NoShimNoStart) {
  for (const char* damage : {"missing", "truncated", "no library", "another library"}) {
    real_io::PostgresHostOptions options = options_in(root_);
    options.shim = root_ + "/shim.so";
    options.hello_limit_ms = 5000;
    fs::remove(options.shim);
    if (std::string(damage) == "truncated") {
      fs::copy_file(VARVE_SHIM, options.shim);
      fs::resize_file(options.shim, fs::file_size(options.shim) / 2);
    } else if (std::string(damage) == "no library") {
      std::ofstream(options.shim) << "not a library";
    } else if (std::string(damage) == "another library") {
      fs::copy_file("/lib/x86_64-linux-gnu/libm.so.6", options.shim);
    }
    in_world(options, [&](RealWorld&, PostgresHost& host) -> Status {
      HostCompute compute(host, original_->data(), {});
      const Status status = compute.start(fresh_nonce());
      EXPECT_FALSE(status.ok()) << damage;
      EXPECT_FALSE(status.is(Code::kInternal));
      std::printf("%s: %s\n", damage, status.to_string().c_str());
      EXPECT_NE(status.to_string().find("shim"), std::string::npos);
      return Status();
    });
    EXPECT_TRUE(!fs::exists(root_ + "/computes") || fs::is_empty(root_ + "/computes"));
  }
}

// A library that loads, whose symbols cover Postgres, and that never says hello.
TEST_F(PostgresHostTest, AShimThatIsNotLoadedIsNoticed) {
  real_io::PostgresHostOptions options = options_in(root_);
  options.shim = root_ + "/shim.so";
  options.hello_limit_ms = 5000;
  fs::copy_file(VARVE_SHIM, options.shim);
  // Its constructor's strings still there, its name of the environment spoiled: it looks away.
  std::fstream file(options.shim, std::ios::in | std::ios::out | std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const size_t at = bytes.find("VARVE_ARENA_FD");
  ASSERT_NE(at, std::string::npos);
  file.clear();
  file.seekp(static_cast<std::streamoff>(at));
  file << 'X';
  file.close();
  in_world(options, [&](RealWorld&, PostgresHost& host) -> Status {
    HostCompute compute(host, original_->data(), {});
    const Status status = compute.start(fresh_nonce());
    EXPECT_TRUE(status.is(Code::kRefused)) << status.to_string();
    std::printf("%s\n", status.to_string().c_str());
    return Status();
  });
  EXPECT_TRUE(fs::is_empty(root_ + "/computes"));
}

TEST_F(PostgresHostTest, ADirectoryThatPostgresCannotEnterIsLeft) {
  if (::geteuid() != 0) GTEST_SKIP() << "another user's directory needs root";
  const std::string closed = root_ + "/closed";
  fs::create_directory(closed);
  fs::permissions(closed, fs::perms(0700));
  const std::string deep = root_ + "/" + std::string(100, 'x');
  for (const std::string& place : {closed, deep}) {
    real_io::PostgresHostOptions options = options_in(root_);
    options.directory = place + "/computes";
    std::string moved;
    in_world(options, [&](RealWorld&, PostgresHost& host) -> Status {
      HostCompute compute(host, original_->data(), {});
      VARVE_TRY(compute.start(fresh_nonce()));
      moved = compute.life().directory();
      EXPECT_EQ(sql(compute.sockets(), "select count(*) from pgbench_branches"), "3");
      return Status();
    });
    EXPECT_TRUE(moved.starts_with("/var/lib/varve/") || moved.starts_with("/run/varve/")) << moved;
    std::error_code gone;
    fs::remove(fs::path(moved).parent_path(), gone);
  }
}

TEST(Binary, FileCallsThatNobodyCovers) {
  const std::vector<std::string> covered = {"pread", "open", "fopen64"};
  const std::vector<std::string> wanted = {
      "pread",   "preadv2",  "open64",          "opendir", "strlen",   "io_uring_enter",
      "readdir", "closelog", "copy_file_range", "fopen64", "ftruncate"};
  using Names = std::vector<std::string>;
  EXPECT_EQ(real_io::uncovered_file_calls(wanted, covered, false),
            (Names{"preadv2", "open64", "copy_file_range", "ftruncate"}));
  EXPECT_EQ(real_io::uncovered_file_calls(wanted, covered, true),
            (Names{"preadv2", "open64", "io_uring_enter", "copy_file_range", "ftruncate"}));
}

int run_agent(const std::string& data, const std::string& root, const std::string& told) {
  real_io::RealOptions options;
  options.root = root;
  auto world = RealWorld::create(options);
  if (!world.ok()) return 1;
  const Status status = (*world)->run([&](RealWorld& real) -> Status {
    VARVE_TRY_ASSIGN(
        auto host, real_io::make_postgres_host(real.reactor(), real.world().log, options_in(root)));
    HostCompute compute(*host, data, {});
    VARVE_TRY(compute.start(fresh_nonce()));
    std::ofstream(told) << compute.life().directory() << '\n';
    return compute.life().wait_exit().status();
  });
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace varve::test

int main(int argc, char** argv) {
  if (argc == 5 && std::string(argv[1]) == "--agent")
    return varve::test::run_agent(argv[2], argv[3], argv[4]);
  varve::test::g_self = "/proc/self/exe";
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
