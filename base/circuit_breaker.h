// Stops asking what keeps failing: after enough failures in a row calls are refused at once, until
// a pause has passed; then one probe is let through, and its outcome decides. Pure: the caller
// brings the clock's reading.
//
//   closed --failures in a row--> open --pause--> probing --success--> closed
//                                  ^---------failure or no word---------'
#pragma once

#include <cstdint>

#include "base/time.h"

namespace varve {

struct CircuitBreakerPolicy {
  uint32_t failures = 5;                  // in a row, until it opens; > 0
  Duration pause = Duration::seconds(2);  // refused that long, then one probe; a probe without
                                          // outcome counts as failed after as long again
};

class CircuitBreaker {
 public:
  enum class State : uint8_t { kClosed, kOpen, kProbing };

  explicit CircuitBreaker(CircuitBreakerPolicy policy = {});

  // Whether a call may be made at `now`. In the open state after the pause the first asker gets the
  // probe and owes its outcome; others are refused until then.
  bool allow(Instant now);
  void succeeded();
  void failed(Instant now);
  State state() const { return state_; }

 private:
  CircuitBreakerPolicy policy_;
  State state_ = State::kClosed;
  uint32_t in_a_row_ = 0;
  Instant since_;  // of the open or probing state
};

}  // namespace varve
