// Two clocks per node. The monotonic one orders events within one life of one process; the wall
// clock is for people and for Postgres' timestamps, may step either way, and orders nothing.
#pragma once

#include "base/time.h"

namespace varve {

class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes back within a life. Never suspends.
  virtual Instant now() const = 0;
  virtual WallTime wall() const = 0;
};

}  // namespace varve
