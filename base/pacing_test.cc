// Back-off, rate limit and circuit breaker against their definitions.
#include <gtest/gtest.h>
// gtest must come before this one, or FAIL does not compile.
#include <rapidcheck/gtest.h>

#include "base/backoff.h"
#include "base/circuit_breaker.h"
#include "base/leaky_bucket.h"
#include "base/random.h"

namespace varve {
namespace {

RC_GTEST_PROP(Backoff, WaitsBetweenHalfAndAllOfADoublingCeiling, (uint64_t seed)) {
  RandomStream random(seed, "backoff");
  const BackoffPolicy policy{Duration::millis(10), Duration::millis(700), Duration::seconds(5)};
  Backoff backoff(policy);
  Instant now{static_cast<int64_t>(random.below(1ull << 60))};
  RC_ASSERT(backoff.wait(now) == Duration{});
  Duration ceiling = policy.first;
  for (int i = 0; i < 70; ++i) {
    backoff.failed(now, random.next());
    const Duration wait = backoff.wait(now);
    RC_ASSERT(wait >= ceiling / 2 && wait <= ceiling);
    RC_ASSERT(backoff.next_attempt() == now + wait);
    now = backoff.next_attempt();
    ceiling = std::min(ceiling * 2, policy.maximum);
  }
}

TEST(Backoff, ForgetsOnlyASuccessThatLasted) {
  Backoff backoff({Duration::millis(10), Duration::seconds(1), Duration::seconds(5)});
  Instant now{};
  for (int i = 0; i < 4; ++i) backoff.failed(now, 0);
  EXPECT_EQ(backoff.wait(now), Duration::millis(40));
  backoff.succeeded(now);
  now = now + Duration::seconds(1);
  backoff.failed(now, 0);
  EXPECT_EQ(backoff.failures(), 5u);
  backoff.succeeded(now);
  now = now + Duration::seconds(5);
  backoff.failed(now, 0);
  EXPECT_EQ(backoff.failures(), 1u);
  EXPECT_EQ(backoff.wait(now), Duration::millis(5));
}

TEST(Backoff, TheDrawCoversTheWholeUpperHalf) {
  Backoff least({Duration::millis(10), Duration::seconds(1), Duration::seconds(5)});
  Backoff most({Duration::millis(10), Duration::seconds(1), Duration::seconds(5)});
  least.failed(Instant{}, 0);
  most.failed(Instant{}, ~uint64_t{0});
  EXPECT_EQ(least.wait(Instant{}), Duration::millis(5));
  EXPECT_EQ(most.wait(Instant{}), Duration::millis(10));
}

// Over any window of a run the units taken never exceed burst + rate * window, and a taker that
// waits as told gets everything it may have.
RC_GTEST_PROP(LeakyBucket, NeverMoreThanBurstAndRate, (uint64_t seed)) {
  RandomStream random(seed, "bucket");
  const uint64_t rate = random.between(1, random.chance(500000) ? 1000 : 1000000000000);
  const uint64_t burst = random.between(1, std::min<uint64_t>(rate * 100, 1000000000000));
  LeakyBucket bucket(rate, burst);
  const Instant start{static_cast<int64_t>(random.below(1ull << 60))};
  Instant now = start;
  unsigned __int128 taken = 0;
  for (int i = 0; i < 200; ++i) {
    const uint64_t units = random.between(1, random.chance(100000) ? burst : burst / 4 + 1);
    const Duration wait = bucket.wait_for(now, units);
    const bool fits = bucket.try_take(now, units);
    RC_ASSERT(fits == (wait == Duration{}));
    if (fits) {
      taken += units;
    } else {
      if (random.chance(300000)) {
        now = now + wait;
        RC_ASSERT(bucket.try_take(now, units));
        taken += units;
      } else {
        RC_ASSERT(!bucket.try_take(now + (wait - Duration::nanos(1)), units));
      }
    }
    // One nanosecond of slack for the rounding of the capacity, and one for the fraction.
    const unsigned __int128 window = static_cast<unsigned __int128>((now - start).nanoseconds) + 2;
    RC_ASSERT(taken * 1000000000 <=
              static_cast<unsigned __int128>(burst) * 1000000000 + window * rate);
    if (random.chance(300000))
      now = now + Duration::nanos(static_cast<int64_t>(random.below(2000000)));
  }
}

TEST(LeakyBucket, SmallTakesAddUpExactly) {
  // 3 units a second: one unit is a third of a second, which is no whole number of nanoseconds.
  LeakyBucket bucket(3, 1);
  Duration last;
  for (int i = 0; i <= 3000; ++i) last = bucket.take(Instant{}, 1);
  EXPECT_LE(Duration::seconds(1000) - last, Duration::nanos(2));
  EXPECT_LE(last, Duration::seconds(1000));
}

TEST(LeakyBucket, ALargeTakeIsWaitedForByThoseBehind) {
  LeakyBucket bucket(1000, 100);
  EXPECT_EQ(bucket.take(Instant{}, 1100), Duration::seconds(1));
  EXPECT_FALSE(bucket.try_take(Instant{}, 1));
  EXPECT_EQ(bucket.wait_for(Instant{}, 1), Duration::millis(1001));
  EXPECT_TRUE(bucket.try_take(Instant{} + Duration::millis(1001), 1));
}

TEST(LeakyBucket, ADebtOfCenturiesSaturates) {
  LeakyBucket bucket(1, 1);
  for (int i = 0; i < 40; ++i) (void)bucket.take(Instant{}, 1000000000000);
  EXPECT_GT(bucket.take(Instant{}, 1), Duration::seconds(9000000000));
}

TEST(CircuitBreaker, OpensProbesAndCloses) {
  CircuitBreaker breaker({3, Duration::seconds(1)});
  Instant now{};
  for (int i = 0; i < 2; ++i) breaker.failed(now);
  breaker.succeeded();
  for (int i = 0; i < 2; ++i) breaker.failed(now);
  EXPECT_TRUE(breaker.allow(now));  // not three in a row
  breaker.failed(now);
  EXPECT_EQ(breaker.state(), CircuitBreaker::State::kOpen);
  EXPECT_FALSE(breaker.allow(now));
  now = now + Duration::millis(900);
  breaker.failed(now);  // a straggler
  now = now + Duration::millis(100);
  EXPECT_TRUE(breaker.allow(now));
  EXPECT_FALSE(breaker.allow(now));  // one probe at a time
  breaker.failed(now);
  EXPECT_FALSE(breaker.allow(now));
  now = now + Duration::seconds(1);
  EXPECT_TRUE(breaker.allow(now));
  now = now + Duration::seconds(1);
  EXPECT_TRUE(breaker.allow(now));  // the first probe never came back
  breaker.succeeded();
  EXPECT_EQ(breaker.state(), CircuitBreaker::State::kClosed);
  EXPECT_TRUE(breaker.allow(now));
}

}  // namespace
}  // namespace varve
