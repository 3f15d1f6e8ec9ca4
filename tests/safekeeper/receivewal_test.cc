// Real safekeepers hold a stock server's log; a stock pg_receivewal reads it from them.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "consensus/proposer/driver.h"
#include "tests/safekeeper/processes.h"
#include "tests/wal/stock_server.h"
#include "wal/control_file.h"
#include "wal/decoder.h"
#include "wal/extent.h"

namespace varve::test {
namespace {

using consensus::NewTimeline;
using consensus::ProposerDriver;
using consensus::ProposerOptions;
using consensus::TimelineReport;
using consensus::WonElection;

constexpr char kPrograms[] = "/usr/lib/postgresql/15/bin/";
constexpr uint32_t kSegmentSize = 16 << 20;
constexpr uint32_t kCheckpointRecordBytes = 114;
constexpr Lsn kLogBegin(kSegmentSize);
// In the first segment, so that what initdb wrote lies in front of the timeline.
constexpr Lsn kStartAtLeast(kSegmentSize + (3 << 20));

// The log of a stock server that ran pgbench, from its first segment to its shutdown.
struct Log {
  std::vector<uint8_t> bytes;  // from kLogBegin on
  std::vector<Lsn> ends;       // of its records
  consensus::ServerInfo server;

  Lsn end() const { return ends.back(); }
  std::span<const uint8_t> at(Lsn begin, Lsn end) const {
    return std::span(bytes).subspan(begin - kLogBegin, end - begin);
  }
  // The first record end at or behind `lsn`, or the last one.
  Lsn end_from(Lsn lsn) const {
    const auto found = std::lower_bound(ends.begin(), ends.end(), lsn);
    return found == ends.end() ? ends.back() : *found;
  }
};

const Log& stock_log() {
  static const Log log = [] {
    StockServer server("wal_level=replica\nwal_keep_size=1GB\nmax_wal_size=4GB\n");
    server.start();
    EXPECT_EQ(server.tool("pgbench -i -q -s 2 postgres").exit_code, 0);
    EXPECT_EQ(server.tool("pgbench -c 4 -t 300 postgres").exit_code, 0);
    server.sql("postgres", "select pg_switch_wal();");
    EXPECT_EQ(server.tool("pgbench -c 4 -t 1500 postgres").exit_code, 0);
    server.sql("postgres", "select pg_switch_wal(); create table last as select 1;");
    server.stop("fast");
    const wal::Version& version = *wal::version_of_major(15);
    const wal::ControlFile control =
        *wal::parse_control_file(version, read_file(server.data() + "/global/pg_control"));
    const Lsn end =
        wal::record_extent(control.checkpoint_record, kCheckpointRecordBytes, false, kSegmentSize)
            .end;
    Log result;
    result.server = {150000, control.system_id, kSegmentSize};
    for (uint64_t segment = 1; result.bytes.size() < end - kLogBegin; ++segment) {
      const std::vector<uint8_t> file =
          read_file(server.wal() + "/" + wal::segment_file_name({1, segment}, kSegmentSize));
      result.bytes.insert(result.bytes.end(), file.begin(), file.end());
    }
    result.bytes.resize(end - kLogBegin);
    wal::Decoder decoder({control.identity(version), wal::Depth::kHeader, {}});
    decoder.reset(kLogBegin, std::nullopt);
    decoder.feed(kLogBegin, result.bytes);
    wal::Record record;
    while (decoder.next(record) == wal::Step::kRecord) result.ends.push_back(decoder.boundary());
    EXPECT_EQ(result.end(), end) << decoder.status().to_string();
    return result;
  }();
  return log;
}

TenantTimelineId new_timeline(uint8_t number) {
  TenantTimelineId id;
  id.tenant.bytes.fill(0xA7);
  id.timeline.bytes.fill(number);
  return id;
}

// A stock pg_receivewal in the background. It has PQconninfoOption's `options` for the ids and the
// token for a password, as anybody would call it.
class Receiver {
 public:
  Receiver(const Address& address, const std::string& options, const std::string& password,
           const std::string& more = "") {
    char name[] = "/var/tmp/varve-receivewal-XXXXXX";
    VARVE_CHECK(mkdtemp(name) != nullptr);
    directory_ = name;
    std::filesystem::permissions(directory_, std::filesystem::perms::all);
    EXPECT_EQ(run_as_postgres("mkdir " + directory_ + "/wal").exit_code, 0);
    // With an end of its own: a test that is aborted must not leave it behind.
    command_ = "PGPASSWORD=" + password + " exec timeout 300 " + kPrograms +
               "pg_receivewal -v --synchronous -D " + wal() + " " + more +
               " -d \"host=" + address.host + " port=" + std::to_string(address.port) +
               " user=postgres options='" + options + "'\"";
  }
  ~Receiver() {
    if (started_) stop();
    run_as_postgres("rm -rf " + directory_ + "/*");
    rmdir(directory_.c_str());
  }
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  void start() {
    started_ = true;
    thread_ = std::thread([this] {
      run_as_postgres("echo $$ > " + directory_ + "/pid; " + command_ + " > " + directory_ +
                      "/log");
    });
  }
  // To its end: what it says, with its exit code.
  CommandResult run() const { return run_as_postgres("timeout 60 sh -c '" + escaped() + "'"); }

  void stop() {
    started_ = false;
    run_as_postgres("kill -INT $(cat " + directory_ + "/pid)");
    thread_.join();
  }

  std::string wal() const { return directory_ + "/wal"; }
  std::string log() const { return run_as_postgres("cat " + directory_ + "/log").output; }

  // What it has of a segment, finished or not; empty when it has none.
  std::vector<uint8_t> segment(uint64_t number, bool& finished) const {
    const std::string path = wal() + "/" + wal::segment_file_name({1, number}, kSegmentSize);
    finished = std::filesystem::exists(path);
    if (finished) return read_file(path);
    return std::filesystem::exists(path + ".partial") ? read_file(path + ".partial")
                                                      : std::vector<uint8_t>();
  }

  // Waits until it has the log from its first segment up to `end`, byte for byte. Reads what is
  // new only.
  bool has(const Log& log, Lsn end) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (std::chrono::steady_clock::now() < deadline) {
      if (equal_up_to(log, end)) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return false;
  }

  size_t finished() const { return checked_.segment(kSegmentSize) - 1; }

 private:
  bool equal_up_to(const Log& log, Lsn end) {
    for (Lsn at = checked_; at < end;) {
      const uint64_t number = at.segment(kSegmentSize);
      const Lsn to = std::min(end, Lsn((number + 1) * kSegmentSize));
      bool finished = false;
      const std::vector<uint8_t> have = segment(number, finished);
      const auto expected = log.at(Lsn(number * kSegmentSize), to);
      if (have.size() < expected.size() ||
          !std::equal(expected.begin(), expected.end(), have.begin())) {
        EXPECT_FALSE(finished) << "segment " << number << " is finished and not the server's";
        return false;
      }
      if (to.segment_offset(kSegmentSize) == 0) {
        if (!finished) return false;
        checked_ = to;
      }
      at = to;
    }
    return true;
  }

  std::string escaped() const {
    std::string out;
    for (const char c : command_) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out;
  }

  std::string directory_;
  std::string command_;
  std::thread thread_;
  bool started_ = false;
  Lsn checked_ = kLogBegin;
};

std::string ids(const TenantTimelineId& id) {
  return "-c tenant_id=" + id.tenant.to_string() + " -c timeline_id=" + id.timeline.to_string();
}

class ReceiveWal : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const int member : kMembers) processes_.start(member);
    start_ = log_.end_from(kStartAtLeast);
    processes_.run([&](World& world) {
      NewTimeline timeline{id_, processes_.membership(), log_.server, start_, {}, {}};
      timeline.prefix.push_back(Bytes::copy(log_.at(kLogBegin, start_)));
      return processes_.create(world, timeline);
    });
  }

  Receiver receiver(int member) const {
    return Receiver(processes_.layout().safekeeper_wal(member), ids(id_),
                    processes_.token(TokenScope::kTimeline, id_));
  }

  // Elects, pushes the log from where it stands up to `end`, and waits until it is committed and
  // every member has it and knows. `midway` is called with everything else going on.
  void push(Lsn end, const std::function<void()>& midway = nullptr) {
    processes_.run([&](World& world) -> Status {
      Scope scope("push");
      const ProposerOptions options;
      ProposerDriver driver(world, {id_, processes_.membership(), log_.server},
                            processes_.credentials(id_), options, scope);
      const Status pushed = push_with(world, driver, end, midway);
      driver.stop(Status(Code::kCancelled, "pushed"));
      return pushed;
    });
  }

  Status push_with(World& world, ProposerDriver& driver, Lsn end,
                   const std::function<void()>& midway) {
    const DeadlineGuard deadline(Duration::seconds(60));
    VARVE_TRY_ASSIGN(const WonElection won, driver.elect());
    const Lsn middle = won.start + (end - won.start) / 2;
    bool called = midway == nullptr;
    while (driver.available() < end) {
      const Lsn to = std::min(end, log_.end_from(driver.available() + (100 << 10)));
      VARVE_TRY(driver.append(Bytes::copy(log_.at(driver.available(), to))));
      if (!called && to >= middle) {
        called = true;
        midway();
      }
    }
    VARVE_TRY(driver.wait_committed(end));
    for (const int member : kMembers) VARVE_TRY(wait_known(world, driver, member, end));
    return Status();
  }

  // Until the member has the log up to `end` and knows that it is committed.
  Status wait_known(World& world, ProposerDriver& driver, int member, Lsn end) {
    TimelineReport report;
    while (report.commit < end || report.flush < end) {
      driver.heartbeat();
      VARVE_TRY(processes_.ask(world, member, [&](RpcClient& client) -> Status {
        VARVE_TRY_ASSIGN(report, consensus::timeline_report(client, id_));
        return report.state;
      }));
      VARVE_TRY(sleep_for(Duration::millis(5)));
    }
    return Status();
  }

  const Log& log_ = stock_log();
  const TenantTimelineId id_ = new_timeline(0x11);
  SafekeeperProcesses processes_;
  Lsn start_;
};

TEST_F(ReceiveWal, SegmentsAreTheServersByteForByte) {
  Receiver receiver = this->receiver(1);
  receiver.start();
  // Behind a member that was killed and came back, too: it has what it missed.
  Receiver other = this->receiver(2);
  other.start();
  push(log_.end(), [&] {
    processes_.kill(2);
    processes_.start(2);
  });
  EXPECT_TRUE(receiver.has(log_, log_.end())) << receiver.log();
  EXPECT_TRUE(other.has(log_, log_.end())) << other.log();
  EXPECT_GE(receiver.finished(), 3u);
  receiver.stop();
  other.stop();
  // The server's own tool finds every record of it.
  const CommandResult dump =
      run_as_postgres(std::string(kPrograms) + "pg_waldump -q -p " + receiver.wal() + " -t 1 -s " +
                      log_.ends.front().to_string() + " -e " +
                      Lsn((receiver.finished() + 1) * kSegmentSize).to_string());
  EXPECT_EQ(dump.exit_code, 0) << dump.output;
  EXPECT_EQ(dump.output, "");
}

TEST_F(ReceiveWal, GoesOnWhenAllMembersWereKilled) {
  Receiver receiver = this->receiver(3);
  receiver.start();
  const Lsn middle = log_.end_from(kLogBegin + (log_.end() - kLogBegin) / 2);
  push(middle);
  for (const int member : kMembers) processes_.kill(member);
  for (const int member : kMembers) processes_.start(member);
  // The new proposer begins at or behind what was committed; what it pushes is the same log.
  push(log_.end());
  EXPECT_TRUE(receiver.has(log_, log_.end())) << receiver.log();
}

TEST_F(ReceiveWal, OnlyWhatAQuorumHoldsIsSent) {
  const Lsn committed = log_.end_from(start_ + (1 << 20));
  push(committed);
  Receiver receiver = this->receiver(1);
  receiver.start();
  ASSERT_TRUE(receiver.has(log_, committed)) << receiver.log();
  const Lsn alone = log_.end_from(committed + (1 << 20));
  processes_.run([&](World& world) -> Status {
    Scope scope("push");
    const ProposerOptions options;
    ProposerDriver driver(world, {id_, processes_.membership(), log_.server},
                          processes_.credentials(id_), options, scope);
    const auto push_alone = [&]() -> Status {
      VARVE_TRY(driver.elect().status());
      VARVE_TRY(driver.wait_committed(committed));
      for (const int member : {2, 3}) processes_.signal(member, SIGSTOP);
      VARVE_TRY(driver.append(Bytes::copy(log_.at(committed, alone))));
      TimelineReport report;
      while (report.flush < alone) {
        VARVE_TRY(processes_.ask(world, 1, [&](RpcClient& client) -> Status {
          VARVE_TRY_ASSIGN(report, consensus::timeline_report(client, id_));
          return report.state;
        }));
        VARVE_TRY(sleep_for(Duration::millis(10)));
      }
      EXPECT_EQ(report.commit, committed);
      VARVE_TRY(sleep_for(Duration::seconds(1)));
      // Durable on one member, and nobody is given it.
      bool finished = false;
      const std::vector<uint8_t> have = receiver.segment(1, finished);
      EXPECT_TRUE(std::all_of(have.begin() + static_cast<long>(committed - kLogBegin), have.end(),
                              [](uint8_t byte) { return byte == 0; }));
      for (const int member : {2, 3}) processes_.signal(member, SIGCONT);
      VARVE_TRY(driver.wait_committed(alone));
      return wait_known(world, driver, 1, alone);
    };
    const Status pushed = push_alone();
    driver.stop(Status(Code::kCancelled, "pushed"));
    return pushed;
  });
  EXPECT_TRUE(receiver.has(log_, alone)) << receiver.log();
}

TEST_F(ReceiveWal, IsRefusedWithoutTimelineOrWithoutAToken) {
  const auto refusal = [&](const std::string& options, const std::string& password) {
    Receiver receiver(processes_.layout().safekeeper_wal(1), options, password, "-n");
    const CommandResult result = receiver.run();
    EXPECT_NE(result.exit_code, 0);
    return result.output;
  };
  const std::string good = processes_.token(TokenScope::kTimeline, id_);
  EXPECT_NE(refusal("", good).find("names no timeline"), std::string::npos);
  EXPECT_NE(refusal("-c tenant_id=" + id_.tenant.to_string(), good).find("names no timeline"),
            std::string::npos);
  EXPECT_NE(refusal("-c tenant_id=x -c timeline_id=y", good).find("32 hexadecimal digits"),
            std::string::npos);
  EXPECT_NE(refusal(ids(id_), "wrong").find("token"), std::string::npos);
  const std::string expired = processes_.token(TokenScope::kTimeline, id_, 1);
  EXPECT_NE(refusal(ids(id_), expired).find("expired"), std::string::npos);
  const std::string of_another = processes_.token(TokenScope::kTimeline, new_timeline(0x22));
  EXPECT_NE(refusal(ids(id_), of_another).find("timeline"), std::string::npos);
  // Its own token, and nothing there under that id.
  EXPECT_NE(refusal(ids(new_timeline(0x22)), of_another).find("no such timeline"),
            std::string::npos);
}

}  // namespace
}  // namespace varve::test
