// The loop of one real thread: epoll for what becomes ready, a queue for what other threads have
// finished, timers from the scheduler, and the scheduler's fibers in between.
//
// One turn: completed operations, timers, ready fibers (a bounded number), end-of-turn hooks (a
// stream sends what several fibers wrote, a ring submits what they asked for), then one epoll_wait.
// Watchers and completions only mark and wake; fibers never run inside them, so nothing is
// destroyed under an iteration.
//
// An Operation is work that leaves the thread: it owns its buffers and is itself owned by the world
// from begin() until it is finished. A fiber that is cancelled in its wait leaves it behind; the
// loop deletes it when it comes back. Everything but finished() is for the loop's own thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/status.h"
#include "real_io/syscalls.h"
#include "real_io/unique_fd.h"
#include "runtime/clock.h"
#include "runtime/scheduler.h"

namespace varve::real_io {

class Operation {
 public:
  virtual ~Operation() = default;
  // Does the work, on some thread. May touch the memory of buffers, never their counts, and no
  // scheduler.
  virtual void perform(Syscalls& syscalls) = 0;

  WorkClass work_class = WorkClass::kBackground;

 private:
  friend class Reactor;
  Fiber* waiter_ = nullptr;
  bool finished_ = false;
  bool abandoned_ = false;
};

// Told of readiness of a descriptor. Runs in the loop, outside of fibers; must only mark, wake and
// send.
class Watcher {
 public:
  virtual void ready(uint32_t events) = 0;

 protected:
  ~Watcher() = default;
};

// Called once at the end of the turn in which it was asked for.
class TurnHook {
 public:
  virtual void turn_ended() = 0;

 protected:
  ~TurnHook() = default;

 private:
  friend class Reactor;
  bool hooked_ = false;
};

class Reactor {
 public:
  // Both must outlive this. Aborts when the kernel gives no epoll: nothing can be done without.
  Reactor(Syscalls& syscalls, Clock& clock);
  // Invariant: not running, nothing under way.
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  Scheduler& scheduler() { return scheduler_; }
  Syscalls& syscalls() { return syscalls_; }

  // Runs until no fiber lives and no operation is under way.
  void run();
  bool running() const { return running_; }

  // --- Readiness ---

  // Edge-triggered: `watcher` hears of each change until unwatch(). Both sides of `fd` are watched.
  Status watch(int fd, Watcher* watcher);
  // Before close(fd). Never from a Watcher.
  void unwatch(int fd);

  // --- Operations ---

  // Counts `operation` as under way; whoever performs it must call finished() once.
  void begin(Operation* operation);
  // Thread-safe: hands the operation back to the loop.
  void finished(Operation* operation);
  // The same without a detour, for backends that live on the loop's thread.
  void finished_here(Operation* operation);
  // Suspends until the operation is finished; then the caller owns it again. After Cancelled or
  // DeadlineExceeded it stays the world's, and the caller forgets it.
  Status await(Operation* operation, const char* label);
  // Forgets an operation that was begun: the world deletes it when it is finished.
  void abandon(Operation* operation);

  // --- Turns ---

  // Calls hook->turn_ended() at the end of this turn.
  void at_turn_end(TurnHook* hook);
  void forget(TurnHook* hook);
  // Whether the loop has something to do that is no less urgent than `work_class`.
  bool has_more(WorkClass work_class) const {
    return scheduler_.has_ready(work_class) || !hooks_.empty();
  }
  // True for the first who asks in a turn: it may hold up the loop for a moment.
  bool take_stall() { return std::exchange(stall_left_, false); }
  // Suspends until the loop has looked at all descriptors once. For fibers that could go on for
  // ever without a wait, such as a reader of a fast stream.
  Status next_turn();

 private:
  class WakeUp final : public Watcher {
   public:
    explicit WakeUp(Reactor& reactor) : reactor_(reactor) {}
    void ready(uint32_t events) override;

   private:
    Reactor& reactor_;
  };

  void take_finished();
  void retire(Operation* operation);
  void end_turn();
  void wait_for_events();
  int64_t wait_limit();

  Syscalls& syscalls_;
  Clock& clock_;
  Scheduler scheduler_;
  UniqueFd epoll_;
  UniqueFd wake_;
  WakeUp wake_watcher_{*this};
  std::vector<TurnHook*> hooks_;
  std::vector<Fiber*> next_turn_;
  uint64_t under_way_ = 0;
  bool running_ = false;
  bool dispatching_ = false;
  bool stall_left_ = true;  // in this turn

  std::atomic<bool> asleep_{false};
  std::mutex mutex_;  // guards finished_
  std::vector<Operation*> finished_;
};

// What a parked fiber's wake-up means to its caller.
Status wake_status(Wake wake, const char* label);

// One fiber that waits for one thing of the loop.
class Waiter {
 public:
  // Invariant: nobody waits here.
  Status wait(const char* label, Instant deadline = Instant::never());
  void wake(Scheduler& scheduler) {
    if (fiber_ != nullptr) scheduler.wake(std::exchange(fiber_, nullptr));
  }
  bool waiting() const { return fiber_ != nullptr; }

 private:
  Fiber* fiber_ = nullptr;
};

}  // namespace varve::real_io
