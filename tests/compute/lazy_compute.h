// A Postgres under the shim without Varve behind it: pages come from a cleanly stopped data
// directory, and the commit gate is the real one over the real local log, with a quorum that
// acknowledges at once.
//
// A test's stand-in for agent and PostgresHost: plain system calls and threads, one compute a
// process.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "compute/arena/operations.h"
#include "compute/arena/protocol.h"
#include "compute/gate/gate.h"

namespace varve::test {

struct LazyComputeOptions {
  std::string original;  // stopped data directory, the storage
  std::string data;      // to be made: sparse files
  std::string shim;      // libvarve_shim.so
  std::string postgres = "/usr/lib/postgresql/15/bin/postgres";
  std::vector<std::string> settings;         // "name=value", as -c
  std::atomic<bool>* hold_quorum = nullptr;  // true: nothing is acknowledged
  std::atomic<uint32_t>* page_delay_us = nullptr;
  bool log = true;  // false: no pg_control and no log; for a program that is no Postgres
  wal::LogIdentity log_identity;  // when there is no pg_control but a log: where it begins
  Lsn log_start, log_previous;
  bool adversary =
      false;  // answers late, sometimes not at all, and punches clean blocks all the time
  std::atomic<uint64_t>* quorum = nullptr;  // told what is acknowledged, before the gate is
};

class LazyCompute {
 public:
  explicit LazyCompute(LazyComputeOptions options);
  // Kills what still runs.
  ~LazyCompute();
  LazyCompute(const LazyCompute&) = delete;
  LazyCompute& operator=(const LazyCompute&) = delete;

  // Makes the directory and the arena, starts Postgres and says go. False: see error().
  bool start();
  // SIGTERM-family to the postmaster, and its end: the wait status.
  int stop(int signal);
  // What closing the agent does to Postgres: closes the gate and goes away. The children are left
  // to die.
  void vanish();

  const varve_counters& counters() const { return arena_->counters; }
  varve_arena* arena() { return arena_; }
  const std::string& error() const { return error_; }
  std::string kill_text();
  pid_t pid() const { return pid_; }
  uint32_t files() const { return arena_->entry_count; }
  std::vector<std::string> notes();
  uint64_t pages_served() const { return pages_served_; }
  uint64_t blocks_punched() const { return punched_; }
  // Waits for the process that start() made: the wait status.
  int wait();

 private:
  struct Connection;
  bool build();
  bool spawn();
  void accept_loop();
  void serve(int fd);
  bool hello(int fd);
  void answer(int fd, const varve_fetch& ask);
  void prefetch(const varve_fetch& ask);
  bool read_original(const std::string& path, uint32_t first, uint32_t blocks, uint8_t* out);
  int cache_fd(varve_entry* entry);
  int original_fd(const std::string& path);
  void gate_loop();
  void punch_loop();
  void look_at_tail();
  void publish_word();

  LazyComputeOptions options_;
  std::string error_;
  std::string socket_path_;
  uint64_t nonce_ = 0;
  varve_arena* arena_ = nullptr;
  varve_env env_{};
  int arena_fd_ = -1, listen_fd_ = -1, bell_fd_ = -1, life_write_ = -1;
  int life_read_ = -1;
  pid_t pid_ = -1;
  std::atomic<bool> leaving_{false};
  std::atomic<uint64_t> pages_served_{0}, punched_{0};
  std::vector<uint8_t> control_;  // pg_control, withheld until hello
  std::mutex mutex_;
  std::map<std::string, int> originals_;
  std::map<uint32_t, int> caches_;  // descriptors for prefetch, by entry
  std::vector<std::string> notes_;
  std::string kill_text_;
  std::unique_ptr<compute::Gate> gate_;
  std::vector<std::thread> threads_;
  std::mutex threads_mutex_;
};

}  // namespace varve::test
