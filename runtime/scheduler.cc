#include "runtime/scheduler.h"

#include <algorithm>

#include "runtime/clock.h"
#include "runtime/fiber.h"
#include "runtime/port/current.h"
#include "runtime/scope.h"

namespace varve {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackSize = 1 << 20;  // instrumented frames are several times larger
#else
constexpr size_t kStackSize = 256 << 10;
#endif

// How many turns a class gets before the next lower one gets one, while both have work.
constexpr uint32_t kWeights[kWorkClasses] = {8, 4, 2, 1};

}  // namespace

struct Scheduler::Internals {
  port::StackPool stacks{kStackSize};
  port::Context home;
};

Scheduler::Scheduler(Clock& clock, SchedulePolicy* policy)
    : clock_(clock), policy_(policy), internals_(new Internals) {
  root_.reset(new Scope("root", *this));
}

Scheduler::~Scheduler() {
  VARVE_CHECK_MSG(abandoned_ || fibers_.empty(), "a scheduler was destroyed with live fibers");
  if (abandoned_) (void)root_.release();  // its scope still names stacks that are gone
}

Scheduler& Scheduler::current() {
  Scheduler* scheduler = port::current_scheduler();
  VARVE_CHECK_MSG(scheduler != nullptr, "no scheduler runs on this thread");
  return *scheduler;
}

Scheduler* Scheduler::current_or_null() {
  return port::current_scheduler();
}

void Scheduler::start(const char* label, Task task) {
  spawn(label, *root_, FiberContext{}, std::move(task));
}

void Scheduler::spawn(const char* label, Scope& scope, const FiberContext& context, Task task) {
  VARVE_CHECK(!abandoned_);
  auto* fiber = new Fiber;
  fiber->label = label;
  fiber->scheduler = this;
  fiber->scope = &scope;
  fiber->context = context;
  fiber->task = std::move(task);
  fiber->number = ++sequence_;
  fiber->stack = internals_->stacks.take();
  port::prepare_context(fiber->machine, fiber->stack, &Scheduler::fiber_main_entry, fiber);
  ++scope.live_;
  fibers_.push_back(fiber);
  ++statistics_.fibers_started;
  ++statistics_.fibers_live;
  ready_[static_cast<size_t>(context.work_class)].push_back(fiber);
}

void Scheduler::fiber_main_entry(void* argument) {
  auto* fiber = static_cast<Fiber*>(argument);
  fiber->task();
  fiber->task = Task();  // captures go while the fiber still runs: their destructors may wait
  Scheduler& scheduler = *fiber->scheduler;
  fiber->state = Fiber::State::kEnded;
  port::finish_switch(fiber->machine, scheduler.internals_->home);
}

Fiber* Scheduler::next_ready() {
  if (policy_ != nullptr) {
    size_t total = 0;
    for (const auto& queue : ready_) total += queue.size();
    if (total == 0) return nullptr;
    size_t index = total == 1 ? 0 : policy_->pick(total);
    for (auto& queue : ready_) {
      if (index < queue.size()) {
        Fiber* fiber = queue[index];
        queue.erase(queue.begin() + static_cast<ptrdiff_t>(index));
        return fiber;
      }
      index -= queue.size();
    }
    VARVE_UNREACHABLE("a policy picked outside its range");
  }
  for (int round = 0; round < 2; ++round) {
    for (size_t i = 0; i < kWorkClasses; ++i) {
      if (ready_[i].empty() || credits_[i] == 0) continue;
      --credits_[i];
      Fiber* fiber = ready_[i].front();
      ready_[i].pop_front();
      return fiber;
    }
    std::copy(std::begin(kWeights), std::end(kWeights), std::begin(credits_));
  }
  return nullptr;
}

bool Scheduler::has_ready() const {
  return has_ready(WorkClass::kBackground);
}

bool Scheduler::has_ready(WorkClass lowest) const {
  return std::any_of(std::begin(ready_), std::begin(ready_) + static_cast<size_t>(lowest) + 1,
                     [](const auto& queue) { return !queue.empty(); });
}

void Scheduler::run_ready(size_t limit) {
  VARVE_CHECK_MSG(running_ == nullptr, "run_ready() from a fiber");
  Scheduler* outer = port::exchange_current_scheduler(this);
  while (!abandoned_ && limit-- > 0) {
    Fiber* fiber = next_ready();
    if (fiber == nullptr) break;
    switch_to(fiber);
  }
  (void)port::exchange_current_scheduler(outer);
}

void Scheduler::switch_to(Fiber* fiber) {
  VARVE_CHECK(fiber->state == Fiber::State::kReady);
  fiber->state = Fiber::State::kRunning;
  running_ = fiber;
  ++statistics_.switches;
  ++statistics_.switches_by_account[fiber->context.account];
  port::switch_context(internals_->home, fiber->machine);
  running_ = nullptr;
  if (fiber->state == Fiber::State::kEnded) finish(fiber);
}

void Scheduler::switch_out() {
  port::switch_context(running_->machine, internals_->home);
}

void Scheduler::finish(Fiber* fiber) {
  internals_->stacks.give(fiber->stack);
  fibers_.erase(std::find(fibers_.begin(), fibers_.end(), fiber));
  --statistics_.fibers_live;
  Scope* scope = fiber->scope;
  delete fiber;
  scope->fiber_ended();
}

Wake Scheduler::park(const char* label, Instant deadline) {
  Fiber* fiber = running_;
  VARVE_CHECK_MSG(fiber != nullptr, "a wait outside of a fiber");
  VARVE_CHECK_MSG(no_suspend_ == 0, "a suspension under NoSuspend");
  VARVE_CHECK_MSG(!port::inside_catch(), "a suspension inside a catch block");
  if (fiber->shields == 0) {
    if (fiber->scope->cancelled_) return Wake::kCancelled;
    deadline = std::min(deadline, fiber->context.deadline);
  }
  if (deadline != Instant::never()) {
    if (deadline <= clock_.now()) return Wake::kDeadline;
    const auto key = std::make_pair(deadline, ++sequence_);
    fiber->timer = key;
    timers_.emplace(key, Timer{fiber, fiber->park_number + 1});
  }
  ++fiber->park_number;
  fiber->state = Fiber::State::kParked;
  fiber->waits_for = label;
  fiber->wake = Wake::kSignalled;
  switch_out();
  fiber->waits_for = nullptr;
  return fiber->wake;
}

void Scheduler::wake(Fiber* fiber, Wake reason) {
  if (fiber->state != Fiber::State::kParked) return;
  if (fiber->timer) {
    timers_.erase(*fiber->timer);
    fiber->timer.reset();
  }
  fiber->state = Fiber::State::kReady;
  fiber->wake = reason;
  ready_[static_cast<size_t>(fiber->context.work_class)].push_back(fiber);
}

void Scheduler::yield() {
  Fiber* fiber = running_;
  VARVE_CHECK_MSG(fiber != nullptr && no_suspend_ == 0, "a yield where no suspension may be");
  VARVE_CHECK_MSG(!port::inside_catch(), "a suspension inside a catch block");
  fiber->state = Fiber::State::kReady;
  ready_[static_cast<size_t>(fiber->context.work_class)].push_back(fiber);
  switch_out();
}

Instant Scheduler::next_timer() const {
  return timers_.empty() ? Instant::never() : timers_.begin()->first.first;
}

void Scheduler::fire_timers(Instant now) {
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    const Timer timer = timers_.begin()->second;
    VARVE_CHECK(timer.fiber->park_number == timer.park_number);
    ++statistics_.timers_fired;
    wake(timer.fiber, Wake::kDeadline);  // takes the timer out
  }
}

void Scheduler::abandon() {
  abandoned_ = true;
  for (auto& queue : ready_) queue.clear();
  timers_.clear();
  fibers_.clear();
}

std::vector<std::string> Scheduler::describe_waits() const {
  std::vector<std::string> lines;
  for (const Fiber* fiber : fibers_) {
    const bool parked = fiber->state == Fiber::State::kParked;
    lines.push_back(std::string(fiber->label) + ": " + (parked ? "waits for " : "is ready") +
                    (parked ? fiber->waits_for : "") + " (scope " + fiber->scope->name() + ")");
  }
  return lines;
}

Status sleep_for(Duration duration) {
  Scheduler& scheduler = Scheduler::current();
  const Instant until = scheduler.clock().now() + duration;
  switch (scheduler.park("sleep", until)) {
    case Wake::kSignalled:
      return Status();
    case Wake::kCancelled:
      return Status(Code::kCancelled, "cancelled while sleeping");
    case Wake::kDeadline:
      // The inherited deadline may be earlier than the end of the sleep.
      return scheduler.clock().now() >= until
                 ? Status()
                 : Status(Code::kDeadlineExceeded, "deadline passed while sleeping");
  }
  VARVE_UNREACHABLE("no such wake");
}

Status yield() {
  Scheduler::current().yield();
  return check_cancelled();
}

Instant now() {
  return Scheduler::current().clock().now();
}

NoSuspend::NoSuspend() : scheduler_(Scheduler::current()) {
  ++scheduler_.no_suspend_;
}
NoSuspend::~NoSuspend() {
  --scheduler_.no_suspend_;
}

namespace {

Fiber& running_fiber() {
  Fiber* fiber = Scheduler::current().current_fiber();
  VARVE_CHECK_MSG(fiber != nullptr, "needs a fiber");
  return *fiber;
}

}  // namespace

Shield::Shield() {
  ++running_fiber().shields;
}
Shield::~Shield() {
  --running_fiber().shields;
}

DeadlineGuard::DeadlineGuard(Duration from_now) : previous_(running_fiber().context.deadline) {
  running_fiber().context.deadline = std::min(previous_, now() + from_now);
}
DeadlineGuard::~DeadlineGuard() {
  running_fiber().context.deadline = previous_;
}

ContextGuard::ContextGuard(FiberContext context) : previous_(running_fiber().context) {
  running_fiber().context = context;
}
ContextGuard::~ContextGuard() {
  running_fiber().context = previous_;
}

const FiberContext& fiber_context() {
  return running_fiber().context;
}

}  // namespace varve
