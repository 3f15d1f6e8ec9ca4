#include "tools/demo/story.h"

#include <fmt/format.h>

#include <filesystem>

#include "tools/varve/moment.h"

namespace varve::demo {

using checker::Connection;
using checker::Expectation;
using checker::Findings;
using checker::Journal;
using checker::JournalPosition;
using checker::Workload;

namespace {

constexpr uint32_t kAccounts = 20;
constexpr uint32_t kSessions = 8;
constexpr char kNotes[] = "5000";  // rows of the table that is dropped
// Of the sessions on the other branch: numbers that main's never have.
constexpr uint32_t kFirstFeatureSession = 101;
const Duration kProgressLimit = Duration::seconds(60);

Result<std::string> judged(const Result<Findings>& found) {
  VARVE_TRY(found.status());
  if (!found->hold()) return Status(Code::kCorrupt, found->summary());
  return found->summary();
}

std::string millis(Duration duration) {
  return fmt::format("{} ms", duration.to_millis());
}

}  // namespace

Story::Story(StoryOptions options, Narrator& narrator)
    : options_(std::move(options)), narrator_(narrator) {}

Status Story::tell() {
  VARVE_TRY(begin());
  VARVE_TRY(branch_and_diverge());
  VARVE_TRY(kill_parts_under_load());
  VARVE_TRY(read_the_past());
  VARVE_TRY(lose_the_disks());
  VARVE_TRY(cut_the_power());
  return end();
}

Status Story::begin() {
  narrator_.chapter("A new Varve: control, three safekeepers, a pageserver, a stock Postgres");
  const std::string directory = options_.scratch + "/varve";
  VARVE_TRY(narrator_.step("varve up", [&]() -> Result<std::string> {
    VARVE_TRY_ASSIGN(cluster_, product::Cluster::start(
                                   {.executable = options_.executable, .directory = directory}));
    return directory;
  }));
  VARVE_TRY(
      narrator_.step("create a project and start main's endpoint", [&]() -> Result<std::string> {
        VARVE_TRY_ASSIGN(target_, cluster_->endpoint("main"));
        return target_;
      }));
  VARVE_TRY(narrator_.step("create tables and accounts", [&]() -> Result<std::string> {
    VARVE_TRY_ASSIGN(journal_,
                     Journal::create(options_.scratch + "/main.journal", 0x5eed, kAccounts));
    VARVE_TRY_ASSIGN(Connection connection,
                     Connection::open_patiently(target_, Duration::seconds(10)));
    VARVE_TRY(checker::make_tables(connection, *journal_));
    VARVE_TRY(connection
                  .run(std::string("create table notes as select i, md5(i::text) from "
                                   "generate_series(1, ") +
                       kNotes + ") i")
                  .status());
    return connection.value("select version()");
  }));
  start_load();
  return narrator_.step("8 clients insert rows and transfer money", [&]() -> Result<std::string> {
    if (!load_->wait_for_progress(2000, kProgressLimit))
      return Status(Code::kDeadlineExceeded, "no progress; " + load_->last_trouble());
    return std::string("2000 transactions acknowledged; they go on");
  });
}

Status Story::branch_and_diverge() {
  narrator_.chapter("Branch, and diverge, while main is written to");
  const JournalPosition asked = journal_->position();
  VARVE_TRY(make_branch("feature", {}));
  const JournalPosition answered = journal_->position();
  VARVE_TRY(prove_branch("feature", *journal_, {asked, answered},
                         "wake the branch, and check it against the client's journal"));
  VARVE_TRY_ASSIGN(feature_journal_,
                   journal_->fork(options_.scratch + "/feature.journal", asked, answered));
  VARVE_TRY(narrator_.step("write to the branch", [&]() -> Result<std::string> {
    VARVE_TRY_ASSIGN(const std::string target, cluster_->endpoint("feature"));
    Workload work({.target = target, .sessions = 4, .first_session = kFirstFeatureSession},
                  *feature_journal_);
    if (!work.wait_for_progress(300, kProgressLimit))
      return Status(Code::kDeadlineExceeded, "no progress; " + work.last_trouble());
    work.stop();
    return fmt::format("{} transactions of its own", work.counters().acknowledged);
  }));
  const JournalPosition end = feature_journal_->position();
  VARVE_TRY(prove_branch("feature", *feature_journal_, {end, end},
                         "the branch has its rows and none of what main wrote since"));
  return narrator_.step("note this moment of main, then drop a table",
                        [&]() -> Result<std::string> {
                          VARVE_TRY_ASSIGN(moment_, note_moment());
                          VARVE_TRY_ASSIGN(Connection connection, Connection::open(target_));
                          VARVE_TRY(connection.run("drop table notes").status());
                          return "position " + moment_->lsn + ", time " + moment_->time;
                        });
}

Status Story::read_the_past() {
  narrator_.chapter("Read the past of main: a branch at a position or a time is a read of it");
  for (const bool by_time : {false, true}) {
    tool::BranchPoint point;
    VARVE_TRY(tool::parse_moment(by_time ? moment_->time : moment_->lsn, point));
    VARVE_TRY(make_past_branch(by_time ? "past-by-time" : "past-by-position", point,
                               by_time ? "that time" : "that position"));
  }
  return Status();
}

Status Story::make_past_branch(const std::string& name, const tool::BranchPoint& point,
                               const std::string& title) {
  VARVE_TRY(make_branch(name, point));
  VARVE_TRY(prove_branch(name, *journal_, moment_->expectation, "read the past at " + title));
  VARVE_TRY(narrator_.step("the dropped table is there", [&]() -> Result<std::string> {
    VARVE_TRY_ASSIGN(const std::string target, cluster_->endpoint(name));
    VARVE_TRY_ASSIGN(Connection connection, Connection::open(target));
    VARVE_TRY_ASSIGN(const std::string notes, connection.value("select count(*) from notes"));
    if (notes != kNotes) return Status(Code::kCorrupt, "it has " + notes + " rows");
    return notes + " rows";
  }));
  return narrator_.step("put '" + name + "' to sleep", [&]() -> Result<std::string> {
    VARVE_TRY(cluster_->control([&](tool::ControlClient& client) {
      return client.stop_endpoint(product::Cluster::kProject, name, false);
    }));
    return std::string();
  });
}

Status Story::kill_parts_under_load() {
  narrator_.chapter("kill -9, under load");
  VARVE_TRY(kill_and_go_on("safekeeper-2", "kill -9 one safekeeper of three"));
  const checker::WorkloadCounters counters = load_->counters();
  if (counters.refused + counters.unknown > 0)
    return Status(Code::kInternal,
                  "the loss of one safekeeper was seen by a client: " + load_->last_trouble());
  narrator_.remark("no client saw an error; the longest pause was " + millis(counters.longest_gap));
  VARVE_TRY(kill_and_go_on("pageserver-1", "kill -9 the pageserver"));
  VARVE_TRY(kill_and_go_on("postgres-main", "kill -9 Postgres"));
  VARVE_TRY(kill_and_go_on("compute-main", "kill -9 the whole compute"));
  VARVE_TRY(kill_and_go_on("control", "kill -9 control"));
  VARVE_TRY(stop_load());
  return prove_main("every acknowledged row is on main, and nothing else");
}

Status Story::lose_the_disks() {
  narrator_.chapter("Lose the local disks of the pageserver and the compute, and wake");
  VARVE_TRY(narrator_.step("put main to sleep", [&]() -> Result<std::string> {
    VARVE_TRY(cluster_->control([](tool::ControlClient& client) {
      return client.stop_endpoint(product::Cluster::kProject, "main", false);
    }));
    const bool gone = cluster_->pid_of("compute-main").is(Code::kNotFound);
    if (!gone) return Status(Code::kInternal, "its process still runs");
    return std::string("no process of it is left");
  }));
  VARVE_TRY(narrator_.step("stop everything, as Ctrl-C does", [&]() -> Result<std::string> {
    VARVE_TRY(cluster_->stop());
    return std::string("no process is left");
  }));
  VARVE_TRY(narrator_.step("wipe the directories", [&]() -> Result<std::string> {
    uintmax_t files = 0;
    for (const char* folder : {"pageserver-1", "computes"}) {
      std::error_code failed;
      files += std::filesystem::remove_all(cluster_->directory() + "/" + folder, failed);
      if (failed) return Status(Code::kInternal, failed.message()).with_object(folder);
    }
    return fmt::format("{} files and folders are gone", files);
  }));
  VARVE_TRY(narrator_.step("varve up", [&]() -> Result<std::string> {
    VARVE_TRY(cluster_->start_again());
    return std::string();
  }));
  VARVE_TRY(
      narrator_.step("wake main: from the request to its first row", [&]() -> Result<std::string> {
        VARVE_TRY_ASSIGN(target_, cluster_->endpoint("main"));
        VARVE_TRY_ASSIGN(Connection connection, Connection::open(target_));
        VARVE_TRY(connection.value("select id from checker_operations limit 1").status());
        return std::string();
      }));
  VARVE_TRY(prove_main("every acknowledged row is on main, and nothing else"));
  const JournalPosition end = feature_journal_->position();
  return prove_branch("feature", *feature_journal_, {end, end}, "and on the branch");
}

Status Story::cut_the_power() {
  const char* disk = std::getenv("VARVE_DISK");
  const bool power = disk != nullptr && std::string(disk) == "hold-until-sync";
  narrator_.chapter(power ? "Cut the power, under load" : "kill -9 everything at once, under load");
  if (power)
    narrator_.remark(
        "what safekeepers and pageserver had not synced is lost (control's SQLite is outside of "
        "it)");
  for (int i = 0; i < options_.power_cuts; ++i) {
    start_load();
    if (!load_->wait_for_progress(500, kProgressLimit))
      return Status(Code::kDeadlineExceeded, "no progress; " + load_->last_trouble());
    VARVE_TRY(narrator_.step("all processes are killed", [&]() -> Result<std::string> {
      const size_t processes = cluster_->processes();
      cluster_->kill_everything();
      return fmt::format("{} of them", processes);
    }));
    VARVE_TRY(stop_load());
    VARVE_TRY(narrator_.step("varve up, and wake main", [&]() -> Result<std::string> {
      VARVE_TRY(cluster_->start_again());
      VARVE_TRY_ASSIGN(target_, cluster_->endpoint("main"));
      return std::string();
    }));
    VARVE_TRY(prove_main("every acknowledged row is on main, and nothing else"));
  }
  return Status();
}

Status Story::end() {
  narrator_.chapter("The end");
  return narrator_.step("stop everything, as Ctrl-C does", [&]() -> Result<std::string> {
    VARVE_TRY(cluster_->stop());
    VARVE_TRY(cluster_->no_aborts());
    return std::string("no process is left");
  });
}

Status Story::kill_and_go_on(const std::string& part, const std::string& title) {
  return narrator_.step(title, [&]() -> Result<std::string> {
    VARVE_TRY_ASSIGN(const pid_t former, cluster_->kill(part));
    VARVE_TRY(cluster_->wait_for_next_life(part, former, kProgressLimit));
    if (!load_->wait_for_progress(500, kProgressLimit))
      return Status(Code::kDeadlineExceeded, "no progress; " + load_->last_trouble());
    const checker::WorkloadCounters counters = load_->counters();
    return fmt::format(
        "it lives again, 500 more transactions; so far {} acknowledged, {} refused, "
        "{} without an answer",
        counters.acknowledged, counters.refused, counters.unknown);
  });
}

Status Story::prove_main(const std::string& title) {
  return narrator_.step(title, [&]() -> Result<std::string> {
    VARVE_TRY_ASSIGN(Connection connection,
                     Connection::open_patiently(target_, Duration::seconds(30)));
    return judged(checker::prove_and_remember(connection, *journal_));
  });
}

Status Story::prove_branch(const std::string& branch, const Journal& journal,
                           Expectation expectation, const std::string& title) {
  return narrator_.step(title, [&]() -> Result<std::string> {
    VARVE_TRY_ASSIGN(const std::string target, cluster_->endpoint(branch));
    VARVE_TRY_ASSIGN(Connection connection,
                     Connection::open_patiently(target, Duration::seconds(10)));
    return judged(checker::prove(connection, journal, expectation));
  });
}

Result<Story::Moment> Story::note_moment() {
  Moment moment;
  moment.expectation.from = journal_->position();
  VARVE_TRY_ASSIGN(Connection connection, Connection::open(target_));
  VARVE_TRY_ASSIGN(moment.lsn, connection.value("select pg_current_wal_flush_lsn()"));
  VARVE_TRY_ASSIGN(moment.time, connection.value("select clock_timestamp()"));
  moment.expectation.until = journal_->position();
  return moment;
}

Status Story::make_branch(const std::string& name, const tool::BranchPoint& point) {
  return narrator_.step("create branch '" + name + "'", [&]() -> Result<std::string> {
    tool::BranchInfo made;
    VARVE_TRY(cluster_->control([&](tool::ControlClient& client) -> Status {
      VARVE_TRY_ASSIGN(made, client.create_branch(product::Cluster::kProject, name, point));
      return Status();
    }));
    return "at " + made.start.to_string();
  });
}

void Story::start_load() {
  load_.emplace(checker::WorkloadOptions{.target = target_, .sessions = kSessions}, *journal_);
}

Status Story::stop_load() {
  load_->stop();
  const Status status = load_->status();
  load_.reset();
  return status;
}

}  // namespace varve::demo
