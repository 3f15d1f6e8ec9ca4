// commit_path [SECONDS]: how long a commit takes from a proposer in this process through three real
// safekeepers and back, for one and for sixteen at a time, beside what the disk alone takes for one
// durable write of the same size into a file that is there.
//
// For finding out where time goes; what a user sees is measured by `./dev bench`.
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "consensus/proposer/driver.h"
#include "tests/safekeeper/processes.h"
#include "wal/decoder.h"
#include "wal/writer.h"

namespace varve::bench {
namespace {

using consensus::ProposerDriver;
using consensus::ProposerOptions;
using SteadyClock = std::chrono::steady_clock;

constexpr uint32_t kSegmentSize = 16 << 20;
constexpr Lsn kStart(kSegmentSize);
// What an insert of one short row and its commit record take.
constexpr size_t kCommitBytes = 250;

struct Samples {
  std::vector<double> microseconds;
  double seconds = 0;

  void print(const char* what) {
    std::sort(microseconds.begin(), microseconds.end());
    const auto at = [&](double share) {
      return microseconds[static_cast<size_t>(share *
                                              static_cast<double>(microseconds.size() - 1))];
    };
    std::printf("%-24s %8.0f/s   p50 %6.0f us   p90 %6.0f us   p99 %6.0f us   max %7.0f us\n", what,
                static_cast<double>(microseconds.size()) / seconds, at(0.5), at(0.9), at(0.99),
                at(1));
    std::fflush(stdout);
  }
};

double since(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

// One after the other, as a log is written: the next bytes each time.
Samples measure_disk(const std::string& directory, double seconds) {
  const std::string path = directory + "/disk";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  std::vector<uint8_t> bytes(kSegmentSize);
  if (fd < 0 || write(fd, bytes.data(), bytes.size()) != kSegmentSize || fsync(fd) != 0) {
    std::perror(path.c_str());
    std::exit(1);
  }
  Samples samples;
  const auto begin = SteadyClock::now();
  for (off_t offset = 0; since(begin) < seconds;) {
    const auto one = SteadyClock::now();
    const iovec piece{bytes.data(), kCommitBytes};
    if (pwritev2(fd, &piece, 1, offset, RWF_DSYNC) != static_cast<ssize_t>(kCommitBytes)) {
      std::perror("pwritev2");
      std::exit(1);
    }
    samples.microseconds.push_back(since(one) * 1e6);
    offset = (offset + static_cast<off_t>(kCommitBytes)) % (kSegmentSize - (1 << 20));
  }
  samples.seconds = since(begin);
  close(fd);
  unlink(path.c_str());
  return samples;
}

class Committer {
 public:
  Committer(ProposerDriver& driver, const wal::LogIdentity& identity, Lsn start)
      : driver_(driver), identity_(identity), writer_(identity, start, Lsn()) {}

  // Appends one record and waits until it is committed.
  Status commit() {
    std::vector<uint8_t> bytes;
    const std::vector<uint8_t> data(kCommitBytes - 32, 7);
    wal::RecordParts parts;
    parts.rmid = static_cast<uint8_t>(wal::Rmgr::kLogicalMessage);
    parts.main_data = data;
    std::vector<uint8_t> raw = wal::build_record(*identity_.version, parts);
    const Lsn end = writer_.append(raw, bytes).end;
    VARVE_TRY(driver_.append(Bytes::copy(bytes)));
    return driver_.wait_committed(end);
  }

 private:
  ProposerDriver& driver_;
  wal::LogIdentity identity_;
  wal::LogWriter writer_;
};

Status measure_clients(ProposerDriver& driver, Committer& committer, int clients, double seconds,
                       const char* what) {
  Samples samples;
  const auto begin = SteadyClock::now();
  Scope scope("clients");
  for (int i = 0; i < clients; ++i) {
    scope.spawn("client", [&]() -> Status {
      while (since(begin) < seconds) {
        const auto one = SteadyClock::now();
        VARVE_TRY(committer.commit());
        samples.microseconds.push_back(since(one) * 1e6);
      }
      return Status();
    });
  }
  VARVE_TRY(scope.join());
  VARVE_TRY(driver.closed());
  samples.seconds = since(begin);
  samples.print(what);
  return Status();
}

Status measure_creation(test::SafekeeperProcesses& processes, World& world,
                        const consensus::NewTimeline& like) {
  Samples samples;
  const auto begin = SteadyClock::now();
  VARVE_TRY(processes.ask(world, 1, [&](RpcClient& client) -> Status {
    for (uint8_t i = 1; i <= 100; ++i) {
      consensus::NewTimeline timeline = like;
      timeline.id.timeline.bytes[0] = i;
      const auto one = SteadyClock::now();
      VARVE_TRY(consensus::create_timeline(client, timeline));
      samples.microseconds.push_back(since(one) * 1e6);
    }
    return Status();
  }));
  samples.seconds = since(begin);
  samples.print("create a timeline");
  return Status();
}

Status measure(test::SafekeeperProcesses& processes, World& world, double seconds) {
  TenantTimelineId id;
  id.tenant.bytes.fill(1);
  id.timeline.bytes.fill(2);
  const consensus::ServerInfo server{150000, 4711, kSegmentSize};
  const consensus::NewTimeline timeline{id, processes.membership(), server, kStart, {}, {}};
  VARVE_TRY(processes.create(world, timeline));
  Scope scope("measure");
  const ProposerOptions options;
  ProposerDriver driver(world, {id, processes.membership(), server}, processes.credentials(id),
                        options, scope);
  const auto body = [&]() -> Status {
    VARVE_TRY_ASSIGN(const auto won, driver.elect());
    const wal::LogIdentity identity{wal::version_of_major(15), server.system_id, kSegmentSize, 1};
    Committer committer(driver, identity, won.start);
    VARVE_TRY(measure_clients(driver, committer, 1, 0.5, "(to warm up)"));
    VARVE_TRY(measure_clients(driver, committer, 1, seconds, "one at a time"));
    VARVE_TRY(measure_clients(driver, committer, 16, seconds, "sixteen at a time"));
    return measure_creation(processes, world, timeline);
  };
  const Status status = body();
  driver.stop(Status(Code::kCancelled, "measured"));
  return status;
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  using namespace varve;
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  test::SafekeeperProcesses processes;
  bench::measure_disk(processes.layout().directory(), seconds).print("the disk alone");
  for (const int member : test::kMembers) processes.start(member);
  processes.run([&](World& world) { return bench::measure(processes, world, seconds); });
  return 0;
}
