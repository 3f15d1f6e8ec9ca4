// A rate limit with a burst: the generic cell rate algorithm (ITU-T I.371), which needs one instant
// per limited thing and no timer. The state is the theoretical arrival time: the instant at which
// everything that was taken so far would have drained at the allowed rate. Pure: the caller brings
// the clock's reading.
//
// Exact: the fraction of a nanosecond that a take leaves is carried to the next one, so that any
// number of small takes is limited like one large take.
#pragma once

#include <cstdint>

#include "base/time.h"

namespace varve {

class LeakyBucket {
 public:
  // `rate` units a second (1 .. 10^12), of which `burst` (1 .. 10^12) may be taken at once when
  // nothing was taken for a while; draining a full burst may take at most 10^5 seconds.
  LeakyBucket(uint64_t rate, uint64_t burst);

  // Takes `units` if they fit now. What exceeds `burst` never fits; use take() for it.
  bool try_take(Instant now, uint64_t units);
  // Takes `units` (at most 10^12) whether they fit or not and tells how long the caller must wait
  // before it may use them; later takers wait behind it.
  Duration take(Instant now, uint64_t units);
  // How long until `units` (at most `burst`) would fit.
  Duration wait_for(Instant now, uint64_t units) const;

 private:
  struct Debt {
    int64_t nanoseconds;
    uint64_t fraction;
  };
  Debt debt_after(Instant now, uint64_t units) const;
  int64_t excess(const Debt& debt) const;

  uint64_t rate_;
  Duration capacity_;      // how long draining a full burst takes, rounded up
  Instant drained_;        // when everything taken will have drained
  uint64_t fraction_ = 0;  // beyond drained_, in 1/rate_ nanoseconds
  bool started_ = false;
};

}  // namespace varve
