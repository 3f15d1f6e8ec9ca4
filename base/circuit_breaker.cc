#include "base/circuit_breaker.h"

#include "base/check.h"

namespace varve {

CircuitBreaker::CircuitBreaker(CircuitBreakerPolicy policy) : policy_(policy) {
  VARVE_CHECK(policy_.failures > 0 && policy_.pause.nanoseconds > 0);
}

bool CircuitBreaker::allow(Instant now) {
  switch (state_) {
    case State::kClosed:
      return true;
    case State::kOpen:
    case State::kProbing:
      if (now - since_ < policy_.pause) return false;
      state_ = State::kProbing;
      since_ = now;
      return true;
  }
  VARVE_UNREACHABLE("no such state");
}

void CircuitBreaker::succeeded() {
  // Also in the open state: a call that began before it opened proves as much as a probe.
  state_ = State::kClosed;
  in_a_row_ = 0;
}

void CircuitBreaker::failed(Instant now) {
  switch (state_) {
    case State::kClosed:
      if (++in_a_row_ < policy_.failures) return;
      break;
    case State::kOpen:
      return;  // a straggler; it must not prolong the pause
    case State::kProbing:
      break;
  }
  state_ = State::kOpen;
  since_ = now;
}

}  // namespace varve
