// Timers, deadlines, cancellation of every wait, off-loaded work.
#include <gtest/gtest.h>

#include "tests/contract/worlds.h"

namespace varve::contract {
namespace {

class Waits : public testing::TestWithParam<WorldKind> {};
INSTANTIATE_TEST_SUITE_P(Contract, Waits, testing::ValuesIn(all_worlds()),
                         [](const auto& info) { return info.param.name; });

TEST_P(Waits, SleepersWakeInOrderAndNotEarly) {
  in_world(GetParam(), [](World& world) {
    std::vector<int> woken;
    Scope scope("sleepers");
    const Instant start = now();
    for (const int milliseconds : {30, 10, 20, 0}) {
      scope.spawn("sleeper", [&, milliseconds]() -> Status {
        VARVE_TRY(sleep_for(Duration::millis(milliseconds)));
        EXPECT_GE(now() - start, Duration::millis(milliseconds));
        woken.push_back(milliseconds);
        return Status();
      });
    }
    ASSERT_SUCCESS(scope.join());
    EXPECT_EQ(woken, (std::vector<int>{0, 10, 20, 30}));
    EXPECT_EQ(world.clock.now() >= start + Duration::millis(30), true);
  });
}

// Each wait of the world that can last for ever, as a function of what it needs.
struct EndlessWaits {
  explicit EndlessWaits(World& w) : world(w) {}
  World& world;
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Stream> silent;
  std::unique_ptr<Stream> deaf;
  std::unique_ptr<Stream> peer_of_silent;
  std::unique_ptr<Stream> peer_of_deaf;

  Status prepare() {
    VARVE_TRY_ASSIGN(listener, world.network.listen({"", 0}));
    VARVE_TRY_ASSIGN(silent, world.network.connect(listener->address()));
    VARVE_TRY_ASSIGN(peer_of_silent, listener->accept());
    VARVE_TRY_ASSIGN(deaf, world.network.connect(listener->address()));
    VARVE_TRY_ASSIGN(peer_of_deaf, listener->accept());
    return Status();
  }
  std::vector<std::pair<const char*, std::function<Status()>>> all() {
    return {
        {"sleep", [] { return sleep_for(Duration::seconds(100000)); }},
        {"accept", [this] { return listener->accept().status(); }},
        {"read", [this] { return silent->read().status(); }},
        {"write",
         [this] {
           const Bytes piece = pattern(1 << 20, 1);
           for (;;) VARVE_TRY(deaf->write(piece));
         }},
    };
  }
};

TEST_P(Waits, EveryWaitCanBeCancelled) {
  in_world(GetParam(), [](World& world) {
    EndlessWaits waits(world);
    ASSERT_SUCCESS(waits.prepare());
    for (const auto& [name, wait] : waits.all()) {
      Scope scope("waiter");
      Status outcome;
      scope.spawn("waiter", [&] { outcome = wait(); });
      ASSERT_SUCCESS(sleep_for(Duration::millis(50)));
      EXPECT_EQ(scope.live(), 1u) << name;
      scope.cancel();
      (void)scope.join();
      EXPECT_EQ(outcome.code(), Code::kCancelled) << name;
    }
  });
}

TEST_P(Waits, EveryWaitKeepsItsDeadline) {
  in_world(GetParam(), [](World& world) {
    EndlessWaits waits(world);
    ASSERT_SUCCESS(waits.prepare());
    for (const auto& [name, wait] : waits.all()) {
      const Instant start = now();
      const DeadlineGuard deadline(Duration::millis(60));
      EXPECT_EQ(wait().code(), Code::kDeadlineExceeded) << name;
      EXPECT_GE(now() - start, Duration::millis(60)) << name;
      EXPECT_LT(now() - start, Duration::seconds(20)) << name;
    }
  });
}

TEST_P(Waits, ACancelledFiberLeavesDiskCalls) {
  in_world(GetParam(), [](World& world) {
    Scope scope("cancelled");
    scope.cancel();
    Status opened;
    Status listed;
    scope.spawn("fiber", [&] {
      opened = world.disk.open("f", OpenMode::kCreate).status();
      listed = world.disk.list("").status();
    });
    (void)scope.join();
    EXPECT_EQ(opened.code(), Code::kCancelled);
    EXPECT_EQ(listed.code(), Code::kCancelled);
    EXPECT_SUCCESS(world.disk.list(""));
  });
}

TEST_P(Waits, OffloadedWorkComesBack) {
  in_world(GetParam(), [](World& world) {
    Scope scope("workers");
    std::vector<uint64_t> sums(20);
    for (uint64_t i = 0; i < sums.size(); ++i) {
      scope.spawn("worker", [&, i] {
        sums[i] = offload(world.offload, [i] {
          uint64_t sum = 0;
          for (uint64_t n = 0; n <= i * 1000; ++n) sum += n;
          return sum;
        });
      });
    }
    ASSERT_SUCCESS(sleep_for(Duration::micros(1)));
    scope.cancel();  // it can't be left early
    (void)scope.join();
    for (uint64_t i = 0; i < sums.size(); ++i) EXPECT_EQ(sums[i], i * 1000 * (i * 1000 + 1) / 2);
  });
}

TEST_P(Waits, FibersThatOnlyYieldDontStopTheWorld) {
  in_world(GetParam(), [](World&) {
    bool stop = false;
    Scope scope("busy");
    for (int i = 0; i < 2; ++i) {
      scope.spawn("busy", [&]() -> Status {
        while (!stop) VARVE_TRY(yield());
        return Status();
      });
    }
    if (!GetParam().simulated) {
      ASSERT_SUCCESS(sleep_for(Duration::millis(5)));
    }
    stop = true;
    EXPECT_SUCCESS(scope.join());
  });
}

TEST_P(Waits, DrawsStayInTheirRange) {
  in_world(GetParam(), [](World& world) {
    std::vector<bool> seen(7);
    for (int i = 0; i < 1000; ++i) seen[world.random.below(7, "die")] = true;
    EXPECT_EQ(std::count(seen.begin(), seen.end(), true), 7);
    const auto first = world.random.unique_bytes("id");
    const auto second = world.random.unique_bytes("id");
    EXPECT_NE(first, second);
  });
}

}  // namespace
}  // namespace varve::contract
