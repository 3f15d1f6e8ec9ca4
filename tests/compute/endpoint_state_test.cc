// What stock Postgres keeps outside of its log, and what becomes of it when a compute is started
// again: one row of docs/state-outside-the-log.md after the other.
#include <gtest/gtest.h>

#include <signal.h>

#include <chrono>
#include <thread>

#include "tests/checker/connection.h"
#include "tests/compute/cluster.h"

namespace varve::test {
namespace {

void sleep_seconds(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

class State : public testing::Test {
 protected:
  void SetUp() override {
    cluster_.start_compute();
    ASSERT_TRUE(cluster_.wait_state("RUNNING")) << cluster_.log("compute-main");
    // Both need a start to take effect, and to outlive it.
    sql("alter system set shared_preload_libraries to 'pg_stat_statements'");
    sql("alter system set max_prepared_transactions to 4");
    sql("create extension pg_stat_statements");
    sql("create table t(i int)");
    sql("create unlogged table u(i int primary key)");
    sql("select pg_replication_origin_create('upstream')");
    wake(false);
  }

  std::string sql(const std::string& statements) { return cluster_.sql(statements); }

  void wake(bool killed) {
    if (killed) {
      sleep_seconds(1.5);  // what ALTER SYSTEM has set is looked at each second
      const uint64_t lives = cluster_.seen().lives;
      ::kill(cluster_.postmaster(), SIGKILL);
      for (int i = 0; i < 600 && cluster_.seen().lives == lives; ++i) sleep_seconds(0.05);
    } else {
      EXPECT_EQ(cluster_.stop_compute(), 0) << cluster_.log("compute-main");
      cluster_.start_compute();
    }
    ASSERT_TRUE(cluster_.wait_state("RUNNING")) << cluster_.log("compute-main");
  }

  void set() {
    // Built from the log.
    sql("begin; insert into t values (1); prepare transaction 'p'");
    sql("select pg_replication_origin_session_setup('upstream'); begin; "
        "select pg_replication_origin_xact_setup('0/ABCDEF0', now()); "
        "insert into t values (2); commit");
    sql("vacuum full pg_class");
    // Kept by the agent.
    EXPECT_EQ(sql("alter system set work_mem to '7MB'"), "");
    // Begins empty.
    sql("insert into u select generate_series(1, 100)");
    sql("select marker from (values (1)) as v(marker)");
    EXPECT_NE(sql("select count(*) from pg_stat_statements where query like '%marker%'"), "0");
    EXPECT_EQ(sql("select count(*) from pg_create_physical_replication_slot('s', true)"), "1");
    // Lost, and told of when it is made.
    sql("copy (select 1) to '" + data() + "/extension.state'");
    sql("copy (select 'local all all trust') to '" + data() + "/pg_ident.conf'");
    // Refused.
    EXPECT_NE(sql("select pg_create_logical_replication_slot('l', 'pgoutput')").find("wal_level"),
              std::string::npos);
  }

  void judge() {
    EXPECT_EQ(sql("select gid from pg_prepared_xacts"), "p");
    EXPECT_EQ(sql("commit prepared 'p'"), "");
    EXPECT_EQ(sql("select string_agg(i::text, ',' order by i) from t"), "1,2");
    EXPECT_EQ(sql("select pg_replication_origin_progress('upstream', false)"), "0/ABCDEF0");
    EXPECT_EQ(sql("show work_mem"), "7MB");
    EXPECT_EQ(sql("show shared_preload_libraries"), "pg_stat_statements");
    EXPECT_EQ(sql("select count(*) from u"), "0");
    EXPECT_EQ(sql("insert into u values (1); select count(*) from u where i = 1"), "1");
    EXPECT_EQ(sql("select count(*) from pg_stat_statements where query like '%marker%' and "
                  "query not like '%count%'"),
              "0");
    EXPECT_EQ(sql("select count(*) from pg_replication_slots"), "0");
    EXPECT_EQ(sql("select (pg_stat_file('extension.state', true)).size is null"), "t");
    EXPECT_EQ(sql("select pg_read_file('pg_ident.conf')"), "");
    const std::string log = cluster_.log("compute-main");
    EXPECT_NE(log.find("extension.state"), std::string::npos);
    EXPECT_NE(log.find("pg_ident.conf"), std::string::npos);
  }

  std::string data() { return sql("show data_directory"); }

  Cluster cluster_;
};

TEST_F(State, OverACleanStop) {
  set();
  wake(false);
  judge();
  EXPECT_EQ(cluster_.stop_compute(), 0);
}

TEST_F(State, OverAKill) {
  set();
  wake(true);
  judge();
  EXPECT_EQ(cluster_.stop_compute(), 0);
}

}  // namespace
}  // namespace varve::test
