// Fibers: plain functions that can wait.
//
// A Scheduler belongs to one reactor (one thread, one node's life) and runs its fibers one at a
// time, each until it waits. Nothing is preempted, so data that only fibers of one scheduler touch
// needs no lock between two waits; NoSuspend says where that is relied on. The world (sim/ or
// real_io/) owns the loop: it delivers events, fires timers, and calls run_ready() until nothing is
// ready.
//
// Built on raw fcontext (Boost.Context 1.74) instead of boost::context::fiber: a simulated crash
// must abandon stacks without unwinding them. Exception state is saved at each switch and
// sanitizers are told of it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "base/status.h"
#include "base/time.h"

namespace varve {

class Clock;
class Fiber;
class Scope;

// What a fiber works for; decides who runs first and whose disk and network operations go first.
enum class WorkClass : uint8_t { kCommit, kRead, kIngest, kBackground };
inline constexpr size_t kWorkClasses = 4;

// Whose budget and statistics are charged; 0 is the process itself. Tenants get numbers at attach.
struct Account {
  uint32_t number = 0;
  constexpr auto operator<=>(const Account&) const = default;
};

// Inherited by every fiber from the one that spawned it.
struct FiberContext {
  Instant deadline = Instant::never();
  WorkClass work_class = WorkClass::kBackground;
  Account account;
  uint64_t trace = 0;  // ties the log lines of one request together; 0 = none
};

// Why a wait ended.
enum class Wake : uint8_t { kSignalled, kCancelled, kDeadline };

// A call-once function that may own move-only captures.
class Task {
 public:
  Task() = default;
  template <class F>
  Task(F&& f)  // NOLINT
      : call_(new Holder<std::decay_t<F>>(std::forward<F>(f))) {}
  void operator()() { call_->run(); }
  explicit operator bool() const { return call_ != nullptr; }

 private:
  struct Base {
    virtual ~Base() = default;
    virtual void run() = 0;
  };
  template <class F>
  struct Holder : Base {
    explicit Holder(F f) : function(std::move(f)) {}
    void run() override { function(); }
    F function;
  };
  std::unique_ptr<Base> call_;
};

// Chooses which ready fiber runs next. The simulator draws; production leaves it out (classes by
// weight).
class SchedulePolicy {
 public:
  virtual ~SchedulePolicy() = default;
  // Index in [0, ready). `ready` > 1.
  virtual size_t pick(size_t ready) = 0;
};

struct SchedulerStatistics {
  uint64_t switches = 0;
  uint64_t fibers_started = 0;
  uint64_t fibers_live = 0;
  uint64_t timers_fired = 0;
  std::map<Account, uint64_t> switches_by_account;
};

class Scheduler {
 public:
  // `clock` and `policy` (may be null) must outlive this.
  explicit Scheduler(Clock& clock, SchedulePolicy* policy = nullptr);
  // Every fiber must have ended, or abandon() have been called.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // --- For the world ---

  // Runs ready fibers until none is ready, or `limit` of them have run: a world with devices looks
  // after those now and then, even while fibers yield to each other for ever. Not from a fiber.
  void run_ready(size_t limit = SIZE_MAX);
  bool has_ready() const;
  // The same among fibers of `lowest` and of more urgent classes.
  bool has_ready(WorkClass lowest) const;
  // The earliest timer; Instant::never() when there is none. Readings of this node's clock.
  Instant next_timer() const;
  // Wakes what waits for instants up to `now`, in order of (instant, order of creation).
  void fire_timers(Instant now);
  // Starts the node's first fiber. Its scope is `root_scope()`.
  void start(const char* label, Task task);
  // The scope of all fibers; cancelling it is how a node is shut down.
  Scope& root_scope() { return *root_; }
  // The node died: forgets every fiber. Stacks are neither unwound nor freed and no destructor
  // runs, so that cleaning code can't hide a missing sync.
  void abandon();
  // "label: waits for x (scope y)" for each fiber that has not ended, in order of creation.
  std::vector<std::string> describe_waits() const;
  const SchedulerStatistics& statistics() const { return statistics_; }

  // --- For runtime/ itself; components use Scope, sync.h and the guards below ---

  static Scheduler& current();  // invariant: called from a fiber or from run by the world
  static Scheduler* current_or_null();
  Fiber* current_fiber() const { return running_; }
  Clock& clock() const { return clock_; }

  void spawn(const char* label, Scope& scope, const FiberContext& context, Task task);
  // Suspends the running fiber until wake(), cancellation of its scope or its deadline (the earlier
  // of the fiber's own and `deadline`). `label` names what is waited for. Inside a Shield only
  // wake() and `deadline` count. Aborts under a NoSuspend and inside a catch block.
  Wake park(const char* label, Instant deadline = Instant::never());
  // Makes a parked fiber ready with this reason; the first reason counts. No effect on a ready
  // fiber.
  void wake(Fiber* fiber, Wake reason = Wake::kSignalled);
  // Lets others run once.
  void yield();

 private:
  friend class Fiber;
  friend class NoSuspend;
  friend class Scope;
  struct Timer {
    Fiber* fiber;
    uint64_t park_number;
  };

  static void fiber_main_entry(void* argument);
  void switch_to(Fiber* fiber);
  void switch_out();
  Fiber* next_ready();
  void finish(Fiber* fiber);

  Clock& clock_;
  SchedulePolicy* policy_;
  struct Internals;  // stacks, contexts, sanitizer state
  std::unique_ptr<Internals> internals_;
  std::unique_ptr<Scope> root_;
  Fiber* running_ = nullptr;
  std::deque<Fiber*> ready_[kWorkClasses];
  uint32_t credits_[kWorkClasses] = {};
  std::multimap<std::pair<Instant, uint64_t>, Timer> timers_;
  std::vector<Fiber*> fibers_;
  uint64_t sequence_ = 0;
  uint32_t no_suspend_ = 0;
  bool abandoned_ = false;
  SchedulerStatistics statistics_;
};

// Waits for `duration`; Cancelled or DeadlineExceeded when that comes first.
Status sleep_for(Duration duration);
// Lets other fibers run; Cancelled when the scope is.
Status yield();
// Reading of the running node's monotonic clock.
Instant now();

// While one lives, a suspension is a broken invariant. Guards references into containers that other
// fibers may change.
class NoSuspend {
 public:
  NoSuspend();
  ~NoSuspend();
  NoSuspend(const NoSuspend&) = delete;
  NoSuspend& operator=(const NoSuspend&) = delete;

 private:
  Scheduler& scheduler_;
};

// While one lives, waits of this fiber ignore cancellation and the inherited deadline. For clean-up
// that must finish, and for nothing else.
class Shield {
 public:
  Shield();
  ~Shield();
  Shield(const Shield&) = delete;
  Shield& operator=(const Shield&) = delete;
};

// Lowers the running fiber's deadline (never raises it) while it lives; inherited by what is
// spawned meanwhile.
class DeadlineGuard {
 public:
  explicit DeadlineGuard(Duration from_now);
  ~DeadlineGuard();
  DeadlineGuard(const DeadlineGuard&) = delete;
  DeadlineGuard& operator=(const DeadlineGuard&) = delete;

 private:
  Instant previous_;
};

// Changes class, account or trace of the running fiber while it lives; inherited by what is spawned
// meanwhile.
class ContextGuard {
 public:
  explicit ContextGuard(FiberContext context);
  ~ContextGuard();
  ContextGuard(const ContextGuard&) = delete;
  ContextGuard& operator=(const ContextGuard&) = delete;

 private:
  FiberContext previous_;
};

// The running fiber's context.
const FiberContext& fiber_context();

}  // namespace varve
