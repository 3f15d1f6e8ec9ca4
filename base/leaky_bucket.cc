#include "base/leaky_bucket.h"

#include <algorithm>

#include "base/check.h"

namespace varve {
namespace {

constexpr uint64_t kNanos = 1000000000;
constexpr uint64_t kMost = 1000000000000;

}  // namespace

LeakyBucket::LeakyBucket(uint64_t rate, uint64_t burst) : rate_(rate) {
  VARVE_CHECK(rate >= 1 && rate <= kMost);
  VARVE_CHECK(burst >= 1 && burst <= kMost && burst / rate <= 100000);
  const unsigned __int128 scaled = static_cast<unsigned __int128>(burst) * kNanos;
  capacity_ = Duration::nanos(static_cast<int64_t>((scaled + rate - 1) / rate));
}

// What is still undrained at `now`, with `units` more.
LeakyBucket::Debt LeakyBucket::debt_after(Instant now, uint64_t units) const {
  const bool empty = !started_ || drained_ < now;
  const int64_t undrained = empty ? 0 : (drained_ - now).nanoseconds;
  const unsigned __int128 scaled =
      static_cast<unsigned __int128>(units) * kNanos + (empty ? 0 : fraction_);
  const unsigned __int128 added = scaled / rate_;
  // Beyond 292 years of debt a longer wait says nothing new.
  const auto room = static_cast<unsigned __int128>(std::numeric_limits<int64_t>::max() - undrained);
  return {undrained + static_cast<int64_t>(std::min(added, room)),
          static_cast<uint64_t>(scaled % rate_)};
}

// How much longer than the burst allows the debt takes to drain; 0 when it fits.
int64_t LeakyBucket::excess(const Debt& debt) const {
  return std::max<int64_t>(0, debt.nanoseconds - capacity_.nanoseconds);
}

bool LeakyBucket::try_take(Instant now, uint64_t units) {
  const Debt debt = debt_after(now, units);
  if (excess(debt) != 0) return false;
  drained_ = now + Duration::nanos(debt.nanoseconds);
  fraction_ = debt.fraction;
  started_ = true;
  return true;
}

Duration LeakyBucket::take(Instant now, uint64_t units) {
  VARVE_CHECK(units <= kMost);
  const Debt debt = debt_after(now, units);
  drained_ = now + Duration::nanos(debt.nanoseconds);
  fraction_ = debt.fraction;
  started_ = true;
  return Duration::nanos(excess(debt));
}

Duration LeakyBucket::wait_for(Instant now, uint64_t units) const {
  return Duration::nanos(excess(debt_after(now, units)));
}

}  // namespace varve
