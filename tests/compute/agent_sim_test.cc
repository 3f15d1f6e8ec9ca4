// The agent in the simulated world, over real proposers and safekeepers: start races, zombies, and
// the bugs that careful people plant. What must hold is in testing/fleet.h and storage_model.h.
#include "compute/agent/agent.h"

#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>
#include "scenarios/compute_start.h"

namespace varve::compute {
namespace {

using scenarios::Haunting;
using scenarios::kStartSteps;
using scenarios::Race;
using scenarios::settle_down;
using scenarios::start_at;
using test::Fleet;
using test::FleetFaults;
using test::Seat;

constexpr Duration kLong = Duration::seconds(120);

struct SeededRace {
  uint64_t seed = 0;
  Race race;
  FleetFaults fleet = {};
};
std::string run_race(const SeededRace& run) {
  Fleet fleet(run.seed, run.fleet);
  return scenarios::run_race(fleet, run.race);
}

struct SeededHaunting {
  uint64_t seed = 0;
  Haunting haunting;
  FleetFaults fleet = {};
};
std::string run_haunting(const SeededHaunting& run) {
  Fleet fleet(run.seed, run.fleet);
  return scenarios::run_haunting(fleet, run.haunting);
}

TEST(AgentSim, StartsCommitsAndStops) {
  Fleet fleet(1);
  Seat& seat = fleet.add_seat("compute");
  fleet.start_services();
  fleet.sim.start(seat.node);
  EXPECT_EQ(settle_down(fleet, seat, 60), "");
  EXPECT_GE(fleet.oracle.commits().size(), 60u);
}

// A log that several computes wrote; then one that starts at each
// of its records.
TEST(AgentSim, AStartAtEveryRecordBoundary) {
  Fleet fleet(3);
  for (int life = 0; life < 3; ++life) {
    Seat& seat = fleet.add_seat("writer" + std::to_string(life));
    if (life == 0) fleet.start_services();
    fleet.sim.start(seat.node);
    ASSERT_EQ(settle_down(fleet, seat, 60), "");
  }
  const std::vector<Lsn> boundaries = fleet.storage.boundaries();
  ASSERT_GT(boundaries.size(), 300u);
  sim::Simulation sim(4);
  size_t started = 0;
  bool done = false;
  Status wrong;
  const NodeId node = sim.add_node("compute", [&](World& world) {
    for (const Lsn at : boundaries) {
      wrong = start_at(world, sim, fleet.storage.as_of(at), at);
      if (!wrong.ok()) break;
      ++started;
    }
    done = true;
  });
  sim.start(node);
  EXPECT_TRUE(sim.run_until([&] { return done; }, Duration::seconds(600)));
  EXPECT_FALSE(sim.failure().has_value()) << *sim.failure();
  EXPECT_FALSE(fleet.sim.failure().has_value()) << *fleet.sim.failure();
  EXPECT_TRUE(wrong.ok()) << wrong.to_string();
  EXPECT_EQ(started, boundaries.size());
  std::printf("%zu starts\n", started);
}

// A compute that no quorum hears stops answering within its lease, and goes on where it stood.
TEST(AgentSim, ACutOffComputeStopsAndGoesOn) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Fleet fleet(seed);
    Seat& seat = fleet.add_seat("compute");
    std::vector<std::string> events;
    Duration lost;
    seat.entered = [&](const std::string& event) {
      events.push_back(event);
      if (event == "lease_lost") lost = fleet.sim.elapsed();
    };
    fleet.start_services();
    fleet.sim.start(seat.node);
    ASSERT_TRUE(fleet.sim.run_until([&] { return seat.acks >= 20; }, kLong));
    // One member is no quorum.
    const Duration cut = fleet.sim.elapsed();
    fleet.sim.partition({seat.node}, {fleet.safekeepers[0], fleet.safekeepers[2]}, seed % 2 == 0);
    fleet.sim.run_for(Duration::seconds(9));
    ASSERT_EQ(events.back(), "lease_lost") << "seed " << seed;
    EXPECT_LE(lost - cut, AgentOptions().lease + Duration::millis(50)) << "seed " << seed;
    EXPECT_GE(lost - cut, AgentOptions().lease - Duration::millis(1500)) << "seed " << seed;
    const uint64_t acks = seat.acks;
    fleet.sim.run_for(Duration::seconds(2));
    EXPECT_EQ(seat.acks, acks);
    fleet.sim.unpartition();
    ASSERT_TRUE(fleet.sim.run_until([&] { return seat.acks >= acks + 20; }, kLong))
        << "seed " << seed;
    EXPECT_EQ(events.back(), "lease_back");
    EXPECT_EQ(std::count(events.begin(), events.end(), "electing"), 1);
    EXPECT_EQ(settle_down(fleet, seat, 10), "") << "seed " << seed;
  }
}

// Storage reads what members know to be committed, which the proposer tells them. One that a newer
// term has silenced would wait for its base backup for ever.
TEST(AgentSim, AClosedLogEndsTheWaitForABaseBackup) {
  Fleet fleet(1);
  Seat& writer = fleet.add_seat("writer");
  Seat& starting = fleet.add_seat("starting");
  Seat& rival = fleet.add_seat("rival");
  std::vector<std::string> phases;
  starting.entered = [&](const std::string& phase) { phases.push_back(phase); };
  fleet.start_services();
  fleet.sim.crash(fleet.storage_node, sim::Crash::kProcess);
  fleet.sim.start(writer.node);
  ASSERT_TRUE(fleet.sim.run_until([&] { return writer.acks >= 5; }, kLong));
  writer.finished = true;
  fleet.sim.crash(writer.node, sim::Crash::kProcess);
  fleet.sim.start(starting.node);
  ASSERT_TRUE(fleet.sim.run_until([&] { return !phases.empty() && phases.back() == "base backup"; },
                                  kLong));
  fleet.sim.run_for(Duration::seconds(5));
  ASSERT_EQ(phases.back(), "base backup");
  starting.finished = true;  // it doesn't try again
  fleet.sim.start(rival.node);
  EXPECT_TRUE(fleet.sim.run_until([&] { return phases.back() == "ended"; }, Duration::seconds(5)));
  fleet.sim.start(fleet.storage_node);
  EXPECT_EQ(settle_down(fleet, rival, 5), "");
}

// The largest distance between what was acknowledged and what storage had read, while the compute
// wrote for `time`.
uint64_t largest_lag(Fleet& fleet, Duration time) {
  uint64_t largest = 0;
  for (Duration passed; passed < time; passed = passed + Duration::millis(20)) {
    fleet.sim.run_for(Duration::millis(20));
    const Lsn acknowledged = fleet.oracle.commits().back().record.end;
    const Lsn ingested = fleet.storage.ingested();
    if (acknowledged > ingested) largest = std::max(largest, acknowledged - ingested);
  }
  return largest;
}

// A start waits for storage, so storage must not fall behind without bound: writers are slowed down
// to what it reads, and when it is away they become slow and none fails.
TEST(AgentSim, WritersWaitForStorageThatLags) {
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    FleetFaults faults{.ingest_pause = Duration::millis(300), .storage_reports = true};
    faults.agent.ingest_lag = 32 << 10;
    faults.agent.longest_gate_delay = Duration::millis(400);
    uint64_t held = 0;
    uint64_t free = 0;
    for (const bool slowed : {true, false}) {
      if (!slowed) faults.agent.longest_gate_delay = Duration();
      Fleet fleet(seed, faults);
      Seat& seat = fleet.add_seat("compute");
      fleet.start_services();
      fleet.sim.start(seat.node);
      ASSERT_TRUE(fleet.sim.run_until([&] { return seat.acks >= 20; }, kLong));
      (slowed ? held : free) = largest_lag(fleet, Duration::seconds(10));
      if (!slowed) continue;
      fleet.sim.crash(fleet.storage_node, sim::Crash::kProcess);
      fleet.sim.run_for(Duration::seconds(10));
      const uint64_t acks = seat.acks;
      fleet.sim.run_for(Duration::seconds(50));
      EXPECT_GE(seat.acks, acks + 50);
      EXPECT_LE(seat.acks, acks + 800);
      fleet.sim.start(fleet.storage_node);
      EXPECT_EQ(settle_down(fleet, seat, 10), "");
    }
    std::printf("lag at most %lu bytes, %lu if nobody waits\n", held, free);
    EXPECT_LE(held, 4 * faults.agent.ingest_lag);
    EXPECT_GE(free, 2 * held);
  }
}

uint64_t count_of(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(AgentSim, StartRace) {
  const uint64_t seeds = count_of("VARVE_RACE_SEEDS", 8);
  uint64_t runs = 0;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    for (size_t tail = 1; tail <= 2; ++tail) {
      for (size_t step = 0; step < kStartSteps.size(); ++step) {
        ASSERT_EQ(run_race({seed, {.tail_members = tail, .step = step}}), "")
            << "seed " << seed << " tail " << tail << " step " << kStartSteps[step];
        ++runs;
      }
    }
  }
  std::printf("%lu races\n", runs);
}

uint64_t races_until_found(const AgentFaults& faults, const FleetFaults& fleet, uint64_t most) {
  uint64_t runs = 0;
  for (uint64_t seed = 1; runs < most; ++seed) {
    for (size_t step = 0; step < kStartSteps.size() && runs < most; ++step) {
      ++runs;
      const std::string wrong =
          run_race({seed, {.tail_members = 1 + seed % 2, .step = step, .faults = faults}, fleet});
      if (wrong.empty()) continue;
      std::printf("found after %lu races: %s\n", runs, wrong.c_str());
      return runs;
    }
  }
  return 0;
}

TEST(AgentSim, ABackupAtTheNewestPositionIsFound) {
  EXPECT_NE(
      races_until_found({.backup_at_newest = true}, {.ingest_pause = Duration::millis(200)}, 60),
      0u);
}

TEST(AgentSim, AStartBeforeTheQuorumIsFound) {
  EXPECT_NE(races_until_found({.start_before_quorum = true}, {}, 120), 0u);
}

TEST(AgentSim, Zombie) {
  const uint64_t seeds = count_of("VARVE_ZOMBIE_SEEDS", 12);
  uint64_t runs = 0;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    for (size_t step = 0; step < kStartSteps.size(); ++step) {
      ASSERT_EQ(run_haunting({seed, {.step = step}}), "")
          << "seed " << seed << " step " << kStartSteps[step];
      ++runs;
    }
  }
  std::printf("%lu hauntings\n", runs);
}

uint64_t hauntings_until_found(SeededHaunting haunting, uint64_t most) {
  for (uint64_t seed = 1; seed <= most; ++seed) {
    haunting.seed = seed;
    const std::string wrong = run_haunting(haunting);
    if (wrong.empty()) continue;
    std::printf("found after %lu hauntings: %s\n", seed, wrong.c_str());
    return seed;
  }
  return 0;
}

// The gate's word carries its term: an election that is won again opens nothing.
TEST(AgentSim, AnElectionThatIsWonAgainOpensNothing) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    ASSERT_EQ(run_haunting({seed, {.reelects = true, .step = 5}}), "") << "seed " << seed;
  }
}

TEST(AgentSim, AGateWordWithoutTermIsFound) {
  AgentFaults faults;
  faults.gate.ignore_term = true;
  EXPECT_NE(hauntings_until_found({0, {.reelects = true, .step = 5, .faults = faults}}, 200), 0u);
}

TEST(AgentSim, PagesAskedForAtTheNewestPositionAreFound) {
  AgentFaults faults;
  faults.pages.ask_newest = true;
  EXPECT_NE(
      hauntings_until_found({0, {.step = 5, .faults = faults}, {.storage_fences = false}}, 200),
      0u);
}

}  // namespace
}  // namespace varve::compute
