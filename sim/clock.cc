#include "sim/clock.h"

#include <limits>

namespace varve::sim {
namespace {

constexpr int64_t kMillion = 1000000;
// 2026-01-01 in Postgres' microseconds; any date would do.
constexpr int64_t kWallBase = 820454400LL * kMillion;

int64_t scaled(int64_t elapsed, int64_t numerator, int64_t denominator) {
  return static_cast<int64_t>(static_cast<__int128>(elapsed) * numerator / denominator);
}

}  // namespace

NodeClock::NodeClock(const int64_t& global_now, RandomStream random)
    : global_now_(global_now), anchor_global_(global_now) {
  anchor_local_ = static_cast<int64_t>(random.between(1, 1000000)) * kMillion;
}

Instant NodeClock::now() const {
  return Instant{anchor_local_ + scaled(global_now_ - anchor_global_, kMillion + drift_, kMillion)};
}

WallTime NodeClock::wall() const {
  if (frozen_) return frozen_at_;
  return WallTime{kWallBase + global_now_ / 1000 + wall_offset_.to_micros()};
}

int64_t NodeClock::global_time_of(Instant instant) const {
  if (instant == Instant::never()) return std::numeric_limits<int64_t>::max();
  const int64_t ahead = instant.nanoseconds - anchor_local_;
  if (ahead <= 0) return anchor_global_;
  int64_t elapsed = scaled(ahead, kMillion, kMillion + drift_);
  // Both directions round down; walk up to the first nanosecond that is late enough.
  while (scaled(elapsed, kMillion + drift_, kMillion) < ahead) ++elapsed;
  return anchor_global_ + elapsed;
}

void NodeClock::set_drift(int64_t parts_per_million) {
  VARVE_CHECK(parts_per_million > -kMillion / 2 && parts_per_million < kMillion);
  anchor_local_ = now().nanoseconds;
  anchor_global_ = global_now_;
  drift_ = parts_per_million;
}

void NodeClock::freeze_wall() {
  frozen_at_ = wall();
  frozen_ = true;
}

}  // namespace varve::sim
