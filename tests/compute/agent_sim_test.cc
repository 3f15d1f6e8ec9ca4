// The agent in the simulated world, over real proposers and safekeepers: start races, zombies, and
// the bugs that careful people plant. What must hold is in testing/fleet.h and storage_model.h.
#include "compute/agent/agent.h"

#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>
#include "tests/compute/fleet.h"

namespace varve::compute {
namespace {

using test::Fleet;
using test::FleetFaults;
using test::Seat;

constexpr Duration kLong = Duration::seconds(120);

// Phases of a start, in order, as the log names them.
const std::vector<std::string> kSteps = {
    "electing", "committing the start", "base backup", "forging", "starting", "running"};

// The seat works, stops cleanly, storage catches up, and nothing was lost on the way. What was
// wrong, or nothing.
std::string settle_down(Fleet& fleet, Seat& seat, uint64_t more_acks) {
  seat.wanted_acks = seat.acks + more_acks;
  const bool done = fleet.sim.run_until([&] { return seat.finished; }, kLong) &&
                    fleet.sim.run_until([&] { return fleet.caught_up(); }, kLong);
  if (done) fleet.judge();
  if (!fleet.sim.failure().has_value()) return "";
  return *fleet.sim.failure() + " [" + seat.last_end + "]";
}

TEST(AgentSim, StartsCommitsAndStops) {
  Fleet fleet(1);
  Seat& seat = fleet.add_seat("compute");
  fleet.start_services();
  fleet.sim.start(seat.node);
  EXPECT_EQ(settle_down(fleet, seat, 60), "");
  EXPECT_GE(fleet.oracle.commits().size(), 60u);
}

// A log service that is its own quorum, and feeds storage with what it takes.
class InstantLog : public compute::LogService {
 public:
  InstantLog(test::StorageModel& storage, Lsn start)
      : storage_(storage), start_(start), committed_(start) {}
  Result<WonTerm> elect() override { return WonTerm{Term(1), start_}; }
  Status append(Bytes wal) override {
    storage_.feed(wal.span());
    committed_.set(storage_.fed());
    return Status();
  }
  CommitPosition committed() const override { return {Term(1), committed_.get()}; }
  Result<CommitPosition> wait_beyond(Lsn lsn) override {
    VARVE_TRY(committed_.wait_until([lsn](Lsn at) { return at > lsn; }, "a commit"));
    return committed();
  }
  void announce() override {}
  Instant confirmed() const override { return now(); }
  Lsn ingested() const override { return storage_.ingested(); }
  Result<Bytes> read(LsnRange range) override {
    if (range.start < test::kLogStart) return Status(Code::kNotFound, "before the log");
    return Bytes::copy(
        std::span(storage_.log()).subspan(range.start - test::kLogStart, range.end - range.start));
  }
  Status wait_closed() override { return closed_.wait("the end of the log"); }
  void stop(Status) override { closed_.set(); }

 private:
  test::StorageModel& storage_;
  const Lsn start_;
  Watch<Lsn> committed_;
  Event closed_;
};

class BoundaryObserver : public sim::ModelPostgresObserver {
 public:
  explicit BoundaryObserver(sim::Simulation& sim) : sim_(sim) {}
  void acknowledged(const sim::ModelCommit& commit) override { commits.push_back(commit); }
  void flushed(Lsn) override {}
  void violation(const std::string& what) override { sim_.violation(what); }
  std::vector<sim::ModelCommit> commits;

 private:
  sim::Simulation& sim_;
};

// One compute begins at `at`, commits a little and stops; storage judges what it wrote.
Status start_at(World& world, sim::Simulation& sim, test::StorageModel storage, Lsn at) {
  Scope root("boundary");
  InstantLog log(storage, at);
  Term highest;
  test::TestPages pages(world, storage, highest, true);
  BoundaryObserver observer(sim);
  sim::ModelPostgresOptions model;
  model.blocks = test::kTestBlocks;
  model.transactions = 3;
  sim::ModelPostgresHost host(model, at.value, root, observer);
  const AgentOptions options;
  Agent agent({log, pages, host, world.clock, world.random, world.log}, {}, options, root);
  VARVE_TRY(agent.start());
  VARVE_TRY(sleep_for(Duration::millis(30)));
  const AgentEnd& end = agent.stop();
  if (!end.clean) return Status(Code::kInternal, "not a clean end: " + end.why.to_string());
  for (const sim::ModelCommit& commit : observer.commits) {
    if (!storage.holds(commit)) return Status(Code::kInternal, "an acknowledged commit is lost");
  }
  return Status();
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

struct Race {
  uint64_t seed = 0;
  size_t tail_members = 1;  // who holds what the old compute wrote last
  size_t step = 0;          // of kSteps: in which the new compute dies
  AgentFaults faults = {};
  FleetFaults fleet = {};
};

// The old compute dies with a tail that no quorum holds; the new one dies in one of its steps; the
// next must go on.
std::string run_race(const Race& race) {
  Fleet fleet(race.seed, race.fleet);
  RandomStream draws = fleet.sim.fork("race");
  Seat& old_seat = fleet.add_seat("old");
  Seat& seat = fleet.add_seat("new");
  old_seat.faults = seat.faults = race.faults;
  fleet.start_services();
  fleet.sim.start(old_seat.node);
  if (!fleet.sim.run_until([&] { return old_seat.acks >= 5; }, kLong))
    return *fleet.sim.failure() + " [" + old_seat.last_end + "]";

  std::vector<NodeId> unreachable = fleet.safekeepers;
  for (size_t i = 0; i < race.tail_members; ++i)
    unreachable.erase(unreachable.begin() + static_cast<int64_t>(draws.below(unreachable.size())));
  fleet.sim.partition({old_seat.node}, unreachable);
  fleet.sim.run_for(Duration::micros(static_cast<int64_t>(draws.below(30000))));
  fleet.sim.crash(old_seat.node, sim::Crash::kProcess);
  fleet.sim.unpartition();

  bool died = false;
  seat.entered = [&](const std::string& phase) {
    // The record may take its time to the quorum.
    if (phase == "forging" && draws.chance(300000)) {
      fleet.sim.partition({seat.node}, fleet.safekeepers);
      fleet.sim.at(Duration::millis(100), [&] { fleet.sim.unpartition(); });
    }
    if (died || phase != kSteps[race.step]) return;
    died = true;
    const auto delay = Duration::micros(static_cast<int64_t>(draws.below(4000)));
    fleet.sim.at(delay,
                 [&] { fleet.sim.restart(seat.node, sim::Crash::kProcess, Duration::millis(5)); });
  };
  fleet.sim.start(seat.node);
  if (!fleet.sim.run_until([&] { return died && seat.acks >= 5; }, kLong))
    return *fleet.sim.failure() + " [" + seat.last_end + "]";
  return settle_down(fleet, seat, 10);
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
      for (size_t step = 0; step < kSteps.size(); ++step) {
        ASSERT_EQ(run_race({.seed = seed, .tail_members = tail, .step = step}), "")
            << "seed " << seed << " tail " << tail << " step " << kSteps[step];
        ++runs;
      }
    }
  }
  std::printf("%lu races\n", runs);
}

uint64_t races_until_found(const AgentFaults& faults, const FleetFaults& fleet, uint64_t most) {
  uint64_t runs = 0;
  for (uint64_t seed = 1; runs < most; ++seed) {
    for (size_t step = 0; step < kSteps.size() && runs < most; ++step) {
      ++runs;
      const std::string wrong = run_race({.seed = seed,
                                          .tail_members = 1 + seed % 2,
                                          .step = step,
                                          .faults = faults,
                                          .fleet = fleet});
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

struct Haunting {
  bool reelects = false;
  uint64_t seed = 0;
  size_t step = 0;  // in which the first compute freezes
  AgentFaults faults = {};
  FleetFaults fleet = {};
};

// One compute freezes in a step, another takes over and works, the first wakes up.
std::string run_haunting(const Haunting& haunting) {
  Fleet fleet(haunting.seed, haunting.fleet);
  RandomStream draws = fleet.sim.fork("haunting");
  Seat& first = fleet.add_seat("first");
  Seat& second = fleet.add_seat("second");
  first.faults = haunting.faults;
  first.reelects = haunting.reelects;
  fleet.start_services();
  const auto frozen_for = Duration::millis(static_cast<int64_t>(100 + draws.below(400)));
  bool frozen = false;
  first.entered = [&](const std::string& phase) {
    if (frozen || phase != kSteps[haunting.step]) return;
    frozen = true;
    const uint64_t reach = haunting.step + 1 == kSteps.size() ? 200000 : 4000;
    fleet.sim.at(Duration::micros(static_cast<int64_t>(draws.below(reach))),
                 [&] { fleet.sim.pause(first.node, frozen_for); });
  };
  fleet.sim.start(first.node);
  if (!fleet.sim.run_until([&] { return frozen; }, kLong)) return *fleet.sim.failure();
  fleet.sim.run_for(Duration::millis(static_cast<int64_t>(draws.below(200))));
  fleet.sim.start(second.node);
  // Both want the timeline for a while, then only the second.
  fleet.sim.run_for(frozen_for + Duration::millis(static_cast<int64_t>(draws.below(500))));
  if (fleet.sim.failure().has_value()) return *fleet.sim.failure();
  fleet.sim.stop(first.node);
  return settle_down(fleet, second, 15);
}

TEST(AgentSim, Zombie) {
  const uint64_t seeds = count_of("VARVE_ZOMBIE_SEEDS", 12);
  uint64_t runs = 0;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    for (size_t step = 0; step < kSteps.size(); ++step) {
      ASSERT_EQ(run_haunting({.seed = seed, .step = step}), "")
          << "seed " << seed << " step " << kSteps[step];
      ++runs;
    }
  }
  std::printf("%lu hauntings\n", runs);
}

uint64_t hauntings_until_found(Haunting haunting, uint64_t most) {
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
    ASSERT_EQ(run_haunting({.reelects = true, .seed = seed, .step = 5}), "") << "seed " << seed;
  }
}

TEST(AgentSim, AGateWordWithoutTermIsFound) {
  AgentFaults faults;
  faults.gate.ignore_term = true;
  EXPECT_NE(hauntings_until_found({.reelects = true, .step = 5, .faults = faults}, 200), 0u);
}

TEST(AgentSim, PagesAskedForAtTheNewestPositionAreFound) {
  AgentFaults faults;
  faults.pages.ask_newest = true;
  EXPECT_NE(
      hauntings_until_found({.step = 5, .faults = faults, .fleet = {.storage_fences = false}}, 200),
      0u);
}

}  // namespace
}  // namespace varve::compute
