#include "real_io/reactor.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/check.h"
#include "runtime/port/current.h"

namespace varve::real_io {
namespace {

// Fibers that run before the loop looks at descriptors again: bounds how long a reader waits behind
// fibers that only yield.
constexpr size_t kSwitchesPerTurn = 1024;

}  // namespace

Status wake_status(Wake wake, const char* label) {
  switch (wake) {
    case Wake::kSignalled:
      return Status();
    case Wake::kCancelled:
      return Status(Code::kCancelled, std::string("cancelled while waiting for ") + label);
    case Wake::kDeadline:
      return Status(Code::kDeadlineExceeded,
                    std::string("deadline passed while waiting for ") + label);
  }
  VARVE_UNREACHABLE("no such wake");
}

Status Waiter::wait(const char* label, Instant deadline) {
  VARVE_CHECK_MSG(fiber_ == nullptr, "two fibers wait where only one may");
  Scheduler& scheduler = Scheduler::current();
  fiber_ = scheduler.current_fiber();
  const Wake wake = scheduler.park(label, deadline);
  if (wake == Wake::kSignalled) return Status();
  fiber_ = nullptr;
  return wake_status(wake, label);
}

Reactor::Reactor(Syscalls& syscalls, Clock& clock)
    : syscalls_(syscalls), clock_(clock), scheduler_(clock) {
  epoll_ = UniqueFd(syscalls_, syscalls_.epoll_create());
  wake_ = UniqueFd(syscalls_, syscalls_.eventfd());
  VARVE_CHECK_MSG(epoll_.valid() && wake_.valid(), "no descriptors for the reactor");
  const Status watched = watch(wake_.get(), &wake_watcher_);
  VARVE_CHECK_MSG(watched.ok(), "the reactor can't watch its own wake-up");
}

Reactor::~Reactor() {
  VARVE_CHECK_MSG(!running_ && under_way_ == 0, "a reactor ended under work");
}

void Reactor::WakeUp::ready(uint32_t) {
  uint64_t count = 0;
  (void)reactor_.syscalls_.read(reactor_.wake_.get(), &count, sizeof count);
}

Status Reactor::watch(int fd, Watcher* watcher) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = watcher;
  const int result = syscalls_.epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  if (result < 0) {
    return Status(Code::kFull,
                  "the kernel watches no more descriptors: error " + std::to_string(-result))
        .with_hint("raise fs.epoll.max_user_watches");
  }
  return Status();
}

void Reactor::unwatch(int fd) {
  VARVE_CHECK_MSG(!dispatching_, "a watcher ended while events are delivered");
  epoll_event event{};
  const int result = syscalls_.epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, &event);
  VARVE_CHECK_MSG(result == 0, "unwatch of a descriptor that is not watched");
}

void Reactor::begin(Operation* operation) {
  (void)operation;
  ++under_way_;
}

void Reactor::finished(Operation* operation) {
  {
    std::lock_guard lock(mutex_);
    finished_.push_back(operation);
  }
  // Pairs with wait_for_events(): either the loop sees the operation, or we see it asleep.
  if (!asleep_.exchange(false)) return;
  const uint64_t one = 1;
  while (syscalls_.write(wake_.get(), &one, sizeof one) == -EINTR) {
  }
}

void Reactor::finished_here(Operation* operation) {
  retire(operation);
}

void Reactor::retire(Operation* operation) {
  VARVE_CHECK(under_way_ > 0 && !operation->finished_);
  --under_way_;
  if (operation->abandoned_) {
    delete operation;
    return;
  }
  operation->finished_ = true;
  if (operation->waiter_ != nullptr) scheduler_.wake(std::exchange(operation->waiter_, nullptr));
}

void Reactor::take_finished() {
  std::vector<Operation*> batch;
  {
    std::lock_guard lock(mutex_);
    batch.swap(finished_);
  }
  for (Operation* operation : batch) retire(operation);
}

Status Reactor::await(Operation* operation, const char* label) {
  if (operation->finished_) return Status();
  operation->waiter_ = scheduler_.current_fiber();
  const Wake wake = scheduler_.park(label);
  operation->waiter_ = nullptr;
  // It may have finished between the cancellation and now; then its result is the truth.
  if (operation->finished_) return Status();
  VARVE_CHECK(wake != Wake::kSignalled);
  operation->abandoned_ = true;
  return wake_status(wake, label);
}

void Reactor::abandon(Operation* operation) {
  if (operation->finished_) {
    delete operation;
  } else {
    operation->abandoned_ = true;
  }
}

void Reactor::at_turn_end(TurnHook* hook) {
  if (hook->hooked_) return;
  hook->hooked_ = true;
  hooks_.push_back(hook);
}

void Reactor::forget(TurnHook* hook) {
  if (!hook->hooked_) return;
  hook->hooked_ = false;
  hooks_.erase(std::find(hooks_.begin(), hooks_.end(), hook));
}

Status Reactor::next_turn() {
  Fiber* fiber = scheduler_.current_fiber();
  next_turn_.push_back(fiber);
  const Wake wake = scheduler_.park("the next turn");
  if (wake != Wake::kSignalled) {
    next_turn_.erase(std::remove(next_turn_.begin(), next_turn_.end(), fiber), next_turn_.end());
  }
  return wake_status(wake, "the next turn");
}

void Reactor::end_turn() {
  std::vector<TurnHook*> hooks;
  hooks.swap(hooks_);
  Scheduler* outer = port::exchange_current_scheduler(&scheduler_);  // hooks may spawn
  for (TurnHook* hook : hooks) {
    hook->hooked_ = false;
    hook->turn_ended();
  }
  (void)port::exchange_current_scheduler(outer);
}

int64_t Reactor::wait_limit() {
  if (scheduler_.has_ready() || !next_turn_.empty() || !hooks_.empty()) return 0;
  const Instant next = scheduler_.next_timer();
  if (next == Instant::never()) return -1;
  return std::max<int64_t>(0, (next - clock_.now()).nanoseconds);
}

void Reactor::wait_for_events() {
  int64_t limit = wait_limit();
  if (limit != 0) {
    asleep_.store(true);
    std::lock_guard lock(mutex_);
    if (!finished_.empty()) limit = 0;
  }
  std::array<epoll_event, 256> events;
  const int count = syscalls_.epoll_wait(epoll_.get(), events.data(), events.size(), limit);
  asleep_.store(false);
  VARVE_CHECK_MSG(count >= 0 || count == -EINTR, "epoll_wait failed");
  dispatching_ = true;
  for (int i = 0; i < count; ++i) {
    static_cast<Watcher*>(events[static_cast<size_t>(i)].data.ptr)
        ->ready(events[static_cast<size_t>(i)].events);
  }
  dispatching_ = false;
}

void Reactor::run() {
  VARVE_CHECK_MSG(!running_, "a reactor runs once at a time");
  running_ = true;
  for (;;) {
    stall_left_ = true;
    take_finished();
    scheduler_.fire_timers(clock_.now());
    std::vector<Fiber*> waiting;
    waiting.swap(next_turn_);
    for (Fiber* fiber : waiting) scheduler_.wake(fiber);
    scheduler_.run_ready(kSwitchesPerTurn);
    end_turn();
    if (scheduler_.statistics().fibers_live == 0 && under_way_ == 0) break;
    wait_for_events();
  }
  running_ = false;
}

}  // namespace varve::real_io
