#include "scenarios/compute_start.h"

namespace varve::scenarios {
namespace {

using compute::Agent;
using compute::AgentEnd;
using compute::AgentOptions;
using compute::CommitPosition;
using compute::WonTerm;
using test::Fleet;
using test::FleetFaults;
using test::Seat;

constexpr Duration kLong = Duration::seconds(120);

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

}  // namespace

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

std::string settle_down(Fleet& fleet, Seat& seat, uint64_t more_acks) {
  // A compute that stops while members are cut off from it leaves them not knowing what is
  // committed, until the next one tells them: that storage lags then is right.
  if (fleet.sim.elapsed() < fleet.well_at) fleet.sim.run_for(fleet.well_at - fleet.sim.elapsed());
  seat.wanted_acks = seat.acks + more_acks;
  const bool done = fleet.sim.run_until([&] { return seat.finished; }, kLong) &&
                    fleet.sim.run_until([&] { return fleet.caught_up(); }, kLong);
  if (done) fleet.judge();
  if (!fleet.sim.failure().has_value()) return "";
  return *fleet.sim.failure() + " [" + seat.last_end + "]";
}

// The old compute dies with a tail that no quorum holds; the new one dies in one of its steps; the
// next must go on.
std::string run_race(Fleet& fleet, const Race& race) {
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
  old_seat.finished = true;  // whoever starts its node again: this compute is over
  fleet.sim.crash(old_seat.node, sim::Crash::kProcess);
  fleet.sim.unpartition();

  bool died = false;
  seat.entered = [&](const std::string& phase) {
    // The record may take its time to the quorum.
    if (phase == "forging" && draws.chance(300000)) {
      fleet.sim.partition({seat.node}, fleet.safekeepers);
      fleet.sim.at(Duration::millis(100), [&] { fleet.sim.unpartition(); });
    }
    if (died || phase != kStartSteps[race.step]) return;
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

// One compute freezes in a step, another takes over and works, the first wakes up.
std::string run_haunting(Fleet& fleet, const Haunting& haunting) {
  RandomStream draws = fleet.sim.fork("haunting");
  Seat& first = fleet.add_seat("first");
  Seat& second = fleet.add_seat("second");
  first.faults = haunting.faults;
  first.reelects = haunting.reelects;
  fleet.start_services();
  const auto frozen_for = Duration::millis(static_cast<int64_t>(100 + draws.below(400)));
  bool frozen = false;
  first.entered = [&](const std::string& phase) {
    if (frozen || phase != kStartSteps[haunting.step]) return;
    frozen = true;
    const uint64_t reach = haunting.step + 1 == kStartSteps.size() ? 200000 : 4000;
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
  first.finished = true;
  fleet.sim.stop(first.node);
  return settle_down(fleet, second, 15);
}

// ---- in the default mix

namespace {

// The fleet stays: a failed run leaves fibers that refer to it. Two runs of three have every fault
// there is beside those of their story, for its first seconds: the others tell the story as it is
// meant, with nothing in between.
Fleet& make_fleet(sim::Simulation& simulation, RandomStream& draw) {
  FleetFaults faults;
  faults.ingest_pause = Duration::millis(static_cast<int64_t>(draw.between(1, 200)));
  const auto trouble = Duration::millis(static_cast<int64_t>(draw.between(1000, 8000)));
  Fleet& fleet = *new Fleet(simulation, faults);
  if (draw.below(3) == 0) return fleet;
  simulation.unleash(sim::FaultPlan::draw(simulation.fork("plan")));
  simulation.at(trouble, [&simulation] { simulation.heal(); });
  fleet.well_at = trouble;
  return fleet;
}

void report(sim::Simulation& simulation, const std::string& wrong) {
  if (!wrong.empty() && !simulation.failure()) simulation.violation(wrong);
}

}  // namespace

void start_race(sim::Simulation& simulation) {
  RandomStream draw = simulation.fork("which race");
  Race race;
  race.tail_members = draw.between(1, 2);
  race.step = draw.below(kStartSteps.size());
  report(simulation, run_race(make_fleet(simulation, draw), race));
}

void zombie(sim::Simulation& simulation) {
  RandomStream draw = simulation.fork("which zombie");
  Haunting haunting;
  haunting.step = draw.below(kStartSteps.size());
  // The log may even win again for it: the gate's word carries its term.
  haunting.reelects = haunting.step + 1 == kStartSteps.size() && draw.chance(300000);
  report(simulation, run_haunting(make_fleet(simulation, draw), haunting));
}

// Two computes write a log; then one starts at each of a few boundaries of it.
void record_boundaries(sim::Simulation& simulation) {
  RandomStream draw = simulation.fork("which boundaries");
  Fleet& fleet = make_fleet(simulation, draw);
  for (int life = 0; life < 2; ++life) {
    Seat& seat = fleet.add_seat("writer" + std::to_string(life));
    if (life == 0) fleet.start_services();
    simulation.start(seat.node);
    const std::string wrong = settle_down(fleet, seat, draw.between(5, 40));
    if (!wrong.empty()) return report(simulation, wrong);
  }
  const std::vector<Lsn> boundaries = fleet.storage.boundaries();
  bool done = false;
  std::string wrong;
  const NodeId node = simulation.add_node("starter", [&](World& world) {
    for (int i = 0; i < 8 && wrong.empty(); ++i) {
      const Lsn at = boundaries[world.random.below(boundaries.size(), "boundary")];
      const Status end = start_at(world, simulation, fleet.storage.as_of(at), at);
      if (!end.ok()) wrong = "a start at " + at.to_string() + ": " + end.to_string();
    }
    done = true;
  });
  simulation.start(node);
  if (simulation.run_until([&] { return done; }, kLong)) report(simulation, wrong);
}

}  // namespace varve::scenarios
