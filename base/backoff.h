// How long to wait before trying again: exponential growth with equal jitter (half of the wait is
// fixed, half is drawn; Brooker, "Exponential Backoff And Jitter", 2015). The fixed half keeps a
// fleet that lost one server from hammering it, the drawn half keeps it from coming back in step.
//
// Pure: the caller brings the clock's reading and the draw. A success only counts once it has
// lasted: a server that accepts and drops at once must not be retried at full speed.
#pragma once

#include <cstdint>

#include "base/time.h"

namespace varve {

struct BackoffPolicy {
  Duration first = Duration::millis(50);    // the longest wait after one failure; > 0
  Duration maximum = Duration::seconds(5);  // never waits longer; >= first
  Duration stable =
      Duration::seconds(10);  // a success that lasted this long forgets earlier failures
};

class Backoff {
 public:
  explicit Backoff(BackoffPolicy policy = {});

  // An attempt, or what it had established, failed at `now`. `draw` is uniform over all 64-bit
  // values.
  void failed(Instant now, uint64_t draw);
  // An attempt succeeded at `now`.
  void succeeded(Instant now);
  // Not before this instant; any reading will do before the first failure.
  Instant next_attempt() const { return next_attempt_; }
  // What is left to wait at `now`; zero when an attempt is due.
  Duration wait(Instant now) const;
  uint32_t failures() const { return failures_; }

 private:
  BackoffPolicy policy_;
  uint32_t failures_ = 0;
  bool up_ = false;
  Instant up_since_;
  Instant next_attempt_{std::numeric_limits<int64_t>::min()};
};

}  // namespace varve
