#include "control/store/sqlite_store.h"

#include <utility>

#include "control/store/database.h"
#include "control/store/rows.h"

namespace varve::control {
namespace {

// Exclusive: a second process that opens the file is refused at once, instead of finding out at its
// first commit; and the log's index lies in memory instead of in a shared file.
constexpr char kSettings[] = R"sql(
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = OFF;
)sql";

// Everything of the database, touched on its thread only.
struct Opened {
  std::unique_ptr<Database> database;
  std::unique_ptr<Rows> rows;
  Statement head;
  Statement advance;
  Statement begin;
  Statement end;

  Status open(const std::string& path) {
    VARVE_TRY_ASSIGN(database, Database::open(path));
    VARVE_TRY(database->execute(kSettings));
    VARVE_TRY(prepare_schema(*database));
    VARVE_TRY_ASSIGN(rows, Rows::prepare(*database));
    VARVE_TRY_ASSIGN(head, database->prepare("SELECT version, writer FROM head"));
    VARVE_TRY_ASSIGN(advance, database->prepare("UPDATE head SET version = version + 1, "
                                                "writer = ? WHERE version = ?"));
    VARVE_TRY_ASSIGN(begin, database->prepare("BEGIN IMMEDIATE"));
    VARVE_TRY_ASSIGN(end, database->prepare("COMMIT"));
    return Status();
  }

  Result<State> load() {
    State state;
    VARVE_TRY_ASSIGN(const bool row, head.step());
    if (!row) return Status(Code::kCorrupt, "control's database has no head");
    state.version = head.number();
    state.writer = Incarnation(head.number());
    head.reset();
    VARVE_TRY(rows->read(state));
    const std::string bad = inconsistency(state);
    if (!bad.empty()) return Status(Code::kCorrupt, "control's database: " + bad);
    return state;
  }

  // True: committed; false: another version. After an error nothing of it is open any more.
  Result<bool> commit(uint64_t expected, Incarnation writer, const Changes& changes) {
    Result<bool> done = try_commit(expected, writer, changes);
    if (!done.ok() || !*done) {
      database->execute("ROLLBACK").ignore("nothing may be open; the first error counts");
    }
    return done;
  }

  Result<bool> try_commit(uint64_t expected, Incarnation writer, const Changes& changes) {
    VARVE_TRY(begin.run());
    VARVE_TRY(advance.bind(writer.value).bind(expected).run());
    if (database->changed() == 0) return false;
    for (const Change& change : changes.list()) VARVE_TRY(rows->write(change));
    VARVE_TRY(end.run());
    return true;
  }
};

class SqliteStore final : public Store {
 public:
  SqliteStore(BlockingThread& thread, std::unique_ptr<Opened> opened)
      : thread_(thread), opened_(std::move(opened)) {}
  ~SqliteStore() override {
    thread_.run([this] { opened_.reset(); });
  }

  Result<State> load() override {
    Result<State> state = Status(Code::kInternal, "the thread did not run");
    thread_.run([&] { state = opened_->load(); });
    return state;
  }

  Committed commit(uint64_t expected, Incarnation writer, const Changes& changes) override {
    Result<bool> done = Status(Code::kInternal, "the thread did not run");
    thread_.run([&] { done = opened_->commit(expected, writer, changes); });
    if (!done.ok()) return {CommitOutcome::kUnknown, done.status()};
    return {*done ? CommitOutcome::kDone : CommitOutcome::kConflict, Status()};
  }

 private:
  BlockingThread& thread_;
  std::unique_ptr<Opened> opened_;
};

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite_store(const std::string& path, BlockingThread& thread) {
  auto opened = std::make_unique<Opened>();
  Status status;
  thread.run([&] {
    status = opened->open(path);
    if (!status.ok()) opened.reset();
  });
  if (!status.ok()) return std::move(status).with_context("control's store");
  return std::unique_ptr<Store>(std::make_unique<SqliteStore>(thread, std::move(opened)));
}

}  // namespace varve::control
