// Several sessions at once, each in its own thread, that go on whatever is killed.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/checker/session.h"

namespace varve::checker {

struct WorkloadOptions {
  std::string target;  // libpq connection string
  uint32_t sessions = 4;
  uint32_t first_session = 1;  // journals know sessions by number; not two at once with the same
  uint32_t transfer_percent = 50;       // the rest are plain inserts
  Duration pause = Duration::nanos(0);  // of each session after each operation
  Duration statement_limit = Duration::seconds(60);
};

struct WorkloadCounters {
  uint64_t acknowledged = 0;
  uint64_t refused = 0;
  uint64_t unknown = 0;
  uint64_t failed_connects = 0;
  Duration longest_gap{};  // between two acknowledgements, of whichever session
};

class Workload {
 public:
  // Starts the sessions. `journal` must outlive it.
  Workload(WorkloadOptions options, Journal& journal);
  // stop().
  ~Workload();

  // Waits until each session has its answer (at most statement_limit) and ends.
  void stop();
  // Waits until `more` operations were acknowledged since the call. False after `limit`.
  bool wait_for_progress(uint64_t more, Duration limit) const;
  WorkloadCounters counters() const;
  // The first error that ends a session for good (the journal's); success if none.
  Status status() const;
  std::string last_trouble() const;

 private:
  void run_session(uint32_t number);
  void count(Outcome outcome);

  const WorkloadOptions options_;
  Journal& journal_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  WorkloadCounters counters_;
  int64_t last_acknowledged_ = 0;  // nanoseconds of the steady clock
  Status status_;
  std::string last_trouble_;
  std::vector<std::thread> threads_;
};

}  // namespace varve::checker
