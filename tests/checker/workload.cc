#include "tests/checker/workload.h"

#include <algorithm>
#include <chrono>

namespace varve::checker {
namespace {

int64_t now_nanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void sleep_for(Duration duration) {
  std::this_thread::sleep_for(std::chrono::nanoseconds(duration.nanoseconds));
}

}  // namespace

Workload::Workload(WorkloadOptions options, Journal& journal)
    : options_(std::move(options)), journal_(journal), last_acknowledged_(now_nanos()) {
  for (uint32_t i = 0; i < options_.sessions; ++i)
    threads_.emplace_back([this, i] { run_session(options_.first_session + i); });
}

Workload::~Workload() {
  stop();
}

void Workload::stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool Workload::wait_for_progress(uint64_t more, Duration limit) const {
  const uint64_t wanted = counters().acknowledged + more;
  const int64_t deadline = now_nanos() + limit.nanoseconds;
  while (counters().acknowledged < wanted) {
    if (now_nanos() > deadline) return false;
    sleep_for(Duration::millis(2));
  }
  return true;
}

WorkloadCounters Workload::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

Status Workload::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

std::string Workload::last_trouble() const {
  const std::lock_guard lock(mutex_);
  return last_trouble_;
}

void Workload::run_session(uint32_t number) {
  Session session({options_.target, number, options_.statement_limit}, journal_);
  RandomStream random(journal_.seed() ^ journal_.position(),
                      "checker workload " + std::to_string(number));
  while (!stopping_) {
    const bool transfer = random.below(100) < options_.transfer_percent;
    const Result<Outcome> ended = transfer ? session.transfer() : session.insert();
    if (ended.ok()) {
      count(*ended);
      if (*ended != Outcome::kAcknowledged) {
        const std::lock_guard lock(mutex_);
        last_trouble_ = session.last_trouble();
      }
      if (options_.pause.nanoseconds > 0) sleep_for(options_.pause);
      continue;
    }
    const std::lock_guard lock(mutex_);
    if (!ended.is(Code::kUnavailable)) {
      if (status_.ok()) status_ = ended.status();
      return;
    }
    // Nothing was sent. The lock is held over the pause on purpose: while nobody can connect, one
    // session's knocking is enough.
    ++counters_.failed_connects;
    last_trouble_ = ended.status().to_string();
    sleep_for(Duration::millis(5));
  }
}

void Workload::count(Outcome outcome) {
  const std::lock_guard lock(mutex_);
  switch (outcome) {
    case Outcome::kAcknowledged: {
      const int64_t now = now_nanos();
      ++counters_.acknowledged;
      counters_.longest_gap =
          std::max(counters_.longest_gap, Duration::nanos(now - last_acknowledged_));
      last_acknowledged_ = now;
      return;
    }
    case Outcome::kRefused:
      ++counters_.refused;
      return;
    case Outcome::kUnknown:
      ++counters_.unknown;
      return;
  }
}

}  // namespace varve::checker
