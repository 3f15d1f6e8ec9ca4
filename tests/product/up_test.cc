// `varve up` and its verbs against what a machine has in store: wrong directories, taken ports, no
// Postgres, wrong tokens, long and closed paths, impatient users.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/checker/connection.h"
#include "tests/product/cluster.h"
#include "tools/varve/moment.h"
#include "tools/varve/settings.h"
#include "wire/token.h"

namespace varve::product {
namespace {

using checker::Connection;
using programs::ProgramResult;

constexpr Duration kLimit = Duration::seconds(120);

template <class T>
T take(Result<T> result) {
  if (!result.ok()) ADD_FAILURE() << result.status().to_string();
  return std::move(result).value();
}

void expect_ok(const Status& status) {
  EXPECT_TRUE(status.ok()) << status.to_string();
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

ProgramResult varve(std::vector<std::string> words, const std::string& user = "") {
  words.insert(words.begin(), VARVE_EXECUTABLE);
  return take(programs::run({.command = std::move(words), .user = user}, kLimit));
}

void write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

// Varve on a scratch directory; `below` is put between.
class Installation {
 public:
  explicit Installation(const std::string& below = "") : scratch_("up") {
    directory_ = scratch_.path() + below + "/varve";
    std::filesystem::create_directories(scratch_.path() + below);
  }
  ~Installation() { cluster_.reset(); }

  Status start() {
    VARVE_TRY_ASSIGN(cluster_,
                     Cluster::start({.executable = VARVE_EXECUTABLE, .directory = directory_}));
    return Status();
  }
  Cluster& cluster() { return *cluster_; }
  const std::string& directory() const { return directory_; }
  const std::string& scratch() const { return scratch_.path(); }

  ProgramResult verb(std::vector<std::string> words) const {
    words.insert(words.end(), {"--data", directory_});
    return varve(std::move(words));
  }
  Connection connect(const std::string& branch = "main") {
    return take(
        Connection::open_patiently(take(cluster_->endpoint(branch)), Duration::seconds(30)));
  }

 private:
  ScratchDirectory scratch_;
  std::string directory_;
  std::unique_ptr<Cluster> cluster_;
};

std::string count_rows(Installation& at, const std::string& branch = "main") {
  return take(at.connect(branch).value("select count(*) from kept"));
}

// Inserts until the connection is lost; how many were acknowledged.
class Writer {
 public:
  explicit Writer(Connection connection)
      : thread_([this, c = std::move(connection)]() mutable {
          while (c.run("insert into kept values (1)").done()) ++acknowledged_;
        }) {}
  int wait() {
    thread_.join();
    return acknowledged_;
  }

 private:
  int acknowledged_ = 0;
  std::thread thread_;
};

TEST(Up, KeepsEverythingOverStopsInterruptsUnderLoadAndKills) {
  Installation at;
  expect_ok(at.start());
  expect_ok(at.connect().run("create table kept (n int)").status());
  int rows = 0;
  // In order, by a Ctrl-C under load, and by kill -9 of the supervisor.
  for (int round = 0; round < 6; ++round) {
    SCOPED_TRACE(round);
    Writer writer(at.connect());
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    if (round % 2 == 0) {
      expect_ok(at.cluster().stop(Duration::seconds(30)));
    } else {
      (void)take(at.cluster().kill("supervisor"));
    }
    rows += writer.wait();
    EXPECT_GT(rows, round);
    // The next one waits for the ports itself; what the kernel has killed is gone within seconds.
    if (round % 2 == 0) {
      EXPECT_EQ(at.cluster().processes(), 0u);
    }
    expect_ok(at.cluster().start_again());
    const int found = std::stoi(count_rows(at));
    // One may have been committed whose answer was lost, in this round or an earlier one.
    EXPECT_GE(found, rows);
    EXPECT_LE(found, rows + 1);
    rows = found;
  }
  expect_ok(at.cluster().stop());
}

TEST(Up, ASecondInterruptKillsAtOnce) {
  Installation at;
  expect_ok(at.start());
  expect_ok(at.connect().run("create table kept (n int)").status());
  // A safekeeper pair that hangs keeps Postgres' last checkpoint waiting at the gate.
  const pid_t one = take(at.cluster().pid_of("safekeeper-1"));
  const pid_t two = take(at.cluster().pid_of("safekeeper-2"));
  ::kill(one, SIGSTOP);
  ::kill(two, SIGSTOP);
  const pid_t supervisor = take(at.cluster().pid_of("supervisor"));
  ::kill(supervisor, SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(::kill(supervisor, 0), 0) << "it waits for the checkpoint";
  const auto before = std::chrono::steady_clock::now();
  expect_ok(at.cluster().stop(Duration::seconds(30)));  // the second one
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(5));
  EXPECT_TRUE(has(at.cluster().said(), "killing"));
  expect_ok(at.cluster().start_again());
  EXPECT_EQ(count_rows(at), "0");
}

TEST(Up, OnlyOneRunsInADirectory) {
  Installation at;
  expect_ok(at.start());
  const ProgramResult second = at.verb({"up"});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_TRUE(has(second.errors, "(pid " + std::to_string(take(at.cluster().pid_of("supervisor"))) +
                                     ") runs here"))
      << second.errors;
  const ProgramResult down = at.verb({"down"});
  EXPECT_EQ(down.exit_code, 0) << down.errors;
  EXPECT_EQ(at.cluster().processes(), 0u);
  EXPECT_EQ(at.verb({"down"}).exit_code, 0) << "nothing runs, as wanted";
  const ProgramResult asked = at.verb({"branch", "list"});
  EXPECT_EQ(asked.exit_code, 1);
  EXPECT_TRUE(has(asked.errors, "no Varve runs here")) << asked.errors;
}

// Listens on a port of ours until it goes.
class Squatter {
 public:
  explicit Squatter(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    const int on = 1;
    EXPECT_EQ(::setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(socket_, 1), 0);
  }
  ~Squatter() { (void)::close(socket_); }

 private:
  int socket_;
};

TEST(Up, ATakenPortIsNamedWithItsHolder) {
  Installation at;
  expect_ok(at.start());
  expect_ok(at.cluster().stop());
  const tool::Layout layout = take(tool::Layout::open(at.directory()));
  const uint16_t port = layout.safekeeper_wal(2).port;
  {
    const Squatter squatter(port);
    const ProgramResult refused = at.verb({"up"});
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_TRUE(has(refused.errors, "port " + std::to_string(port) + " is in use by up_test (pid " +
                                        std::to_string(::getpid()) + ")"))
        << refused.errors;
    Installation other;
    const ProgramResult wanted =
        varve({"up", "--data", other.directory(), "--port", std::to_string(layout.control().port)});
    EXPECT_EQ(wanted.exit_code, 1);
    EXPECT_TRUE(has(wanted.errors, "--port")) << wanted.errors;
    EXPECT_TRUE(has(at.verb({"doctor"}).out, "FAIL  ports")) << at.verb({"doctor"}).out;
  }
  expect_ok(at.cluster().start_again());
}

TEST(Up, ADirectoryThatIsNotItsOwnIsRefusedAndLeftAlone) {
  const ScratchDirectory scratch("foreign");
  const std::string foreign = scratch.path() + "/foreign";
  std::filesystem::create_directory(foreign);
  write(foreign + "/thesis.tex", "text");
  const ProgramResult refused = varve({"up", "--data", foreign});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(has(refused.errors, "files that are not Varve's: " + foreign)) << refused.errors;
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(foreign), {}), 1);

  if (::geteuid() == 0) {
    const std::string closed = scratch.path() + "/closed";
    std::filesystem::create_directory(closed);
    const ProgramResult unwritable = varve({"up", "--data", closed + "/varve"}, "postgres");
    EXPECT_EQ(unwritable.exit_code, 1);
    EXPECT_TRUE(has(unwritable.errors, closed + "/varve")) << unwritable.errors;
    EXPECT_TRUE(has(unwritable.errors, "Permission denied")) << unwritable.errors;
    EXPECT_EQ(::chown(closed.c_str(), 1, 1), 0);
    const ProgramResult another = varve({"up", "--data", closed});
    EXPECT_EQ(another.exit_code, 1);
    EXPECT_TRUE(has(another.errors, "belongs to user number 1")) << another.errors;
  }

  const std::string torn = scratch.path() + "/torn";
  std::filesystem::create_directory(torn);
  write(torn + "/installation.json", "{\"format\": 1, \"id\"");
  const ProgramResult corrupt = varve({"up", "--data", torn});
  EXPECT_EQ(corrupt.exit_code, 1);
  EXPECT_TRUE(has(corrupt.errors, torn + "/installation.json")) << corrupt.errors;
  write(torn + "/installation.json", "{\"format\": 2}");
  EXPECT_TRUE(has(varve({"up", "--data", torn}).errors, "newer Varve (format 2)"));
}

TEST(Up, AMistakeInTheSettingsIsNamedBeforeAnythingIsMade) {
  const ScratchDirectory scratch("settings");
  write(scratch.path() + "/varve.toml", "[safekeeper]\n\ntail_byte = 1\n");
  const ProgramResult refused = varve({"up", "--data", scratch.path()});
  EXPECT_EQ(refused.exit_code, 2) << refused.errors;
  EXPECT_TRUE(has(refused.errors, "there is no setting 'tail_byte' in [safekeeper]: " +
                                      scratch.path() + "/varve.toml, line 3"))
      << refused.errors;
  EXPECT_TRUE(has(refused.errors, "'tail_bytes'")) << refused.errors;
  EXPECT_FALSE(std::filesystem::exists(scratch.path() + "/installation.json"));

  write(scratch.path() + "/varve.toml", "postgres_binaries = \"/nowhere/%/bin\"\n");
  const ProgramResult missing = varve({"up", "--data", scratch.path()});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_TRUE(has(missing.errors, "no Postgres that Varve knows how to run: /nowhere/15/bin"))
      << missing.errors;
  EXPECT_TRUE(has(missing.errors, "postgresql-15")) << missing.errors;
}

TEST(Up, AWrongOrExpiredTokenOpensNothing) {
  Installation at;
  expect_ok(at.start());
  const std::string path = at.directory() + "/keys/admin.token";
  const tool::Layout layout = take(tool::Layout::open(at.directory()));
  const std::string good = take(layout.admin_token());
  TokenClaims claims;
  claims.scope = TokenScope::kAdmin;
  claims.issued_to = "late";
  claims.expiry = 1'700'000'000;
  write(path, take(layout.signer()).sign(claims));
  const ProgramResult expired = at.verb({"branch", "list"});
  EXPECT_EQ(expired.exit_code, 1);
  EXPECT_TRUE(has(expired.errors, "expired")) << expired.errors;
  claims.expiry = 0;
  write(path, TokenSigner::from_seed({9}).sign(claims));
  const ProgramResult foreign = at.verb({"status"});
  EXPECT_EQ(foreign.exit_code, 1);
  EXPECT_TRUE(has(foreign.errors, "token")) << foreign.errors;
  write(path, take(layout.node_token()));
  const ProgramResult small = at.verb({"project", "list"});
  EXPECT_EQ(small.exit_code, 1);
  EXPECT_TRUE(has(small.errors, "admin")) << small.errors;
  write(path, good);
  EXPECT_EQ(at.verb({"project", "list"}).exit_code, 0);
}

TEST(Up, VerbsSpeakToPeopleAndToPrograms) {
  Installation at;
  expect_ok(at.start());
  EXPECT_EQ(varve({"branch", "create"}).exit_code, 2);
  EXPECT_EQ(varve({"no-such-verb"}).exit_code, 2);
  const ProgramResult psql =
      varve({"psql", "--data", at.directory(), "--", "-Atc", "create table kept (n int)"});
  EXPECT_EQ(psql.exit_code, 0) << psql.errors;
  EXPECT_EQ(psql.out, "CREATE TABLE\n");
  const ProgramResult made = at.verb({"branch", "create", "copy", "--json"});
  EXPECT_EQ(made.exit_code, 0) << made.errors;
  EXPECT_TRUE(has(made.out, "{\"name\":\"copy\",\"parent\":\"main\",")) << made.out;
  const ProgramResult again = at.verb({"branch", "create", "copy"});
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_TRUE(has(again.errors, "copy")) << again.errors;
  EXPECT_EQ(at.verb({"branch", "create", "odd", "--at", "yesterday"}).exit_code, 2);
  EXPECT_EQ(at.verb({"branch", "show", "nothing"}).exit_code, 1);
  const ProgramResult string = at.verb({"connection-string", "copy"});
  EXPECT_TRUE(string.out.starts_with("postgresql://")) << string.out << string.errors;
  EXPECT_EQ(count_rows(at, "copy"), "0");
  EXPECT_EQ(at.verb({"endpoint", "stop", "copy"}).exit_code, 0);
  const ProgramResult list = at.verb({"endpoint", "list"});
  EXPECT_TRUE(has(list.out, "stopped")) << list.out;
  EXPECT_EQ(at.verb({"endpoint", "start", "copy"}).exit_code, 0);
  const ProgramResult status = at.verb({"status", "--json"});
  EXPECT_TRUE(has(status.out, "\"name\":\"pageserver-1\",\"state\":\"running\",\"pid\":"))
      << status.out;
  const ProgramResult doctor = at.verb({"doctor"});
  EXPECT_EQ(doctor.exit_code, 0) << doctor.out;
}

// What endpoints keep, or say, under names with this part.
int files_about(const Installation& at, const std::string& part) {
  int found = 0;
  for (const char* folder : {"/endpoints", "/log", "/computes"}) {
    const std::string path = at.directory() + folder;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
      const std::string name = "-" + entry.path().filename().string();
      found += has(name, part);
    }
  }
  return found;
}

TEST(Up, NamesMayBeUsedAgain) {
  Installation at;
  expect_ok(at.start());
  // As a control that was killed beside its initdb leaves it.
  const std::string scratch_cluster = at.directory() + "/computes/initdb-0123/data";
  std::filesystem::create_directories(scratch_cluster);
  write(scratch_cluster + "/PG_VERSION", "15");
  expect_ok(at.connect().run("create table kept (n int)").status());
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    EXPECT_EQ(at.verb({"branch", "create", "again"}).exit_code, 0);
    EXPECT_EQ(count_rows(at, "again"), "0");
    // A new endpoint does not find what one of its name has set.
    EXPECT_EQ(take(at.connect("again").value("show work_mem")), "4MB");
    expect_ok(at.connect("again").run("alter system set work_mem = '7MB'").status());
    const ProgramResult running = at.verb({"endpoint", "delete", "again"});
    EXPECT_EQ(running.exit_code, 1);
    EXPECT_TRUE(has(running.errors, "not stopped")) << running.errors;
    EXPECT_EQ(at.verb({"endpoint", "stop", "again", "--immediately"}).exit_code, 0);
    EXPECT_EQ(files_about(at, "-again"), 4) << "its settings, two logs and a cache";
    EXPECT_EQ(at.verb({"endpoint", "delete", "again"}).exit_code, 0);
    EXPECT_EQ(files_about(at, "-again"), 0);
    EXPECT_EQ(count_rows(at, "again"), "0");
    EXPECT_EQ(at.verb({"endpoint", "stop", "again"}).exit_code, 0);
    EXPECT_EQ(at.verb({"branch", "delete", "again"}).exit_code, 0);
    EXPECT_EQ(files_about(at, "-again"), 0);
  }
  EXPECT_FALSE(std::filesystem::exists(at.directory() + "/computes/initdb-0123"));
}

TEST(Up, AllAddressesAndShortLogs) {
  Installation at;
  std::filesystem::create_directories(at.directory());
  constexpr uintmax_t kLogLimit = 64 << 10;
  write(at.directory() + "/varve.toml",
        "listen = \"0.0.0.0\"\n[supervisor]\nlog_bytes = \"64KiB\"\nlog_look = \"20ms\"\n"
        "[postgres]\nlog_statement = \"all\"\n");
  expect_ok(at.start());
  const std::string target = take(at.cluster().endpoint("main"));
  EXPECT_TRUE(target.starts_with("postgresql://postgres@127.0.0.1:")) << target;
  Connection connection = at.connect();
  const std::string comment = "/* " + std::string(8000, 'x') + " */ select 1";
  for (int i = 0; i < 100; ++i) {
    expect_ok(connection.run(comment).status());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  int former = 0;
  for (const auto& entry : std::filesystem::directory_iterator(at.directory() + "/log")) {
    EXPECT_LE(entry.file_size(), 4 * kLogLimit) << entry.path();
    former += entry.path().filename().string().ends_with("-main.log.1");
  }
  EXPECT_EQ(former, 1) << "800 KB of statements";
}

// Removes what the safekeeper holds of all branches' WAL; how many segments.
size_t remove_wal(const Installation& at, int number) {
  std::vector<std::filesystem::path> segments;
  const std::string timelines =
      at.directory() + "/safekeeper-" + std::to_string(number) + "/timelines";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(timelines)) {
    if (entry.is_regular_file() && entry.path().filename().string().size() == 24)
      segments.push_back(entry.path());
  }
  for (const auto& segment : segments) std::filesystem::remove(segment);
  return segments.size();
}

// A start that can't go on says so, and what it waits for.
TEST(Up, WalThatIsLostIsNamedByWhoWaitsForIt) {
  Installation at;
  std::filesystem::create_directories(at.directory());
  write(at.directory() + "/varve.toml", "[compute]\ncompute_slow_step = \"500ms\"\n");
  expect_ok(at.start());
  expect_ok(at.connect().run("create table kept (n int)").status());
  expect_ok(at.cluster().stop());
  for (const int number : {1, 3}) EXPECT_GT(remove_wal(at, number), 0u);
  expect_ok(at.cluster().start_again());
  ProgramResult list;
  for (int i = 0; i < 100 && !has(list.out, "is missing"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    list = at.verb({"endpoint", "list"});
  }
  EXPECT_TRUE(has(list.out, "1 of 3 safekeepers are with this compute")) << list.out;
  EXPECT_TRUE(has(list.out, "is missing")) << list.out;
  const tool::Layout layout = take(tool::Layout::open(at.directory()));
  for (const int number : {1, 3})
    EXPECT_TRUE(has(list.out, layout.safekeeper_wal(number).to_string())) << list.out;
  EXPECT_TRUE(has(at.verb({"status"}).out, "is missing"));
}

// The newest file below `folder` whose name has `part`; "" for none.
std::string file_below(const std::string& folder, const std::string& part) {
  std::string found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (entry.is_regular_file() && has(entry.path().filename().string(), part) && path > found)
      found = path;
  }
  return found;
}

// Other bytes in the middle of a file; what it held before.
std::string edit(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string before(std::istreambuf_iterator<char>(in), {});
  std::string after = before;
  for (size_t i = after.size() / 2; i < std::min(after.size() / 2 + 8, after.size()); ++i)
    after[i] = static_cast<char>(after[i] ^ 0x55);
  write(path, after);
  return before;
}

// What is damaged is named, with what to do; the rest goes on serving.
TEST(Up, EditedFilesAreNamedAndTheRestServes) {
  Installation at;
  expect_ok(at.start());
  expect_ok(at.connect().run("create table kept as select generate_series(1, 1000)").status());
  expect_ok(at.cluster().stop());
  const auto log_of = [&](const std::string& process) {
    std::ifstream in(at.directory() + "/log/" + process + ".log");
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  // One safekeeper's control file: a quorum is left.
  edit(file_below(at.directory() + "/safekeeper-2", "control"));
  expect_ok(at.cluster().start_again());
  EXPECT_EQ(count_rows(at), "1000");
  const std::string said = log_of("safekeeper-2");
  EXPECT_TRUE(has(said, "checksum of the payload does not match (object: timelines/")) << said;
  EXPECT_TRUE(has(said, "restore this timeline's directory from another member")) << said;
  expect_ok(at.cluster().stop());
  // The newest index: its branch can't be served, and nothing is served in its stead.
  const std::string index = file_below(at.directory() + "/objects", "index-");
  const std::string sound = edit(index);
  expect_ok(at.cluster().start_again());
  const ProgramResult start = at.verb({"endpoint", "start", "main"});
  EXPECT_EQ(start.exit_code, 1);
  EXPECT_TRUE(has(start.errors, "checksum")) << start.errors;
  EXPECT_TRUE(has(start.errors, "/index-")) << start.errors;
  EXPECT_EQ(at.verb({"branch", "list"}).exit_code, 0);
  expect_ok(at.cluster().stop());
  write(index, sound);
  expect_ok(at.cluster().start_again());
  EXPECT_EQ(count_rows(at), "1000");
  expect_ok(at.cluster().stop());
  // Control's database: nothing can be started without it.
  const std::string database = edit(at.directory() + "/control/control.sqlite");
  write(at.directory() + "/control/control.sqlite", "no database");
  const ProgramResult up = at.verb({"up"});
  EXPECT_EQ(up.exit_code, 1);
  EXPECT_TRUE(has(up.errors, "control/control.sqlite")) << up.errors;
  EXPECT_TRUE(has(up.errors, "from a copy")) << up.errors;
  write(at.directory() + "/control/control.sqlite", database);
  expect_ok(at.cluster().start_again());
  EXPECT_EQ(count_rows(at), "1000");
}

TEST(Up, RunsBelowAPathThatIsTooLongForSockets) {
  Installation at("/" + std::string(100, 'a') + "/" + std::string(100, 'b'));
  expect_ok(at.start());
  expect_ok(at.connect().run("create table kept (n int)").status());
  EXPECT_EQ(count_rows(at), "0");
  expect_ok(at.cluster().stop());
}

TEST(Up, RunsBelowADirectoryThatPostgresCannotEnter) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root has directories that its Postgres can't enter";
  Installation at("/closed");
  ASSERT_EQ(::chmod((at.scratch() + "/closed").c_str(), 0700), 0);
  EXPECT_TRUE(has(at.verb({"doctor"}).out, "/var/lib/varve")) << at.verb({"doctor"}).out;
  expect_ok(at.start());
  expect_ok(at.connect().run("create table kept (n int)").status());
  EXPECT_EQ(count_rows(at), "0");
  expect_ok(at.cluster().stop());
}

TEST(Moment, PositionsAndTimes) {
  const auto micros = [](const std::string& text) {
    tool::BranchPoint point;
    const Status status = tool::parse_moment(text, point);
    EXPECT_TRUE(status.ok()) << status.to_string();
    return point.time ? point.time->to_unix_micros() : -1;
  };
  EXPECT_EQ(micros("2026-11-21 03:04:05.678901+00"), 1795230245678901);
  EXPECT_EQ(micros("2026-11-21T03:04:05Z"), 1795230245000000);
  EXPECT_EQ(micros("2026-11-21 05:34:05 +02:30"), 1795230245000000);
  EXPECT_EQ(micros("2026-11-20 22:04:05-05"), 1795230245000000);
  EXPECT_EQ(micros("2000-02-29 00:00:00 UTC"), 951782400000000);
  tool::BranchPoint point;
  EXPECT_TRUE(tool::parse_moment("0/16B3748", point).ok());
  EXPECT_EQ(point.lsn, Lsn(0x16B3748));
  for (const char* wrong : {"", "now", "2026-11-21", "2026-11-21 03:04:05", "2026-02-30 00:00:00Z",
                            "2026-11-21 25:00:00Z", "2026-11-21 03:04:05+99"}) {
    EXPECT_TRUE(tool::parse_moment(wrong, point).is(Code::kInvalid)) << wrong;
  }
}

TEST(Settings, AreReadWholeAndShownWhole) {
  const auto read = [](const std::string& text) {
    return tool::parse_settings(text, "varve.toml");
  };
  const auto settings = read(
      "listen = \"10.0.0.1\"\n[safekeeper]\ntail_bytes = \"2 MiB\"\n[supervisor]\nstart_limit = "
      "\"2min\"\nstart_attempts = 7\n[postgres]\nwork_mem = \"8MB\"\nport_knocking = true\n");
  ASSERT_TRUE(settings.ok()) << settings.status().to_string();
  EXPECT_EQ(settings->listen, "10.0.0.1");
  EXPECT_EQ(settings->safekeeper.tail_bytes, 2u << 20);
  EXPECT_EQ(settings->supervisor.start_limit, Duration::seconds(120));
  EXPECT_EQ(settings->supervisor.start_attempts, 7u);
  ASSERT_EQ(settings->postgres.size(), 2u);
  // What it shows is what it reads.
  const std::string shown = tool::describe_settings(*settings);
  const auto again = read(shown);
  ASSERT_TRUE(again.ok()) << again.status().to_string() << shown;
  EXPECT_EQ(tool::describe_settings(*again), shown);
  for (const char* wrong :
       {"[safekeeper]\ntail_bytes = 1.5\n", "[safekeeper]\ntail_bytes = \"2 parsecs\"\n",
        "[safekeeper]\ntail_bytes = -1\n", "[safekeeper]\nblock_bytes = 4096\n", "safekeeper = 1\n",
        "[nothing]\n", "listen = 1\n", "[supervisor\n", "[supervisor]\nstart_limit = \"1KiB\"\n"}) {
    const auto refused = read(wrong);
    EXPECT_TRUE(refused.is(Code::kInvalid)) << wrong;
    EXPECT_TRUE(has(refused.status().detail().object, "varve.toml, line ")) << wrong;
  }
}

}  // namespace
}  // namespace varve::product
