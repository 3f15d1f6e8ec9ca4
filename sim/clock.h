// The clocks of one life of one node: a monotonic one that starts anywhere and may drift, and a
// wall clock that may be off, step and freeze. Both are functions of the simulation's global time.
#pragma once

#include "base/random.h"
#include "runtime/clock.h"

namespace varve::sim {

class NodeClock : public Clock {
 public:
  // `global_now` is the simulation's time in nanoseconds and must outlive this. The origin of the
  // monotonic clock is drawn, so that an Instant of another life or node can't be taken for one of
  // this.
  NodeClock(const int64_t& global_now, RandomStream random);

  Instant now() const override;
  WallTime wall() const override;

  // The earliest global time at which now() >= `instant`; the maximum for Instant::never().
  int64_t global_time_of(Instant instant) const;

  // From here on the monotonic clock runs `parts_per_million` fast (negative: slow).
  void set_drift(int64_t parts_per_million);
  void step_wall(Duration by) { wall_offset_ = wall_offset_ + by; }
  // The wall clock stands still until thaw_wall(), then jumps to where it would be.
  void freeze_wall();
  void thaw_wall() { frozen_ = false; }

 private:
  const int64_t& global_now_;
  int64_t anchor_global_;  // where the current drift began
  int64_t anchor_local_;
  int64_t drift_ = 0;
  Duration wall_offset_;
  bool frozen_ = false;
  WallTime frozen_at_;
};

}  // namespace varve::sim
