// The real World, put together: one reactor with its threads, disk, network, clocks and log.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "real_io/clock.h"
#include "real_io/disk.h"
#include "real_io/log.h"
#include "real_io/network.h"
#include "real_io/process.h"
#include "real_io/reactor.h"
#include "real_io/thread_pool.h"
#include "real_io/uring.h"
#include "runtime/world.h"

namespace varve::real_io {

enum class FileBackend : uint8_t {
  kAutomatic,  // a ring where the kernel gives one, else threads
  kThreads,
  kUring,  // Unsupported where the kernel gives none
};
// "auto", "threads", "uring"; Invalid otherwise.
Result<FileBackend> parse_file_backend(std::string_view text);

struct RealOptions {
  std::string root;  // the node's directory; must exist
  FileBackend files = FileBackend::kAutomatic;
  // Files keep what is not synced in memory, so that kill -9 is a power cut (hold_until_sync.h).
  bool hold_until_sync = false;
  LogOptions log;
  NetworkOptions network;
  uint64_t file_threads = 6;
  uint64_t offload_threads = 2;
  // Null: the process ends.
  std::function<void(const Status&)> on_failed_sync;

  template <class V>
  static void describe(V&& v) {
    v(&RealOptions::file_threads,
      {"file_threads", "count", 1, 256,
       "blocking file operations at the same time; half are kept for commits and reads"});
    v(&RealOptions::offload_threads,
      {"offload_threads", "count", 1, 256,
       "CPU work off the loop; one per core that may be spent on it"});
  }
};

class RealWorld {
 public:
  // `syscalls` must outlive it.
  static Result<std::unique_ptr<RealWorld>> create(const RealOptions& options,
                                                   Syscalls& syscalls = kernel());
  // Invariant: the reactor doesn't run.
  ~RealWorld();

  World& world() { return *world_; }
  Reactor& reactor() { return reactor_; }
  ProcessHost& processes() { return *processes_; }
  // Another directory of the machine as a Disk, such as the one of a shared object store. Never
  // held: other processes write there, too. Must not outlive this world.
  Result<std::unique_ptr<Disk>> open_directory(const std::string& path);
  bool uses_ring() const { return ring_ != nullptr; }
  // Whether options.hold_until_sync was set; for what opens a directory that only it writes.
  bool holds_until_sync() const { return held_disk_ != nullptr; }

  // Runs `main` as the first fiber and returns when all fibers and operations have ended. May be
  // called again.
  Status run(std::function<Status(RealWorld&)> main);

 private:
  RealWorld(const RealOptions& options, Syscalls& syscalls);
  Status open(const RealOptions& options);

  RealClock clock_;
  RealRandom random_;
  Reactor reactor_;
  ThreadPool file_threads_;
  RealOffload offload_;
  std::unique_ptr<UringTransfers> ring_;
  std::unique_ptr<DiskBackend> backend_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<Disk> real_disk_;
  std::unique_ptr<Disk> held_disk_;
  std::unique_ptr<Log> log_;
  Metrics metrics_;
  std::unique_ptr<ProcessHost> processes_;
  std::unique_ptr<World> world_;
};

}  // namespace varve::real_io
