// The whole product as a user has it: `varve up`, stock tools, and processes that die.
//
// VARVE_LONG=1 in the environment makes the long form: pgbench for a minute, a thousand branches.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "tests/checker/proof.h"
#include "tests/checker/workload.h"
#include "tests/product/cluster.h"

namespace varve::product {
namespace {

using checker::Connection;
using checker::Findings;
using checker::Journal;
using checker::JournalPosition;
using checker::Outcome;
using checker::Session;
using checker::Workload;
using std::chrono::seconds;

constexpr uint64_t kSeed = 20260202;

bool long_form() {
  return std::getenv("VARVE_LONG") != nullptr;
}

template <class T>
T take(Result<T> result) {
  if (!result.ok()) ADD_FAILURE() << result.status().to_string();
  return std::move(result).value();
}

void expect_ok(const Status& status) {
  EXPECT_TRUE(status.ok()) << status.to_string();
}

// Of Postgres 15, as a client of the server that listens on `port`; its stdout and stderr.
std::string tool(std::vector<std::string> command, const std::string& port) {
  command[0] = programs::kPostgresPrograms + command[0];
  const std::vector<std::pair<std::string, std::string>> environment = {{"PGHOST", "127.0.0.1"},
                                                                        {"PGPORT", port},
                                                                        {"PGUSER", "postgres"},
                                                                        {"PGDATABASE", "postgres"}};
  const auto result = programs::run({.command = std::move(command), .environment = environment},
                                    Duration::seconds(600));
  if (!result.ok()) return result.status().to_string();
  std::string text = result->out + result->errors;
  if (result->exit_code != 0) text += fmt::format("EXIT CODE {}", result->exit_code);
  return text;
}

std::string port_of(const std::string& target) {
  Connection connection = take(Connection::open_patiently(target, Duration::seconds(30)));
  return take(connection.value("select inet_server_port()"));
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Product : public testing::Test {
 protected:
  Product()
      : scratch_("product"),
        cluster_(take(Cluster::start(
            {.executable = VARVE_EXECUTABLE, .directory = scratch_.path() + "/varve"}))) {
    if (std::getenv("VARVE_KEEP") != nullptr) scratch_.keep();
  }

  void TearDown() override { expect_ok(cluster_->no_aborts()); }

  std::string endpoint(const std::string& branch) { return take(cluster_->endpoint(branch)); }
  void make_tables() {
    journal_ = take(Journal::create(scratch_.path() + "/journal", kSeed, 10));
    Connection connection =
        take(Connection::open_patiently(endpoint("main"), Duration::seconds(10)));
    expect_ok(checker::make_tables(connection, *journal_));
  }
  Status branch(const std::string& name) {
    return cluster_->control([&](tool::ControlClient& client) {
      return client.create_branch(Cluster::kProject, name, {}).status();
    });
  }
  void sleep_branch(const std::string& name) {
    expect_ok(cluster_->control([&](tool::ControlClient& client) -> Status {
      VARVE_TRY(client.stop_endpoint(Cluster::kProject, name, true));
      return client.delete_branch(Cluster::kProject, name);
    }));
  }
  Findings findings(const std::string& name, checker::Expectation expectation) {
    Connection connection = take(Connection::open_patiently(endpoint(name), Duration::seconds(30)));
    return take(checker::prove(connection, *journal_, expectation));
  }
  void check_pgbench(const std::string& name) {
    SCOPED_TRACE(name);
    const std::string target = endpoint(name);
    Connection connection = take(Connection::open_patiently(target, Duration::seconds(30)));
    const auto sum = [&](const std::string& what) { return take(connection.value(what)); };
    const std::string moved = sum("select coalesce(sum(delta), 0) from pgbench_history");
    EXPECT_EQ(sum("select sum(abalance) from pgbench_accounts"), moved);
    EXPECT_EQ(sum("select sum(tbalance) from pgbench_tellers"), moved);
    EXPECT_EQ(sum("select sum(bbalance) from pgbench_branches"), moved);
    EXPECT_NE(sum("select count(*) from pgbench_history"), "0");
    EXPECT_EQ(tool({"pg_amcheck", "--heapallindexed", "--install-missing"}, port_of(target)), "");
  }

  ScratchDirectory scratch_;
  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<Journal> journal_;
};

TEST_F(Product, PgbenchDoesNotNoticeASafekeeperThatDies) {
  const int duration = long_form() ? 60 : 20;
  const std::string port = port_of(endpoint("main"));
  ASSERT_FALSE(has(tool({"pgbench", "-i", "-q", "-s", "10"}, port), "EXIT CODE"));
  std::string report;
  std::thread pgbench([&] {
    report = tool({"pgbench", "-n", "-c", "8", "-j", "2", "-T", std::to_string(duration)}, port);
  });
  for (int kill = 0; kill < duration / 5; ++kill) {
    std::this_thread::sleep_for(seconds(2));
    const std::string victim = fmt::format("safekeeper-{}", 1 + kill % 3);
    const Result<pid_t> former = cluster_->kill(victim);
    expect_ok(former.status());
    if (former.ok())
      expect_ok(cluster_->wait_for_next_life(victim, *former, Duration::seconds(10)));
    std::this_thread::sleep_for(seconds(1));
    if (kill == duration / 10) expect_ok(branch("middle"));
    std::this_thread::sleep_for(seconds(2));
  }
  pgbench.join();
  EXPECT_TRUE(has(report, "number of failed transactions: 0 ")) << report;
  EXPECT_FALSE(has(report, "EXIT CODE")) << report;
  EXPECT_FALSE(has(report, "aborted")) << report;
  check_pgbench("main");
  check_pgbench("middle");
}

TEST_F(Product, WhatWasAcknowledgedIsOnTheBranchThatFollows) {
  make_tables();
  const std::string target = endpoint("main");
  Session session({target, 1}, *journal_);
  const int branches = long_form() ? 1000 : 50;
  for (int i = 0; i < branches; ++i) {
    const std::string name = fmt::format("branch-{}", i);
    SCOPED_TRACE(name);
    // After a kill Postgres is away for a moment.
    Result<Outcome> ended(Outcome::kUnknown);
    for (int attempt = 0; attempt < 2000 && (!ended.ok() || *ended != Outcome::kAcknowledged);
         ++attempt) {
      ended = i % 2 == 0 ? session.insert() : session.transfer();
      if (!ended.ok()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_TRUE(ended.ok() && *ended == Outcome::kAcknowledged) << session.last_trouble();
    if (i % 3 == 0) expect_ok(cluster_->kill("postgres-main").status());
    const JournalPosition position = journal_->position();
    const Status made = branch(name);
    ASSERT_TRUE(made.ok()) << made.to_string();
    const Findings found = findings(name, {position, position});
    ASSERT_TRUE(found.hold()) << found.summary();
    ASSERT_GT(found.promised, static_cast<uint64_t>(i));
    sleep_branch(name);
    if (i % 100 == 99) std::printf("%d branches\n", i + 1);
  }
  Connection connection = take(Connection::open_patiently(target, Duration::seconds(30)));
  const Findings found = take(checker::prove_and_remember(connection, *journal_));
  EXPECT_TRUE(found.hold()) << found.summary();
}

TEST_F(Product, ASupervisorThatDiesTakesAllWithItAndLosesNothing) {
  make_tables();
  for (int life = 0; life < 3; ++life) {
    Workload load({.target = endpoint("main")}, *journal_);
    ASSERT_TRUE(load.wait_for_progress(300, Duration::seconds(60))) << load.last_trouble();
    if (life == 1) {
      expect_ok(cluster_->stop());
    } else {
      expect_ok(cluster_->kill("supervisor").status());
    }
    load.stop();
    // The next one has the same ports, so nobody of the former life may hold them.
    expect_ok(cluster_->start_again());
    const JournalPosition now = journal_->position();
    const Findings found = findings("main", {now, now});
    EXPECT_TRUE(found.hold()) << found.summary();
  }
}

}  // namespace
}  // namespace varve::product
