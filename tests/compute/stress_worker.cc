// A program called "postgres" that is none: a parent that forks workers, kills them with SIGKILL at
// random and forks new ones. Under the shim, without Postgres.
//
// stress=files: workers read, write, extend, truncate, unlink and re-create lazy files and check
// what they read against an oracle in shared memory. Every write carries a version that grows; a
// read must see one between what was completed when it began and what was begun when it ended, and
// never storage's version of a block that was written, and never zeros.
//
// stress=gate: workers append records to a real log the way XLogWrite does, sync it, and check that
// whatever a sync let through is held by the quorum.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include "tests/compute/stress_worker.h"
#include "wal/extent.h"
#include "wal/writer.h"

// What the shim looks for in a real Postgres.
extern "C" {
char enableFsync = 1;
int sync_method = 1;
}

namespace varve::test {
namespace {

struct Shared {
  pthread_mutex_t mutex[kStressFiles];         // who writes, truncates or re-creates; robust
  std::atomic<uint64_t> epoch[kStressFiles];   // odd while the file itself changes
  std::atomic<uint32_t> length[kStressFiles];  // in blocks
  std::atomic<uint64_t> begun[kStressFiles][kStressMostBlocks];
  std::atomic<uint64_t> done[kStressFiles][kStressMostBlocks];
  std::atomic<uint64_t> versions;
  std::atomic<uint64_t> reads, checked, writes, truncates, recreations, deaths, gates;
  std::atomic<int> failed;
  char failure[400];
  // gate
  pthread_mutex_t log_mutex;
  std::atomic<uint64_t> log_end, log_previous, log_written;
  // The record behind log_end that somebody has begun to copy; whoever comes next finishes it.
  std::atomic<uint64_t> pending_bytes;
  uint64_t pending_start;  // of its header
  uint8_t pending[16384];
  uint8_t log[kStressLogBytes];  // Postgres' buffers: all of the log
};

Shared* shared = nullptr;

void fail(const std::string& what) {
  int none = 0;
  if (shared->failed.compare_exchange_strong(none, 1))
    std::strncpy(shared->failure, what.c_str(), 399);
}

void robust(pthread_mutex_t* mutex) {
  pthread_mutexattr_t kind;
  pthread_mutexattr_init(&kind);
  pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(mutex, &kind);
}

// True when the one before died in it.
bool lock(pthread_mutex_t* mutex) {
  if (pthread_mutex_lock(mutex) != EOWNERDEAD) return false;
  pthread_mutex_consistent(mutex);
  return true;
}

class FileWorker {
 public:
  explicit FileWorker(uint64_t seed) : draw_(seed) {}

  void step() {
    const int file = static_cast<int>(draw_() % kStressFiles);
    // What ends a block's laziness is rare, so that a round has some of everything.
    const unsigned what = static_cast<unsigned>(draw_() % 20000);
    if (what < 12000) {
      read(file);
    } else if (what < 18400) {
      change(file, [&](int fd) { write(file, fd); });
    } else if (what < 19990) {
      hint(file);
    } else if (what < 19997) {
      change(file, [&](int fd) {
        cut(file, fd,
            static_cast<uint32_t>(
                (shared->length[file] - draw_() % (shared->length[file] / 3 + 1))));
      });
    } else {
      change(file, [&](int) { recreate(file); });
    }
  }

  // Everything, in order, with nobody else there.
  void read_all() {
    for (int file = 0; file < kStressFiles; ++file) {
      change(file, [](int) {});
      for (uint32_t block = 0; block < shared->length[file]; ++block) check(file, block, 1);
    }
  }

 private:
  int open_file(int file, bool again) {
    if (again && fds_[file] >= 0) {
      close(fds_[file]);
      fds_[file] = -1;
    }
    if (fds_[file] < 0) {
      epochs_[file] = shared->epoch[file];
      fds_[file] = open(stress_path(file).c_str(), O_RDWR);
      const bool replaced = shared->epoch[file] != epochs_[file] || (epochs_[file] & 1) != 0;
      if (fds_[file] < 0 && !replaced) fail("open: " + std::string(std::strerror(errno)));
    }
    return fds_[file];
  }

  void read(int file) {
    const uint32_t length = shared->length[file];
    if (length == 0) return;
    const uint32_t first = static_cast<uint32_t>(draw_() % length);
    const uint32_t blocks = 1 + static_cast<uint32_t>(draw_() % 4);
    check(file, first, std::min(blocks, length - first));
  }

  void check(int file, uint32_t first, uint32_t blocks) {
    ++shared->reads;
    const uint64_t epoch = shared->epoch[file];
    if (epoch & 1) return;
    const int fd = open_file(file, epochs_[file] != epoch);
    if (fd < 0 || shared->epoch[file] != epoch || first + blocks > shared->length[file]) return;
    uint64_t least[4];
    for (uint32_t i = 0; i < blocks; ++i) least[i] = shared->done[file][first + i];
    const auto bytes = static_cast<ssize_t>(blocks * kStressBlock);
    const ssize_t got =
        pread(fd, buffer_, static_cast<size_t>(bytes), static_cast<off_t>(first) * kStressBlock);
    const int error = errno;
    uint64_t most[4];
    for (uint32_t i = 0; i < blocks; ++i) most[i] = shared->begun[file][first + i];
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (shared->epoch[file] != epoch) return;  // it was cut or replaced meanwhile
    const std::string where = stress_path(file) + " block " + std::to_string(first);
    if (got < 0) return fail(where + ": " + std::strerror(error));
    if (got != bytes) return fail(where + ": short by " + std::to_string(bytes - got));
    for (uint32_t i = 0; i < blocks; ++i) {
      const uint8_t* page = buffer_ + i * kStressBlock;
      for (uint32_t part = 0; part < kStressBlock; part += 512) {
        StressStamp stamp;
        std::memcpy(&stamp, page + part, sizeof stamp);
        if (stamp.file == file && stamp.block == first + i && stamp.version >= least[i] &&
            stamp.version <= most[i]) {
          continue;
        }
        return fail(where + "+" + std::to_string(i) + " part " + std::to_string(part) + ": file " +
                    std::to_string(stamp.file) + " block " + std::to_string(stamp.block) +
                    " version " + std::to_string(stamp.version) + ", not between " +
                    std::to_string(least[i]) + " and " + std::to_string(most[i]));
      }
    }
    ++shared->checked;
  }

  template <class Body>
  void change(int file, Body body) {
    const bool died = lock(&shared->mutex[file]);
    if (died && (shared->epoch[file] & 1)) recreate_or_cut(file);
    const int fd = open_file(file, epochs_[file] != shared->epoch[file]);
    if (fd >= 0) body(fd);
    pthread_mutex_unlock(&shared->mutex[file]);
  }

  // Somebody died while he changed the file itself: make it short, whatever it is, and go on from
  // there.
  void recreate_or_cut(int file) {
    const int fd = open(stress_path(file).c_str(), O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, 0) != 0)
      fail("after a death: " + std::string(std::strerror(errno)));
    close(fd);
    shared->length[file] = 0;
    ++shared->epoch[file];
  }

  void write(int file, int fd) {
    const uint32_t length = shared->length[file];
    uint32_t block = static_cast<uint32_t>(draw_() % (length + 1));
    if (draw_() % 8 == 0) block = length;
    if (block >= kStressMostBlocks) return;
    const uint64_t version = ++shared->versions;
    stress_fill(buffer_, file, block, version);
    shared->begun[file][block] = version;
    const ssize_t put = pwrite(fd, buffer_, kStressBlock, static_cast<off_t>(block) * kStressBlock);
    if (put != kStressBlock) return fail("pwrite: " + std::string(std::strerror(errno)));
    shared->done[file][block] = version;
    if (block == length) shared->length[file] = length + 1;
    ++shared->writes;
  }

  void cut(int file, int fd, uint32_t blocks) {
    ++shared->epoch[file];
    shared->length[file] = blocks;
    const off_t bytes = static_cast<off_t>(blocks) * kStressBlock;
    const int result =
        draw_() % 2 == 0 ? ftruncate(fd, bytes) : truncate(stress_path(file).c_str(), bytes);
    if (result != 0) fail("truncate: " + std::string(std::strerror(errno)));
    ++shared->truncates;
    epochs_[file] = ++shared->epoch[file];
  }

  void recreate(int file) {
    ++shared->epoch[file];
    shared->length[file] = 0;
    if (unlink(stress_path(file).c_str()) != 0)
      fail("unlink: " + std::string(std::strerror(errno)));
    const int fd = open(stress_path(file).c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0) fail("create: " + std::string(std::strerror(errno)));
    if (fds_[file] >= 0) close(fds_[file]);
    fds_[file] = fd;
    ++shared->recreations;
    epochs_[file] = ++shared->epoch[file];
  }

  void hint(int file) {
    const uint64_t epoch = shared->epoch[file];
    const int fd = open_file(file, epochs_[file] != epoch);
    if (fd >= 0)
      posix_fadvise(fd, static_cast<off_t>(draw_() % 64) * kStressBlock, 16 * kStressBlock,
                    POSIX_FADV_WILLNEED);
  }

  std::mt19937_64 draw_;
  int fds_[kStressFiles] = {-1, -1, -1, -1, -1, -1, -1, -1};
  uint64_t epochs_[kStressFiles] = {};
  alignas(4096) uint8_t buffer_[4 * kStressBlock];
};

uint8_t* copy_to = nullptr;
void copy_pending(int) {
  std::memcpy(copy_to, shared->pending, shared->pending_bytes);
}

// One append and sync as XLogWrite does it: whole pages, with a half-copied record of another
// behind. The mutex stands for Postgres' WAL write lock; the buffers hold the whole log, so that a
// page stays where it is.
class LogWorker {
 public:
  explicit LogWorker(uint64_t seed) : draw_(seed) { signal(SIGALRM, copy_pending); }

  void step() {
    (void)lock(&shared->log_mutex);  // what a dead one copied behind log_end was never written
    const Lsn start(shared->log_end);
    if (start + 80000 > kStressLogStart + kStressLogBytes) {
      pthread_mutex_unlock(&shared->log_mutex);
      usleep(1000);
      return;
    }
    uint8_t* place = shared->log + (start - kStressLogStart);
    std::memset(place, 0, 80000);
    const uint64_t pending = shared->pending_bytes;
    std::memcpy(place, shared->pending, pending);
    wal::LogWriter writer(stress_identity(), start + pending,
                          Lsn(pending > 0 ? shared->pending_start : shared->log_previous.load()));
    std::vector<uint8_t> bytes;
    const unsigned count = 1 + static_cast<unsigned>(draw_() % 4);
    for (unsigned i = 0; i < count; ++i) append(writer, bytes);
    std::memcpy(place + pending, bytes.data(), bytes.size());
    const Lsn target = writer.boundary();
    shared->log_previous = writer.previous().value;
    shared->log_end = target.value;
    shared->pending_bytes = 0;

    std::vector<uint8_t> other;
    append(writer, other);
    std::memcpy(shared->pending, other.data(), other.size());
    shared->pending_start = writer.previous().value;
    shared->pending_bytes = other.size();
    uint8_t* behind = shared->log + (target - kStressLogStart);
    std::memcpy(behind, other.data(), draw_() % other.size());
    const uint64_t from = Lsn(shared->log_written).page_start() - kStressLogStart;
    const uint64_t end =
        ((target.value + kWalPageSize - 1) & ~uint64_t{kWalPageSize - 1}) - kStressLogStart.value;
    for (uint64_t at = from; at < end;) {
      const Lsn lsn = kStressLogStart + at;
      const uint32_t segment = stress_identity().segment_size;
      const uint64_t piece = std::min<uint64_t>(end - at, segment - lsn.segment_offset(segment));
      const int fd = segment_fd(lsn.segment(segment));
      const auto put = pwrite(fd, shared->log + at, piece, lsn.segment_offset(segment));
      if (put != static_cast<ssize_t>(piece))
        return fail("log write: " + std::string(std::strerror(errno)));
      at += piece;
    }
    shared->log_written = target.value;
    // The other one goes on copying while we wait: a signal handler plays him.
    copy_to = behind;
    const itimerval soon = {{0, 0}, {0, static_cast<suseconds_t>(1 + draw_() % 2000)}};
    setitimer(ITIMER_REAL, &soon, nullptr);
    const int fd =
        segment_fd(Lsn(kStressLogStart.value + end - 1).segment(stress_identity().segment_size));
    if (fdatasync(fd) != 0) fail("fdatasync failed");
    const itimerval never = {};
    setitimer(ITIMER_REAL, &never, nullptr);
    ++shared->gates;
    if (stress_quorum() < target.value) {
      fail("a sync let " + target.to_string() + " pass; the quorum has " +
           Lsn(stress_quorum()).to_string());
    }
    pthread_mutex_unlock(&shared->log_mutex);
  }

 private:
  void append(wal::LogWriter& writer, std::vector<uint8_t>& out) {
    std::vector<uint8_t> data(draw_() % 8 == 0 ? draw_() % 9000 : draw_() % 600);
    for (uint8_t& byte : data) byte = static_cast<uint8_t>(draw_());
    std::vector<uint8_t> raw = wal::build_record(*stress_identity().version, {.xid = 700,
                                                                              .info = 0x20,
                                                                              .rmid = 0,
                                                                              .blocks = {},
                                                                              .main_data = data,
                                                                              .origin = {},
                                                                              .toplevel_xid = {}});
    writer.append(raw, out);
  }

  int segment_fd(uint64_t number) {
    if (fd_ >= 0 && number == segment_) return fd_;
    if (fd_ >= 0) close(fd_);
    segment_ = number;
    fd_ = open(
        ("pg_wal/" + wal::segment_file_name({1, number}, stress_identity().segment_size)).c_str(),
        O_RDWR | O_CREAT, 0600);
    return fd_;
  }

  std::mt19937_64 draw_;
  int fd_ = -1;
  uint64_t segment_ = 0;
};

template <class Worker>
[[noreturn]] void work(uint64_t seed) {
  Worker worker(seed);
  while (shared->failed == 0) worker.step();
  _exit(0);
}

pid_t fork_worker(bool gate, uint64_t seed) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  if (gate) work<LogWorker>(seed);
  work<FileWorker>(seed);
}

int run(bool gate, double seconds, uint64_t seed) {
  shared = static_cast<Shared*>(
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  for (pthread_mutex_t& mutex : shared->mutex) robust(&mutex);
  robust(&shared->log_mutex);
  for (int file = 0; file < kStressFiles; ++file) {
    shared->length[file] = kStressBlocks;
    for (uint32_t block = 0; block < kStressBlocks; ++block) {
      shared->begun[file][block] = shared->done[file][block] = 1;
    }
  }
  shared->versions = 1;
  shared->log_end = shared->log_written = stress_log_boundary().value;
  shared->log_previous = stress_log_boundary().value - 4096;
  std::mt19937_64 draw(seed);
  std::vector<pid_t> workers;
  for (int i = 0; i < 6; ++i) workers.push_back(fork_worker(gate, draw()));
  const auto start = std::chrono::steady_clock::now();
  while (shared->failed == 0 &&
         std::chrono::steady_clock::now() - start < std::chrono::duration<double>(seconds)) {
    usleep(static_cast<useconds_t>(draw() % 30000));
    pid_t& victim = workers[draw() % workers.size()];
    kill(victim, SIGKILL);
    waitpid(victim, nullptr, 0);
    ++shared->deaths;
    victim = fork_worker(gate, draw());
  }
  for (pid_t worker : workers) {
    kill(worker, SIGKILL);
    waitpid(worker, nullptr, 0);
  }
  if (shared->failed == 0 && !gate) FileWorker(1).read_all();
  std::printf(
      "deaths %lu, reads %lu (checked %lu), writes %lu, truncates %lu, recreations %lu, gates "
      "%lu\n",
      shared->deaths.load(), shared->reads.load(), shared->checked.load(), shared->writes.load(),
      shared->truncates.load(), shared->recreations.load(), shared->gates.load());
  if (shared->failed != 0) std::printf("FAILED: %s\n", shared->failure);
  std::fflush(stdout);
  return shared->failed == 0 ? 0 : 1;
}

// Nanoseconds of processor time for reading, and for writing, a block that is present.
int measure() {
  const int fd = open(stress_path(0).c_str(), O_RDWR);
  alignas(4096) static uint8_t page[kStressBlock];
  const auto cpu = [] { return static_cast<double>(clock()) * 1e9 / CLOCKS_PER_SEC; };
  const int rounds = 200000;
  for (uint32_t b = 0; b < kStressBlocks; ++b) {
    if (pread(fd, page, kStressBlock, static_cast<off_t>(b) * kStressBlock) != kStressBlock)
      return 1;
  }
  double began = cpu();
  for (int i = 0; i < rounds; ++i) {
    const auto at = static_cast<off_t>(static_cast<uint32_t>(i) * 7 % kStressBlocks) * kStressBlock;
    if (pread(fd, page, kStressBlock, at) != kStressBlock) return 1;
  }
  std::printf("read %.0f ns", (cpu() - began) / rounds);
  began = cpu();
  for (int i = 0; i < rounds; ++i) {
    const auto at = static_cast<off_t>(static_cast<uint32_t>(i) * 7 % kStressBlocks) * kStressBlock;
    if (pwrite(fd, page, kStressBlock, at) != kStressBlock) return 1;
  }
  std::printf(", write %.0f ns\n", (cpu() - began) / rounds);
  return 0;
}

}  // namespace
}  // namespace varve::test

int main(int argc, char** argv) {
  bool gate = false;
  double seconds = 5;
  uint64_t seed = 1;
  for (int i = 1; i + 1 < argc; ++i) {
    const std::string option = argv[i + 1];
    if (std::string(argv[i]) == "-D" && chdir(argv[i + 1]) != 0) return 2;
    if (option == "stress=gate") gate = true;
    if (option == "stress=measure") return varve::test::measure();
    if (option.starts_with("seconds=")) seconds = std::atof(option.c_str() + 8);
    if (option.starts_with("seed=")) seed = std::strtoull(option.c_str() + 5, nullptr, 10);
  }
  varve::test::stress_map_quorum();
  return varve::test::run(gate, seconds, seed);
}
