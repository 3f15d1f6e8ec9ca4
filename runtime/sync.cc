#include "runtime/sync.h"

#include <algorithm>
#include <string>

#include "runtime/fiber.h"

namespace varve {
namespace {

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

}  // namespace

WaitQueue::~WaitQueue() {
  // A queue on an abandoned stack is never destroyed, so whoever waits here waits for ever.
  VARVE_CHECK_MSG(waiters_.empty(), "a wait queue was destroyed under its waiters");
}

Status WaitQueue::wait(const char* label, Instant deadline) {
  Scheduler& scheduler = Scheduler::current();
  const auto place = waiters_.insert(waiters_.end(), scheduler.current_fiber());
  const Wake wake = scheduler.park(label, deadline);
  // A signal takes the waiter out of the queue before it runs; any other end leaves that to us.
  if (wake != Wake::kSignalled) waiters_.erase(place);
  return wake_status(wake, label);
}

bool WaitQueue::wake_one() {
  while (!waiters_.empty()) {
    Fiber* fiber = waiters_.front();
    // One that was cancelled but has not run yet is still in line; the signal belongs to the next.
    if (fiber->state != Fiber::State::kParked) {
      auto next = std::find_if(waiters_.begin(), waiters_.end(),
                               [](const Fiber* f) { return f->state == Fiber::State::kParked; });
      if (next == waiters_.end()) return false;
      fiber = *next;
      waiters_.erase(next);
    } else {
      waiters_.pop_front();
    }
    fiber->scheduler->wake(fiber);
    return true;
  }
  return false;
}

void WaitQueue::wake_all() {
  while (wake_one()) {
  }
}

Status Mutex::lock(const char* label) {
  if (!held_ && queue_.empty()) {
    held_ = true;
    return Status();
  }
  VARVE_TRY(queue_.wait(label));
  VARVE_CHECK(held_);  // handed over by unlock()
  return Status();
}

bool Mutex::try_lock() {
  if (held_ || !queue_.empty()) return false;
  held_ = true;
  return true;
}

void Mutex::unlock() {
  VARVE_CHECK_MSG(held_, "unlock of a mutex that is not held");
  held_ = queue_.wake_one();
}

Status Semaphore::acquire(uint64_t count, const char* label) {
  if (try_acquire(count)) return Status();
  Scheduler& scheduler = Scheduler::current();
  Waiting waiting{count, false, scheduler.current_fiber()};
  const auto place = queue_.insert(queue_.end(), &waiting);
  const Wake wake = scheduler.park(label);
  if (waiting.granted) return Status();
  queue_.erase(place);
  grant();  // a smaller request may have stood behind this one
  return wake_status(wake, label);
}

bool Semaphore::try_acquire(uint64_t count) {
  if (!queue_.empty() || available_ < count) return false;
  available_ -= count;
  return true;
}

void Semaphore::release(uint64_t count) {
  available_ += count;
  grant();
}

void Semaphore::grant() {
  while (!queue_.empty() && queue_.front()->count <= available_) {
    Waiting* waiting = queue_.front();
    queue_.pop_front();
    available_ -= waiting->count;
    waiting->granted = true;
    waiting->fiber->scheduler->wake(waiting->fiber);
  }
}

}  // namespace varve
