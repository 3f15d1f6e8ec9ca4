// The scheduler's own record of one fiber. Not for components.
#pragma once

#include <optional>

#include "runtime/port/context.h"
#include "runtime/scheduler.h"

namespace varve {

class Fiber {
 public:
  enum class State : uint8_t { kReady, kRunning, kParked, kEnded };

  const char* label;
  Scheduler* scheduler;
  Scope* scope;
  FiberContext context;
  Task task;
  State state = State::kReady;
  Wake wake = Wake::kSignalled;
  const char* waits_for = nullptr;
  uint32_t shields = 0;
  uint64_t number = 0;       // order of creation
  uint64_t park_number = 0;  // tells a timer of an earlier wait from one of this wait
  std::optional<std::pair<Instant, uint64_t>> timer;
  port::Stack stack;
  port::Context machine;
};

}  // namespace varve
