#include "base/backoff.h"

#include <algorithm>

#include "base/check.h"

namespace varve {

Backoff::Backoff(BackoffPolicy policy) : policy_(policy) {
  VARVE_CHECK(policy_.first.nanoseconds > 0);
  VARVE_CHECK(policy_.maximum >= policy_.first);
}

void Backoff::failed(Instant now, uint64_t draw) {
  if (up_ && now - up_since_ >= policy_.stable) failures_ = 0;
  up_ = false;
  if (failures_ < UINT32_MAX) ++failures_;

  // first * 2^(failures-1), without leaving 64 bits on the way.
  uint64_t ceiling = static_cast<uint64_t>(policy_.first.nanoseconds);
  const uint64_t maximum = static_cast<uint64_t>(policy_.maximum.nanoseconds);
  for (uint32_t i = 1; i < failures_ && ceiling < maximum; ++i) ceiling *= 2;
  ceiling = std::min(ceiling, maximum);

  const uint64_t fixed = ceiling - ceiling / 2;
  const auto drawn =
      static_cast<uint64_t>((static_cast<unsigned __int128>(draw) * (ceiling - fixed + 1)) >> 64);
  next_attempt_ = now + Duration::nanos(static_cast<int64_t>(fixed + drawn));
}

void Backoff::succeeded(Instant now) {
  up_ = true;
  up_since_ = now;
}

Duration Backoff::wait(Instant now) const {
  return next_attempt_ <= now ? Duration{} : next_attempt_ - now;
}

}  // namespace varve
