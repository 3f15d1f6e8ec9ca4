#include "runtime/port/current.h"

#include <utility>

namespace varve::port {
namespace {
thread_local Scheduler* current = nullptr;
}

// noinline: a fiber must not reuse a thread-local address that was computed before a switch.
__attribute__((noinline)) Scheduler* current_scheduler() {
  return current;
}
__attribute__((noinline)) Scheduler* exchange_current_scheduler(Scheduler* scheduler) {
  return std::exchange(current, scheduler);
}

}  // namespace varve::port
