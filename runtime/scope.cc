#include "runtime/scope.h"

#include <algorithm>

#include "runtime/clock.h"
#include "runtime/fiber.h"

namespace varve {

Scope::Scope(const char* name, Scheduler& scheduler)
    : name_(name), scheduler_(scheduler), parent_(nullptr) {}

Scope::Scope(const char* name, OnError on_error)
    : Scope(name, *Scheduler::current().current_fiber()->scope, on_error) {
  of_an_object_ = false;
}

Scope::Scope(const char* name, Scope& parent, OnError on_error)
    : name_(name),
      scheduler_(parent.scheduler_),
      parent_(&parent),
      on_error_(on_error),
      of_an_object_(true),
      cancelled_(parent.cancelled_) {
  parent.children_.push_back(this);
}

Scope::~Scope() {
  if (live_ != 0) wait_all();
  VARVE_CHECK_MSG(children_.empty(), "a scope ended before a scope below it");
  if (parent_ != nullptr) {
    parent_->children_.erase(std::find(parent_->children_.begin(), parent_->children_.end(), this));
  }
}

void Scope::spawn_task(const char* label, Task task) {
  const Fiber* fiber = scheduler_.current_fiber();
  FiberContext context = fiber == nullptr ? FiberContext{} : fiber->context;
  if (of_an_object_) {
    context.deadline = Instant::never();
    context.trace = 0;
  }
  scheduler_.spawn(label, *this, context, std::move(task));
}

void Scope::record(Status status) {
  if (status.ok()) return;
  if (first_error_.ok() && !status.is(Code::kCancelled)) first_error_ = std::move(status);
  if (on_error_ == OnError::kCancelOthers) cancel();
}

void Scope::fiber_ended() {
  VARVE_CHECK(live_ > 0);
  if (--live_ != 0) return;
  for (Fiber* fiber : std::exchange(joiners_, {})) scheduler_.wake(fiber);
}

void Scope::wait_all() {
  Shield shield;
  while (live_ != 0) {
    joiners_.push_back(scheduler_.current_fiber());
    (void)scheduler_.park("fibers of a scope");
  }
}

Status Scope::join() {
  Status cancelled;
  while (live_ != 0) {
    Fiber* fiber = scheduler_.current_fiber();
    VARVE_CHECK_MSG(fiber != nullptr && fiber->scope != this, "a fiber can't join its own scope");
    joiners_.push_back(fiber);
    const Wake wake = scheduler_.park("fibers of a scope");
    if (wake == Wake::kSignalled) continue;
    joiners_.erase(std::remove(joiners_.begin(), joiners_.end(), fiber), joiners_.end());
    cancelled = wake == Wake::kCancelled
                    ? Status(Code::kCancelled, "cancelled while joining a scope")
                    : Status(Code::kDeadlineExceeded, "deadline passed while joining a scope");
    cancel();
    wait_all();
  }
  return first_error_.ok() ? cancelled : first_error_;
}

void Scope::cancel() {
  if (cancelled_) return;
  cancelled_ = true;
  // In order of creation, so that runs repeat. Waking only marks; nothing runs here.
  for (Fiber* fiber : scheduler_.fibers_) {
    if (fiber->scope == this && fiber->shields == 0) scheduler_.wake(fiber, Wake::kCancelled);
  }
  for (Scope* child : children_) child->cancel();
}

Status check_cancelled() {
  Scheduler& scheduler = Scheduler::current();
  const Fiber* fiber = scheduler.current_fiber();
  if (fiber == nullptr || fiber->shields != 0) return Status();
  if (fiber->scope->cancelled()) return Status(Code::kCancelled, "cancelled");
  if (fiber->context.deadline <= scheduler.clock().now()) {
    return Status(Code::kDeadlineExceeded, "deadline passed");
  }
  return Status();
}

}  // namespace varve
