// Threads that do what would block the loop: file operations, name lookups, pure CPU work.
//
// Jobs are taken by work class, commit first. Half of the threads (at least one) take nothing below
// kRead, so that a commit never queues behind background work that holds every thread. Threads
// block all signals and have an alternate stack for crash prints.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <vector>

#include "real_io/reactor.h"
#include "runtime/offload.h"

namespace varve::real_io {

class ThreadPool {
 public:
  // `threads` ≥ 1. `reactor` must outlive this.
  ThreadPool(Reactor& reactor, size_t threads);
  // Finishes all jobs first.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // The operation goes to Reactor::finished() when performed. It must have been begun.
  void submit(Operation* operation);
  // begin() and submit(), in the class of the running fiber.
  void start(Operation* operation);
  Reactor& reactor() { return reactor_; }

 private:
  struct Group {
    std::condition_variable changed;
    size_t idle = 0;    // sleep, and nobody has called them
    size_t called = 0;  // calls that no thread has heard yet
  };

  void work(size_t index);
  Operation* take(size_t classes);

  Reactor& reactor_;
  std::mutex mutex_;
  Group common_;    // take all classes
  Group reserved_;  // take commits and reads
  std::deque<Operation*> queues_[kWorkClasses];
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

namespace internal {

template <class F>
class Call final : public Operation {
 public:
  explicit Call(F function) : function_(std::move(function)) {}
  void perform(Syscalls& syscalls) override { result.emplace(function_(syscalls)); }
  std::optional<std::invoke_result_t<F&, Syscalls&>> result;

 private:
  F function_;
};

}  // namespace internal

// Runs `function(Syscalls&)` on the pool and suspends until it is done; returns its Result (or
// Status). The function owns what it uses: after a cancelled wait it still runs.
template <class F>
auto run_on(ThreadPool& pool, const char* label, F function)
    -> std::invoke_result_t<F&, Syscalls&> {
  auto* call = new internal::Call<F>(std::move(function));
  pool.start(call);
  VARVE_TRY(pool.reactor().await(call, label));
  std::unique_ptr<internal::Call<F>> mine(call);
  return std::move(*mine->result);
}

// Pure CPU work on threads of its own, so that it can't hold up a sync.
class RealOffload final : public Offload {
 public:
  RealOffload(Reactor& reactor, size_t threads) : pool_(reactor, threads) {}
  void run(std::function<void()> work) override;

 private:
  ThreadPool pool_;
};

}  // namespace varve::real_io
