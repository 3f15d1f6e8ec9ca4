// The real store: what was committed is there again, whatever happens to the process.
#include "control/store/sqlite_store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "control/plan/testing/random_history.h"

namespace varve::control {
namespace {

using testing::RandomHistory;

class HereThread final : public BlockingThread {
 public:
  void run(std::function<void()> work) override { work(); }
};

class Directory {
 public:
  Directory() {
    char name[] = "/tmp/varve_control_XXXXXX";
    VARVE_CHECK(::mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string database() const { return path_ + "/control.sqlite"; }

 private:
  std::string path_;
};

std::unique_ptr<Store> open(const Directory& directory) {
  static HereThread thread;
  auto store = open_sqlite_store(directory.database(), thread);
  EXPECT_TRUE(store.ok()) << store.status().to_string();
  return store.ok() ? std::move(*store) : nullptr;
}

void run_sql(const Directory& directory, const std::string& sql) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(directory.database().c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(database);
  sqlite3_close(database);
}

Status why_not(const Directory& directory) {
  HereThread thread;
  auto store = open_sqlite_store(directory.database(), thread);
  return store.ok() ? (*store)->load().status() : store.status();
}

TEST(SqliteStore, IsEmptyAtFirst) {
  const Directory directory;
  const Result<State> state = open(directory)->load();
  ASSERT_TRUE(state.ok());
  EXPECT_EQ(*state, State());
}

void hold_history(uint64_t seed) {
  const Directory directory;
  RandomHistory history(seed);
  std::unique_ptr<Store> store = open(directory);
  for (int i = 0; i < 120; ++i) {
    const uint64_t version = history.state().version;
    const Changes changes = history.step();
    if (changes.empty()) continue;
    ASSERT_TRUE(store->commit(version, Incarnation(1), changes).outcome == CommitOutcome::kDone);
    ASSERT_TRUE(store->commit(version, Incarnation(1), changes).outcome ==
                CommitOutcome::kConflict);
    if (i % 30 == 0) {
      store.reset();
      store = open(directory);
    }
  }
  const Result<State> state = store->load();
  ASSERT_TRUE(state.ok());
  ASSERT_TRUE(*state == history.state());
}

// Few histories, since every commit is a sync of a real disk.
TEST(SqliteStore, HoldsEveryHistory) {
  for (uint64_t seed = 0; seed < 6; ++seed) hold_history(seed);
}

TEST(SqliteStore, ACommitThatFailsHalfWayLeavesNothing) {
  const Directory directory;
  std::unique_ptr<Store> store = open(directory);
  Changes changes;
  Endpoint endpoint;
  endpoint.name = "a";
  endpoint.port = 7700;
  changes.put(endpoint);
  endpoint.name = "b";  // the same port: refused by the index
  changes.put(endpoint);
  const Committed committed = store->commit(0, Incarnation(1), changes);
  EXPECT_EQ(committed.outcome, CommitOutcome::kUnknown);
  EXPECT_FALSE(committed.why.ok());
  EXPECT_EQ(*store->load(), State());
  Changes good;
  good.put(Registration{NodeId(21), Incarnation(~uint64_t{0})});
  EXPECT_EQ(store->commit(0, Incarnation(1), good).outcome, CommitOutcome::kDone);
  EXPECT_EQ(store->load()->pageservers.at(NodeId(21)).incarnation.value, ~uint64_t{0});
}

TEST(SqliteStore, ASecondProcessIsRefused) {
  const Directory directory;
  const std::unique_ptr<Store> store = open(directory);
  ASSERT_EQ(store->commit(0, Incarnation(1), Changes()).outcome, CommitOutcome::kDone);
  const Status status = why_not(directory);
  EXPECT_TRUE(status.is(Code::kRefused)) << status.to_string();
}

TEST(SqliteStore, ForeignFilesAreRefused) {
  const Directory newer;
  open(newer);
  run_sql(newer, "PRAGMA user_version = 2");
  EXPECT_TRUE(why_not(newer).is(Code::kUnsupported));
  const Directory foreign;
  run_sql(foreign, "CREATE TABLE t (x)");
  EXPECT_TRUE(why_not(foreign).is(Code::kCorrupt));
  const Directory garbage;
  std::FILE* file = std::fopen(garbage.database().c_str(), "w");
  std::fputs(std::string(9000, 'x').c_str(), file);
  std::fclose(file);
  EXPECT_TRUE(why_not(garbage).is(Code::kCorrupt));
}

TEST(SqliteStore, RowsThatWeDoNotWriteAreCorrupt) {
  const std::string project =
      "INSERT INTO projects VALUES (zeroblob(16), 'p', 2, 150008, 0, 1, 1, 16777216, "
      "zeroblob(16));";
  for (const std::string& sql : {
           std::string("INSERT INTO projects VALUES (zeroblob(16), 'p', 4, 1, 1, 1, 1, 1, "
                       "zeroblob(16))"),
           std::string("INSERT INTO projects VALUES (zeroblob(16), 'p', 2, 1, 1, 1, 1, 1, x'00')"),
           // A branch without its project, and one whose parent is missing.
           std::string("INSERT INTO branches VALUES (zeroblob(16), zeroblob(16), 'b', 2, NULL, 8, "
                       "0, '', zeroblob(16))"),
           project + "INSERT INTO branches VALUES (zeroblob(16), x'00112233445566778899aabbccddeeff"
                     "', 'b', 2, zeroblob(16), 8, 0, '', zeroblob(16))",
           project + "INSERT INTO branches VALUES (zeroblob(16), zeroblob(16), 'b', 2, NULL, 8, "
                     "0, '11 x', zeroblob(16))",
           std::string("DELETE FROM head"),
       }) {
    const Directory directory;
    open(directory);
    run_sql(directory, sql);
    const Status status = why_not(directory);
    EXPECT_TRUE(status.is(Code::kCorrupt)) << sql << ": " << status.to_string();
  }
}

// A process that is killed while it commits: everything that it has told of is there, and at most
// one more.
TEST(SqliteStore, AKilledProcessLosesNothingItHasTold) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const Directory directory;
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      RandomHistory history(seed);
      HereThread thread;
      auto store = open_sqlite_store(directory.database(), thread);
      for (;;) {
        const uint64_t version = history.state().version;
        const Changes changes = history.step();
        if (changes.empty()) continue;
        if ((*store)->commit(version, Incarnation(1), changes).outcome != CommitOutcome::kDone)
          ::_exit(1);
        const uint64_t told = version + 1;
        if (::write(pipe[1], &told, sizeof told) != sizeof told) ::_exit(1);
      }
    }
    ::close(pipe[1]);
    uint64_t told = 0;
    uint64_t next = 0;
    bool killed = false;
    while (::read(pipe[0], &next, sizeof next) == sizeof next) {
      told = next;
      if (told >= 40 + 13 * seed && !killed) {
        ::kill(child, SIGKILL);
        killed = true;
      }
    }
    ::close(pipe[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    const Result<State> found = open(directory)->load();
    ASSERT_TRUE(found.ok()) << found.status().to_string();
    EXPECT_GE(found->version, told);
    EXPECT_LE(found->version, told + 1);
    RandomHistory again(seed);
    while (again.state().version < found->version) again.step();
    EXPECT_EQ(*found, again.state());
  }
}

}  // namespace
}  // namespace varve::control
