// The checker against a stock Postgres: true when all is well, through a crash too, and each
// planted fault found and named.
#include <gtest/gtest.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/checker/proof.h"
#include "tests/checker/workload.h"
#include "tests/wal/stock_server.h"

namespace varve::checker {
namespace {

constexpr uint64_t kSeed = 20260101;

// A server that says "INSERT 0 1" and dies before the commit that has to follow.
class HastyServer {
 public:
  HastyServer() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~HastyServer() {
    thread_.join();
    close(listener_);
  }
  std::string target() const {
    return "host=127.0.0.1 sslmode=disable user=x dbname=x port=" + std::to_string(port_);
  }

 private:
  void serve() {
    const int client = accept(listener_, nullptr, nullptr);
    char buffer[4096];
    EXPECT_GT(recv(client, buffer, sizeof buffer, 0), 0);
    say(client, std::string("R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", 15));
    EXPECT_GT(recv(client, buffer, sizeof buffer, 0), 0);
    say(client, std::string("1\0\0\0\x04"
                            "2\0\0\0\x04n\0\0\0\x04"
                            "C\0\0\0\x0FINSERT 0 1\0",
                            31));
    close(client);
  }
  static void say(int client, const std::string& bytes) {
    EXPECT_EQ(send(client, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }

  int listener_;
  uint16_t port_ = 0;
  std::thread thread_;
};

class Checker : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new test::StockServer("max_connections = 30");
    server_->start();
  }
  static void TearDownTestSuite() { delete server_; }

  void SetUp() override {
    path_ = server_->directory() + "/journal";
    std::filesystem::remove(path_);
    journal_ = take(Journal::create(path_, kSeed, 8));
    connection_ = take(Connection::open(target()));
    for (const char* table : {"checker_operations", "checker_accounts"})
      sql("drop table if exists " + std::string(table));
    const Status made = make_tables(*connection_, *journal_);
    ASSERT_TRUE(made.ok()) << made.to_string();
  }

  static std::string target() {
    return "host=" + server_->directory() + "/socket user=postgres dbname=postgres";
  }
  template <class T>
  static T take(Result<T> result) {
    if (!result.ok()) ADD_FAILURE() << result.status().to_string();
    return std::move(result).value();
  }
  void sql(const std::string& statement) {
    const Status done = connection_->run(statement).status();
    ASSERT_TRUE(done.ok()) << statement << ": " << done.to_string();
  }
  void work(uint64_t operations) {
    Workload workload({.target = target()}, *journal_);
    EXPECT_TRUE(workload.wait_for_progress(operations, Duration::seconds(60)))
        << workload.last_trouble();
    workload.stop();
    EXPECT_TRUE(workload.status().ok()) << workload.status().to_string();
  }
  Findings find() {
    const JournalPosition now = journal_->position();
    return take(prove(*connection_, *journal_, {now, now}));
  }
  // The one violation that is expected, or a sentence on what was found instead.
  std::string only_violation() {
    const Findings found = find();
    return found.violations == 1 ? found.examples.front() : found.summary();
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }
  Operation first(bool transfer) {
    for (const auto& [id, record] : journal_->operations())
      if ((record.operation.amount != 0) == transfer) return record.operation;
    ADD_FAILURE() << "no such operation";
    return {};
  }

  static inline test::StockServer* server_ = nullptr;
  std::string path_;
  std::unique_ptr<Journal> journal_;
  std::optional<Connection> connection_;
};

TEST_F(Checker, HoldsThroughCrashes) {
  {
    Workload workload({.target = target(), .sessions = 6}, *journal_);
    for (int crash = 0; crash < 3; ++crash) {
      ASSERT_TRUE(workload.wait_for_progress(200, Duration::seconds(60)));
      server_->stop("immediate");
      server_->start();
    }
    ASSERT_TRUE(workload.wait_for_progress(200, Duration::seconds(60))) << workload.last_trouble();
    workload.stop();
    EXPECT_GT(workload.counters().failed_connects + workload.counters().unknown, 0u);
  }
  connection_ = take(Connection::open(target()));
  const Findings found = take(prove_and_remember(*connection_, *journal_));
  EXPECT_TRUE(found.hold()) << found.summary();
  EXPECT_GE(found.promised, 800u);
  EXPECT_EQ(found.rows, found.promised + found.unknown_there);
  // What was seen there is promised from now on.
  EXPECT_EQ(find().promised, found.rows);
}

TEST_F(Checker, NamesALostRow) {
  work(200);
  EXPECT_TRUE(find().hold()) << find().summary();
  sql("delete from checker_operations where id = " + std::to_string(first(false).id));
  EXPECT_TRUE(has(only_violation(), "is lost: it was acknowledged")) << only_violation();
}

TEST_F(Checker, NamesAnInventedRow) {
  work(50);
  sql("insert into checker_operations values (77, 0, 0, 0, 'x')");
  const Findings found = find();
  EXPECT_TRUE(has(found.summary(), "was never sent")) << found.summary();
}

TEST_F(Checker, NamesADuplicate) {
  work(50);
  sql("alter table checker_operations drop constraint checker_operations_pkey");
  sql("create index on checker_operations (id)");
  sql("insert into checker_operations select * from checker_operations where id = " +
      std::to_string(first(false).id));
  EXPECT_TRUE(has(only_violation(), "is there twice")) << only_violation();
}

TEST_F(Checker, NamesAnotherContent) {
  work(50);
  sql("update checker_operations set content = content || '.' where id = " +
      std::to_string(first(false).id));
  EXPECT_TRUE(has(only_violation(), "has another content")) << only_violation();
}

TEST_F(Checker, NamesHalfATransfer) {
  work(50);
  const Operation transfer = first(true);
  sql("update checker_accounts set balance = balance - " + std::to_string(transfer.amount) +
      " where id = " + std::to_string(transfer.credit));
  EXPECT_TRUE(has(only_violation(), "its transfers make it")) << only_violation();
  sql("delete from checker_accounts where id = " + std::to_string(transfer.credit));
  EXPECT_TRUE(has(only_violation(), "is lost")) << only_violation();
}

TEST_F(Checker, NamesARefusedRow) {
  work(20);
  sql("alter table checker_operations add constraint never check (false) not valid");
  Session session({target(), 9}, *journal_);
  EXPECT_EQ(take(session.insert()), Outcome::kRefused);
  EXPECT_EQ(take(session.transfer()), Outcome::kRefused);
  sql("alter table checker_operations drop constraint never");
  EXPECT_TRUE(find().hold()) << find().summary();
  const uint64_t id = (uint64_t{9} << 32) | 1;
  sql("insert into checker_operations values (" + std::to_string(id) + ", 0, 0, 0, '" +
      content_of(kSeed, id) + "')");
  EXPECT_TRUE(has(only_violation(), "was refused")) << only_violation();
}

TEST_F(Checker, NamesARowThatItsIndexMisses) {
  work(20);
  sql("set allow_system_table_mods = on");
  sql("update pg_index set indisready = false where indexrelid = "
      "'checker_operations_pkey'::regclass");
  Session session({target(), 9}, *journal_);
  EXPECT_EQ(take(session.insert()), Outcome::kAcknowledged);
  sql("update pg_index set indisready = true where indexrelid = "
      "'checker_operations_pkey'::regclass");
  EXPECT_TRUE(has(only_violation(), "is not found by the index")) << only_violation();
}

TEST_F(Checker, ABranchHoldsWhatWasPromisedBeforeIt) {
  work(50);
  const JournalPosition asked = journal_->position();
  work(20);
  const JournalPosition answered = journal_->position();
  EXPECT_TRUE(take(prove(*connection_, *journal_, {asked, answered})).hold());
  // Of the rows between, each may be missing; of those before, none.
  Session session({target(), 9}, *journal_);
  EXPECT_EQ(take(session.insert()), Outcome::kAcknowledged);
  const Findings early = take(prove(*connection_, *journal_, {asked, answered}));
  EXPECT_EQ(early.violations, 1u);
  EXPECT_TRUE(has(early.summary(), "was sent only later")) << early.summary();
  sql("delete from checker_operations where id >> 32 = 9");
  EXPECT_TRUE(take(prove(*connection_, *journal_, {asked, answered})).hold());
  EXPECT_TRUE(has(only_violation(), "is lost")) << only_violation();
}

TEST_F(Checker, AForkedJournalGoesItsOwnWay) {
  work(30);
  const JournalPosition asked = journal_->position();
  Operation between;  // sent while the branch was made
  ASSERT_TRUE(journal_->sent(9, between).ok());
  const JournalPosition answered = journal_->position();
  ASSERT_TRUE(journal_->answered(between.id, Outcome::kAcknowledged, "-").ok());
  const std::string path = path_ + ".fork";
  std::filesystem::remove(path);
  const auto forked = take(journal_->fork(path, asked, answered));
  // This database plays the branch: the row between did not make it, which is allowed.
  const auto judge = [&] {
    const JournalPosition now = forked->position();
    return take(prove(*connection_, *forked, {now, now})).summary();
  };
  EXPECT_TRUE(has(judge(), "0 of 1 without")) << judge();
  Session session({target(), 20}, *forked);
  EXPECT_EQ(take(session.transfer()), Outcome::kAcknowledged);
  EXPECT_FALSE(has(judge(), "VIOLATIONS")) << judge();
  // A row of the parent that was written later leaks in.
  Session leak({target(), 9}, *journal_);
  EXPECT_EQ(take(leak.insert()), Outcome::kAcknowledged);
  EXPECT_TRUE(has(judge(), "was never sent")) << judge();
}

TEST_F(Checker, AnAnswerWithoutReadyForQueryIsNone) {
  HastyServer server;
  Session session({server.target(), 1}, *journal_);
  EXPECT_EQ(take(session.insert()), Outcome::kUnknown);
  EXPECT_TRUE(find().hold()) << find().summary();
  EXPECT_EQ(find().unknown_absent, 1u);
}

TEST_F(Checker, WhatWasSeenOnceMustStay) {
  // The row of an operation whose answer never came.
  Operation operation;
  ASSERT_TRUE(journal_->sent(1, operation).ok());
  sql("insert into checker_operations values (" + std::to_string(operation.id) + ", 0, 0, 0, '" +
      content_of(kSeed, operation.id) + "')");
  EXPECT_TRUE(take(prove_and_remember(*connection_, *journal_)).hold());
  sql("delete from checker_operations");
  EXPECT_TRUE(has(only_violation(), "is lost: it was there once")) << only_violation();
}

TEST_F(Checker, TheJournalIsContinued) {
  work(20);
  const auto before = journal_->operations();
  const JournalPosition position = journal_->position();
  journal_.reset();
  std::ofstream(path_, std::ios::app | std::ios::binary) << "acknowledged 42949";
  journal_ = take(Journal::open(path_));
  EXPECT_EQ(journal_->position(), position);
  EXPECT_EQ(journal_->operations().size(), before.size());
  EXPECT_TRUE(find().hold()) << find().summary();
  work(20);
  EXPECT_TRUE(find().hold()) << find().summary();
  EXPECT_EQ(Journal::create(path_, 1, 2).code(), Code::kExists);
  journal_.reset();
  std::ofstream(path_, std::ios::app | std::ios::binary) << "nonsense 1\n";
  EXPECT_EQ(Journal::open(path_).code(), Code::kCorrupt);
}

}  // namespace
}  // namespace varve::checker
