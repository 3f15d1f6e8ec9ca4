// The laws of fibers, scopes and waiting, on a clock that the test moves by hand.
#include <gtest/gtest.h>
// gtest must come before this one, or FAIL does not compile.
#include <rapidcheck/gtest.h>

#include <stdexcept>

#include "runtime/budget.h"
#include "runtime/clock.h"
#include "runtime/network.h"
#include "runtime/object_store.h"
#include "runtime/scope.h"
#include "runtime/sync.h"
#include "runtime/telemetry.h"

namespace varve {
namespace {

class HandClock : public Clock {
 public:
  Instant now() const override { return instant; }
  WallTime wall() const override { return {}; }
  Instant instant{1000};
};

// Runs fibers and jumps from timer to timer, as the simulator does.
class Harness {
 public:
  explicit Harness(SchedulePolicy* policy = nullptr) : scheduler(clock, policy) {}
  void run(Task task) {
    scheduler.start("test", std::move(task));
    settle();
    EXPECT_EQ(scheduler.statistics().fibers_live, 0u);
    for (const std::string& line : scheduler.describe_waits()) ADD_FAILURE() << line;
  }
  void settle() {
    while (true) {
      scheduler.run_ready();
      const Instant next = scheduler.next_timer();
      if (next == Instant::never()) return;
      clock.instant = std::max(clock.instant, next);
      scheduler.fire_timers(clock.instant);
    }
  }
  HandClock clock;
  Scheduler scheduler;
};

TEST(Fibers, RunInOrderAndSleepByTheClock) {
  Harness harness;
  std::string order;
  harness.run([&] {
    Scope scope("all");
    scope.spawn("slow", [&] {
      EXPECT_TRUE(sleep_for(Duration::millis(2)).ok());
      order += "b";
    });
    scope.spawn("fast", [&] {
      EXPECT_TRUE(sleep_for(Duration::millis(1)).ok());
      order += "a";
    });
    EXPECT_TRUE(scope.join().ok());
    order += "c";
  });
  EXPECT_EQ(order, "abc");
  EXPECT_EQ(harness.clock.instant, Instant{1000} + Duration::millis(2));
}

TEST(Fibers, ExceptionsOfOneFiberAreUnknownToAnother) {
  Harness harness;
  harness.run([&] {
    Scope scope("all");
    for (int i = 0; i < 3; ++i) {
      scope.spawn("thrower", [i] {
        for (int round = 0; round < 4; ++round) {
          try {
            throw std::runtime_error(std::to_string(i));
          } catch (const std::runtime_error& error) {
            EXPECT_EQ(error.what(), std::to_string(i));
          }
          EXPECT_TRUE(yield().ok());
        }
      });
    }
    EXPECT_TRUE(scope.join().ok());
  });
}

TEST(Fibers, ThousandsShareAPoolOfStacks) {
  Harness harness;
  uint64_t sum = 0;
  harness.run([&] {
    for (int batch = 0; batch < 20; ++batch) {
      Scope scope("batch");
      for (int i = 0; i < 100; ++i) {
        scope.spawn("adder", [&sum] {
          volatile char stack[4096];
          stack[0] = 1;
          EXPECT_TRUE(yield().ok());
          sum += static_cast<uint64_t>(stack[0]);
        });
      }
      EXPECT_TRUE(scope.join().ok());
    }
  });
  EXPECT_EQ(sum, 2000u);
}

using FibersDeath = ::testing::Test;

TEST(FibersDeath, SuspendingUnderNoSuspendIsABrokenInvariant) {
  EXPECT_DEATH(
      {
        Harness harness;
        harness.run([] {
          NoSuspend guard;
          (void)yield();
        });
      },
      "no suspension may be");
}

TEST(FibersDeath, SuspendingInACatchBlockIsABrokenInvariant) {
  EXPECT_DEATH(
      {
        Harness harness;
        harness.run([] {
          try {
            throw 1;
          } catch (int) {
            (void)sleep_for(Duration::millis(1));
          }
        });
      },
      "inside a catch block");
}

TEST(FibersDeath, AStackOverflowHitsTheGuard) {
  struct Recursion {
    static int down(int depth) {
      volatile char frame[4096];
      frame[0] = static_cast<char>(depth);
      return depth == 0 ? 0 : down(depth - 1) + frame[0];
    }
  };
  EXPECT_DEATH(
      {
        Harness harness;
        harness.run([] { (void)Recursion::down(1 << 20); });
      },
      "");
}

TEST(Scopes, CancelEndsEveryWaitBelow) {
  Harness harness;
  int cancelled = 0;
  harness.run([&] {
    Scope outer("outer");
    WaitQueue never;
    outer.spawn("parent", [&] {
      Scope inner("inner");
      inner.spawn("child", [&] { cancelled += never.wait("nothing").is(Code::kCancelled); });
      const Status joined = inner.join();
      cancelled += joined.is(Code::kCancelled);
    });
    EXPECT_TRUE(sleep_for(Duration::millis(1)).ok());
    outer.cancel();
    EXPECT_TRUE(outer.join().ok());  // Cancelled children are no error of their parent
  });
  EXPECT_EQ(cancelled, 2);
}

TEST(Scopes, TheFirstErrorCancelsTheOthersWhenAsked) {
  Harness harness;
  harness.run([&] {
    Scope scope("all", Scope::OnError::kCancelOthers);
    scope.spawn("endless", [] { return sleep_for(Duration::seconds(3600)); });
    scope.spawn("failing", [] { return Status(Code::kFull, "disk"); });
    EXPECT_TRUE(scope.join().is(Code::kFull));
  });
  EXPECT_LT(harness.clock.instant, Instant{1000} + Duration::seconds(1));
}

TEST(Scopes, AShieldOutlastsCancellation) {
  Harness harness;
  bool cleaned = false;
  harness.run([&] {
    Scope scope("all");
    scope.spawn("worker", [&] {
      EXPECT_TRUE(sleep_for(Duration::seconds(10)).is(Code::kCancelled));
      Shield shield;
      EXPECT_TRUE(sleep_for(Duration::millis(5)).ok());
      cleaned = true;
    });
    EXPECT_TRUE(yield().ok());
    scope.cancel();
  });
  EXPECT_TRUE(cleaned);
}

TEST(Scopes, DeadlinesAreInheritedAndOnlyShrink) {
  Harness harness;
  harness.run([&] {
    DeadlineGuard outer(Duration::millis(10));
    DeadlineGuard inner(Duration::millis(50));
    Scope scope("all");
    scope.spawn("child", [] { return sleep_for(Duration::seconds(1)); });
    EXPECT_TRUE(scope.join().is(Code::kDeadlineExceeded));
  });
  EXPECT_EQ(harness.clock.instant, Instant{1000} + Duration::millis(10));
}

// A call with a deadline makes an object (attaches a tenant, creates a timeline): what the object
// runs must not end with the call.
TEST(Scopes, ADeadlineEndsAtTheScopeOfAnObject) {
  Harness harness;
  Status object = Status(Code::kInternal, "did not end");
  Status call;
  harness.run([&] {
    Scope owner("owner");
    Scope of_the_object("object", owner);
    {
      DeadlineGuard patience(Duration::millis(10));
      of_the_object.spawn("loop", [&] { object = sleep_for(Duration::seconds(1)); });
      Scope of_the_call("call");
      of_the_call.spawn("part of the call", [&] { call = sleep_for(Duration::seconds(1)); });
      of_the_call.join().ignore("told by `call`");
    }
    EXPECT_TRUE(of_the_object.join().ok());
  });
  EXPECT_TRUE(object.ok()) << object.to_string();
  EXPECT_TRUE(call.is(Code::kDeadlineExceeded));
}

TEST(Scopes, ACrashRunsNoDestructor) {
  static bool destroyed = false;
  struct Witness {
    ~Witness() { destroyed = true; }
  };
  HandClock clock;
  {
    Scheduler scheduler(clock);
    scheduler.start("victim", [] {
      Witness witness;
      (void)sleep_for(Duration::seconds(1));
    });
    scheduler.run_ready();
    EXPECT_EQ(scheduler.describe_waits(),
              std::vector<std::string>{"victim: waits for sleep (scope root)"});
    scheduler.abandon();
  }
  EXPECT_FALSE(destroyed);
}

TEST(Classes, CommitsGoFirstAndBackgroundIsNotStarved) {
  Harness harness;
  std::string order;
  harness.run([&] {
    Scope scope("all");
    for (const WorkClass c : {WorkClass::kBackground, WorkClass::kCommit}) {
      FiberContext context = fiber_context();
      context.work_class = c;
      ContextGuard guard(context);
      for (int i = 0; i < 20; ++i) {
        scope.spawn("worker", [&order, c] { order += c == WorkClass::kCommit ? 'c' : 'b'; });
      }
    }
    EXPECT_TRUE(scope.join().ok());
  });
  EXPECT_EQ(order.substr(0, 7), "ccccccc");
  // The spawning fiber is background too and has used the first round's turn.
  EXPECT_EQ(order.find('b'), 16u);
}

TEST(Sync, ChannelsBlockDrainAndClose) {
  Harness harness;
  std::vector<int> received;
  harness.run([&] {
    Channel<int> channel(2);
    Scope scope("all");
    scope.spawn("sender", [&]() -> Status {
      for (int i = 0; i < 10; ++i) VARVE_TRY(channel.send(i));
      channel.close();
      return Status();
    });
    scope.spawn("receiver", [&] {
      while (true) {
        auto item = channel.receive();
        if (!item.ok()) {
          EXPECT_TRUE(item.is(Code::kNotFound));
          return;
        }
        received.push_back(*item);
      }
    });
    EXPECT_TRUE(scope.join().ok());
  });
  EXPECT_EQ(received.size(), 10u);
}

// Any mixture of acquiring, cancelling and releasing keeps the count and starves nobody.
RC_GTEST_PROP(Sync, SemaphoresKeepTheirCount, (uint64_t seed)) {
  struct Policy : SchedulePolicy {
    explicit Policy(uint64_t seed) : random(seed, "schedule") {}
    size_t pick(size_t ready) override { return random.below(ready); }
    RandomStream random;
  } policy(seed);
  Harness harness(&policy);
  RandomStream random(seed, "work");
  uint64_t held = 0;
  harness.run([&] {
    Semaphore semaphore(5);
    Scope scope("all");
    for (int i = 0; i < 20; ++i) {
      const uint64_t count = random.between(1, 5);
      const auto hold = Duration::micros(static_cast<int64_t>(random.below(50)));
      const auto patience = Duration::micros(static_cast<int64_t>(random.between(1, 100)));
      scope.spawn("user", [&, count, hold, patience] {
        {
          DeadlineGuard guard(patience);
          if (!semaphore.acquire(count).ok()) return;
        }
        held += count;
        EXPECT_LE(held, 5u);
        EXPECT_TRUE(sleep_for(hold).ok());
        held -= count;
        semaphore.release(count);
      });
    }
    EXPECT_TRUE(scope.join().ok());
    EXPECT_EQ(semaphore.available(), 5u);
  });
}

RC_GTEST_PROP(Sync, MutexesExcludeAndPassOn, (uint64_t seed)) {
  struct Policy : SchedulePolicy {
    explicit Policy(uint64_t seed) : random(seed, "schedule") {}
    size_t pick(size_t ready) override { return random.below(ready); }
    RandomStream random;
  } policy(seed);
  Harness harness(&policy);
  RandomStream random(seed, "work");
  int inside = 0;
  int entered = 0;
  harness.run([&] {
    Mutex mutex;
    Scope scope("all");
    for (int i = 0; i < 10; ++i) {
      const auto patience = Duration::micros(static_cast<int64_t>(random.between(1, 40)));
      scope.spawn("user", [&, patience] {
        DeadlineGuard deadline(patience);
        MutexGuard guard(mutex);
        if (!guard.status().ok()) return;
        EXPECT_EQ(++inside, 1);
        ++entered;
        {
          Shield shield;
          EXPECT_TRUE(sleep_for(Duration::micros(7)).ok());
        }
        --inside;
      });
    }
    EXPECT_TRUE(scope.join().ok());
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
  RC_ASSERT(entered > 0);
}

TEST(Budgets, ATreeCountsAtEveryNodeAndWaits) {
  Harness harness;
  harness.run([&] {
    Budget process("process", 100);
    Budget pool("pool", 60, &process);
    auto first = pool.reserve(50);
    ASSERT_TRUE(first.ok());
    EXPECT_EQ(process.used(), 50u);
    EXPECT_TRUE(pool.try_reserve(20).is(Code::kFull));
    EXPECT_TRUE(pool.reserve(61).is(Code::kInvalid));
    Scope scope("all");
    scope.spawn("waiter", [&]() -> Status {
      VARVE_TRY_ASSIGN(Reservation second, pool.reserve(20));
      EXPECT_EQ(pool.used(), 30u);
      return Status();
    });
    EXPECT_TRUE(sleep_for(Duration::millis(1)).ok());
    first->shrink(10);
    EXPECT_TRUE(scope.join().ok());
  });
}

TEST(Addresses, ParseOrSayWhatIsExpected) {
  EXPECT_EQ(Address::parse("localhost:5454")->port, 5454);
  EXPECT_TRUE(Address::parse("localhost").is(Code::kInvalid));
  EXPECT_TRUE(Address::parse("localhost:70000").is(Code::kInvalid));
}

TEST(ObjectKeys, AreNarrow) {
  EXPECT_TRUE(check_object_key("tenants/ab-0001/index-1_2.x").ok());
  for (const char* key : {"", "/a", "a/", "a//b", "a/../b", "a b", "a\n"}) {
    EXPECT_TRUE(check_object_key(key).is(Code::kInvalid)) << key;
  }
}

TEST(MetricsRegistry, SeriesAreCappedAndExposed) {
  static constexpr MetricInfo kWrites = {"varve_writes", MetricKind::kCounter, "count", "Writes."};
  static constexpr MetricInfo kTime = {"varve_time", MetricKind::kHistogram, "us", "Time."};
  Metrics metrics(2);
  for (const char* account : {"a", "b", "c", "d"}) metrics.add(kWrites, 1, account);
  EXPECT_EQ(metrics.value(kWrites, "a"), 1);
  EXPECT_EQ(metrics.value(kWrites, "other"), 2);
  metrics.observe(kTime, 5);
  const std::string text = metrics.expose();
  EXPECT_NE(text.find("varve_writes{account=\"other\"} 2"), std::string::npos);
  EXPECT_NE(text.find("varve_time_bucket{le=\"7\"} 1"), std::string::npos);
}

}  // namespace
}  // namespace varve
