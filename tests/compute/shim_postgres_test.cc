// Stock Postgres on empty sparse files under the shim: its pages come from a stopped copy, its
// commits go through the real scanner and gate.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "tests/compute/lazy_compute.h"
#include "tests/wal/stock_server.h"

namespace varve::test {
namespace {

namespace fs = std::filesystem;

constexpr char kBin[] = "/usr/lib/postgresql/15/bin/";

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class ShimPostgres : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    original_ =
        new StockServer("shared_buffers=32MB\nmax_prepared_transactions=4\nautovacuum_naptime=1s");
    original_->start();
    original_->sql("postgres", "create extension amcheck");
    ASSERT_EQ(original_->tool("pgbench -i -s 10 -q postgres").exit_code, 0);
    original_->sql("postgres",
                   "create table wide as select i, repeat(md5(i::text), 20) t from "
                   "generate_series(1,20000) i");
    sums_ = original_->sql("postgres", kSums);
    while (!sums_.empty() && sums_.back() == '\n') sums_.pop_back();
    original_->stop("fast");
  }
  static void TearDownTestSuite() { delete original_; }

  void SetUp() override {
    root_ = original_->directory() + "/compute";
    fs::remove_all(root_);
    fs::create_directory(root_);
    fs::permissions(root_, fs::perms::all);
    // The shim must be readable by the user that Postgres runs as.
    fs::copy_file(VARVE_SHIM, root_ + "/libvarve_shim.so");
  }

  LazyComputeOptions options() {
    LazyComputeOptions o;
    o.original = original_->data();
    o.data = root_ + "/data";
    o.shim = root_ + "/libvarve_shim.so";
    o.settings = {"listen_addresses=", "unix_socket_directories=" + root_, "shared_buffers=16MB",
                  "log_min_messages=warning"};
    o.hold_quorum = &hold_;
    o.page_delay_us = &delay_;
    return o;
  }

  CommandResult tool(const std::string& command) {
    return run_as_postgres("PGHOST=" + root_ + " PGUSER=postgres " + kBin + command + " 2>&1");
  }
  std::string sql(const std::string& statements) {
    CommandResult r =
        tool("psql -X -A -t -v ON_ERROR_STOP=1 -d postgres -c \"" + statements + "\"");
    while (!r.output.empty() && r.output.back() == '\n') r.output.pop_back();
    return r.output;
  }
  bool wait_ready() {
    const auto start = std::chrono::steady_clock::now();
    while (seconds_since(start) < 30) {
      if (tool("pg_isready -q").exit_code == 0) return true;
      usleep(20000);
    }
    return false;
  }
  std::string log() {
    const std::vector<uint8_t> bytes = read_file(root_ + "/postgres.log");
    return std::string(bytes.begin(), bytes.end());
  }

  static constexpr char kSums[] =
      "select (select sum(abalance)||' '||count(*)||' '||sum(aid) from pgbench_accounts)||' "
      "'||(select "
      "sum(hashtext(t)::bigint) from wide)";

  static StockServer* original_;
  static std::string sums_;
  std::string root_;
  std::atomic<bool> hold_{false};
  std::atomic<uint32_t> delay_{0};
};

StockServer* ShimPostgres::original_ = nullptr;
std::string ShimPostgres::sums_;

TEST_F(ShimPostgres, RunsOnEmptyFiles) {
  LazyCompute compute(options());
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(compute.start()) << compute.error();
  ASSERT_TRUE(wait_ready()) << log();
  EXPECT_EQ(sql("select count(*) from pgbench_branches"), "10");
  std::printf("first row after %.3f s, %lu pages\n", seconds_since(start), compute.pages_served());
  EXPECT_EQ(sql(kSums), sums_);
  const CommandResult bench = tool("pgbench -n -c 8 -j 2 -T 8 postgres");
  EXPECT_EQ(bench.exit_code, 0) << bench.output << log();
  EXPECT_EQ(sql("select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from "
                "pgbench_history) and "
                "(select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from "
                "pgbench_tellers)"),
            "t");
  EXPECT_EQ(tool("createdb -S wal_log copied -T postgres").exit_code, 0) << log();
  EXPECT_EQ(tool("createdb -S file_copy copied2 -T template1").exit_code, 0) << log();
  EXPECT_EQ(sql("vacuum full wide; "), "VACUUM");
  EXPECT_EQ(sql("create index concurrently on wide(t)"), "CREATE INDEX");
  EXPECT_EQ(sql("begin; truncate wide; rollback; select count(*) from wide"),
            "BEGIN\nTRUNCATE TABLE\nROLLBACK\n20000");
  EXPECT_EQ(sql("delete from pgbench_accounts where aid > 500000"), "DELETE 500000");
  EXPECT_EQ(sql("vacuum pgbench_accounts"), "VACUUM");
  EXPECT_EQ(sql("drop table wide"), "DROP TABLE");
  EXPECT_EQ(sql("checkpoint"), "CHECKPOINT");
  const CommandResult amcheck =
      tool("pg_amcheck --heapallindexed -d postgres -d copied -d copied2");
  EXPECT_EQ(amcheck.exit_code, 0) << amcheck.output;
  EXPECT_EQ(compute.kill_text(), "");
  const varve_counters& c = compute.counters();
  std::printf("%s", bench.output.substr(bench.output.find("latency")).c_str());
  std::printf(
      "fetches %lu, blocks %lu, takeovers %lu, dropped %lu, hints %lu; gate passes %lu, mean %lu "
      "us, log "
      "writes %lu, rewrites %lu, recoveries %lu\n",
      c.fetches, c.fetched_blocks, c.takeovers, c.dropped_blocks, c.prefetch_hints, c.gate_passes,
      c.gate_waits_us / std::max<uint64_t>(1, c.gate_passes), c.wal_writes, c.rewrites,
      c.recoveries);
  EXPECT_GT(c.gate_passes, 100u);
  EXPECT_EQ(compute.stop(SIGINT), 0) << log();
}

// Readers that go past read(): streams, and what programs started by Postgres see of us.
TEST_F(ShimPostgres, OtherReaders) {
  LazyComputeOptions quiet = options();
  quiet.settings.push_back("autovacuum=off");  // it would change what is compared
  LazyCompute compute(quiet);
  ASSERT_TRUE(compute.start()) << compute.error();
  ASSERT_TRUE(wait_ready()) << log();
  const std::string path = sql("select pg_relation_filepath('wide')");
  const std::string local = sql("select md5(pg_read_binary_file('" + path + "'))");
  EXPECT_EQ(run_as_postgres("md5sum < " + original_->data() + "/" + path + " | cut -c1-32").output,
            local + "\n");
  sql("create table e(l text)");
  sql("copy e from program 'env'");
  EXPECT_EQ(sql("select count(*) > 0, count(*) filter (where l ~ 'VARVE|PRELOAD') from e"), "t|0");
  const CommandResult tablespace =
      run_as_postgres("PGHOST=" + root_ + " PGOPTIONS='-c allow_in_place_tablespaces=on' " + kBin +
                      "psql -X -d postgres -c \"create tablespace t location ''\" 2>&1");
  EXPECT_NE(tablespace.output.find("not permitted"), std::string::npos) << tablespace.output;
  EXPECT_EQ(tool("pg_basebackup -X none --no-sync -c fast -D " + root_ + "/backup").exit_code, 0)
      << log();
  EXPECT_EQ(
      run_as_postgres("cmp " + original_->data() + "/" + path + " " + root_ + "/backup/" + path)
          .exit_code,
      0);
  compute.stop(SIGINT);
}

TEST_F(ShimPostgres, NoCommitIsSeenBeforeTheQuorum) {
  LazyCompute compute(options());
  ASSERT_TRUE(compute.start()) << compute.error();
  ASSERT_TRUE(wait_ready()) << log();
  EXPECT_EQ(sql("create table g(i int)"), "CREATE TABLE");
  hold_ = true;
  for (const char* setting : {"fsync=off", "wal_sync_method=open_datasync", "wal_sync_method=fsync",
                              "full_page_writes=on"}) {
    (void)sql("set synchronous_commit=off; alter system set " +
              std::string(setting).replace(std::string(setting).find('='), 1, " to "));
  }
  sql("select pg_reload_conf()");
  usleep(300000);
  const CommandResult insert =
      run_as_postgres("PGHOST=" + root_ + " PGOPTIONS='-c synchronous_commit=local' timeout 2 " +
                      std::string(kBin) + "psql -X -d postgres -c 'insert into g values (1)' 2>&1");
  EXPECT_EQ(insert.exit_code, 124) << insert.output;
  sql("set synchronous_commit=off; select pg_cancel_backend(pid), pg_terminate_backend(pid) from "
      "pg_stat_activity where "
      "query like 'insert%'");
  EXPECT_EQ(sql("select count(*) from g"), "0");
  hold_ = false;
  usleep(300000);
  EXPECT_EQ(sql("select count(*) from g"), "1");
  EXPECT_EQ(sql("show fsync"), "on");
  compute.stop(SIGINT);
}

// Without the shim, or with a broken one, the directory is of no use to anybody.
TEST_F(ShimPostgres, NoShimNoStart) {
  for (const char* damage : {"missing", "truncated"}) {
    fs::remove_all(root_ + "/data");
    LazyComputeOptions o = options();
    if (std::string(damage) == "missing") fs::remove(o.shim);
    if (std::string(damage) == "truncated") {
      fs::copy_file(VARVE_SHIM, o.shim, fs::copy_options::overwrite_existing);
      fs::resize_file(o.shim, 5000);
    }
    LazyCompute compute(o);
    ASSERT_TRUE(compute.start()) << compute.error();
    int status = 0;
    EXPECT_GT(waitpid(compute.pid(), &status, 0), 0);
    EXPECT_NE(status, 0) << damage;
    EXPECT_FALSE(fs::exists(root_ + "/control"));
  }
}

// The agent goes: everything goes, within a second or so.
TEST_F(ShimPostgres, DiesWithItsAgent) {
  LazyCompute compute(options());
  ASSERT_TRUE(compute.start()) << compute.error();
  ASSERT_TRUE(wait_ready()) << log();
  sql("create table g(i int)");
  hold_ = true;
  run_as_postgres("PGHOST=" + root_ + " " + kBin +
                  "psql -X -d postgres -c 'insert into g values (1)' > /dev/null 2>&1 &");
  usleep(500000);
  const auto start = std::chrono::steady_clock::now();
  compute.vanish();
  int status = 0;
  EXPECT_GT(waitpid(compute.pid(), &status, 0), 0);
  EXPECT_LT(seconds_since(start), 3.0);
  usleep(200000);
  EXPECT_EQ(run_as_postgres(
                "for p in $(pgrep -x postgres); do readlink /proc/$p/cwd; done | grep -c " + root_)
                .output,
            "0\n");
}

}  // namespace
}  // namespace varve::test
