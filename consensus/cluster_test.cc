// Safekeepers and computes under faults: what was acknowledged is never lost and never changes,
// promises are kept, and once the faults end the cluster works again.
#include <gtest/gtest.h>

#include "consensus/testing/cluster.h"
#include "sim/disk_image.h"

namespace varve::consensus {
namespace {

using testing::Oracle;
using testing::Writer;

constexpr Duration kLong = Duration::seconds(600);

// Options drawn per seed: small queues, early saves and little memory reach their limits more
// often.
struct Limits {
  SafekeeperOptions safekeeper;
  ProposerOptions proposer;
};

Limits draw_limits(sim::Simulation& sim) {
  Limits limits;
  RandomStream random = sim.fork("limits");
  draw_options(limits.safekeeper, random);
  draw_options(limits.proposer, random);
  limits.safekeeper.reload_pause = std::min(limits.safekeeper.reload_pause, Duration::seconds(1));
  limits.proposer.reconnect_pause = std::min(limits.proposer.reconnect_pause, Duration::seconds(1));
  limits.proposer.silence =
      std::clamp(limits.proposer.silence, Duration::seconds(2), Duration::seconds(10));
  limits.proposer.heartbeat = std::min(limits.proposer.heartbeat, Duration::seconds(1));
  return limits;
}

// Three safekeepers, `computes` writers that start over whenever they lose, a reader.
class Cluster {
 public:
  explicit Cluster(uint64_t seed, int computes = 1, Limits limits = {})
      : sim(seed, log_options()), oracle(sim), limits_(limits) {
    for (uint64_t i = 1; i <= 3; ++i) {
      safekeepers.push_back(sim.add_node("sk" + std::to_string(i), [this, i](World& world) {
        testing::run_safekeeper(world, NodeId(i), limits_.safekeeper, oracle);
      }));
    }
    for (int i = 0; i < computes; ++i) {
      this->computes.push_back(sim.add_node("compute" + std::to_string(i),
                                            [this](World& world) { run_compute(world); }));
    }
    reader = sim.add_node("reader", [this](World& world) { testing::run_reader(world, oracle); });
  }

  // VARVE_PRINT_LOG=1 shows what nodes say, for a replay.
  static sim::SimulationOptions log_options() {
    sim::SimulationOptions options;
    options.print_log = std::getenv("VARVE_PRINT_LOG") != nullptr;
    return options;
  }

  void run_compute(World& world) {
    while (!stop_writing && check_cancelled().ok()) {
      Writer writer(world, sim, limits_.proposer, oracle);
      const Status status = writer.run(1 + world.random.below(100, "records to write"));
      if (status.ok()) ++finished;
      const auto pause = static_cast<int64_t>(1 + world.random.below(500, "pause"));
      if (!sleep_for(Duration::millis(pause)).ok()) {
        return;
      }
    }
  }

  // After the faults: a last compute, alone, wins and commits; then all members hold the same.
  void converge() {
    stop_writing = true;
    sim.heal();
    for (NodeId node : safekeepers) {
      if (!sim.up(node)) sim.start(node);
    }
    for (NodeId node : computes) sim.crash(node, sim::Crash::kProcess);
    bool done = false;
    const Lsn before = oracle.committed();
    const NodeId last = sim.add_node("last", [&](World& world) {
      for (;;) {
        Writer writer(world, sim, limits_.proposer, oracle);
        if (writer.run(5).ok()) break;
        if (!sleep_for(Duration::millis(100)).ok()) return;
      }
      done = compare_members(world);
    });
    sim.start(last);
    ASSERT_TRUE(sim.run_until([&] { return done; }, kLong)) << *sim.failure();
    EXPECT_GT(oracle.committed(), before);
    oracle.judge_readers();
    EXPECT_FALSE(sim.failure()) << *sim.failure();
  }

  // Every member's log equals what was acknowledged. A laggard is fed by a proposer that has
  // nothing to write.
  bool compare_members(World& world) {
    Scope root("compare");
    ProposerConfig config{testing::timeline_id(), testing::three_members(), testing::server_info()};
    ProposerDriver driver(world, config, testing::credentials(), limits_.proposer, root, &oracle);
    bool equal = driver.elect().ok() && driver.wait_committed(oracle.committed()).ok();
    for (const Member& member : config.membership.members) {
      for (bool same = false; equal && !same;) {
        same = holds_all(world, member);
        if (!same && !sleep_for(Duration::millis(200)).ok()) equal = false;
      }
    }
    driver.stop(Status(Code::kCancelled, "compared"));
    return equal;
  }

  bool holds_all(World& world, const Member& member) {
    const auto read = [&]() -> Result<std::vector<Bytes>> {
      const DeadlineGuard deadline(Duration::seconds(20));
      VARVE_TRY_ASSIGN(auto stream,
                       LogStream::open(world.network, address_of(member), testing::credentials(),
                                       testing::kStart, std::nullopt));
      return stream->read(oracle.log().size());
    };
    const auto pieces = read();
    if (!pieces.ok()) return false;
    const Bytes log = concatenate(*pieces);
    if (!std::equal(oracle.log().begin(), oracle.log().end(), log.data())) {
      sim.violation("a member's log differs from what was acknowledged");
    }
    return true;
  }

  sim::Simulation sim;
  Oracle oracle;
  Limits limits_;
  std::vector<NodeId> safekeepers;
  std::vector<NodeId> computes;
  NodeId reader;
  bool stop_writing = false;
  uint64_t finished = 0;
};

TEST(ClusterSim, ElectsCommitsAndIsRead) {
  Cluster cluster(1);
  cluster.sim.start_all();
  ASSERT_TRUE(cluster.sim.run_until([&] { return cluster.finished >= 3; }, kLong))
      << *cluster.sim.failure();
  EXPECT_GT(cluster.oracle.committed(), testing::kStart + 1000);
  cluster.converge();
}

TEST(ClusterSim, OneMemberAwayCatchesUpLater) {
  Cluster cluster(2);
  for (int i : {0, 1}) cluster.sim.start(cluster.safekeepers[static_cast<size_t>(i)]);
  cluster.sim.start(cluster.computes[0]);
  ASSERT_TRUE(cluster.sim.run_until([&] { return cluster.finished >= 3; }, kLong))
      << *cluster.sim.failure();
  // Across two computes, so that what it lacks lies below the last one's term.
  cluster.sim.start(cluster.safekeepers[2]);
  cluster.sim.start(cluster.reader);
  cluster.converge();
}

TEST(ClusterSim, AllMembersLoseTheirPowerAtOnce) {
  for (uint64_t seed = 10; seed < 16; ++seed) {
    Cluster cluster(seed);
    cluster.sim.start_all();
    ASSERT_TRUE(cluster.sim.run_until(
        [&] { return cluster.oracle.committed() > testing::kStart + 50000; }, kLong))
        << *cluster.sim.failure();
    const Lsn acknowledged = cluster.oracle.committed();
    for (NodeId node : cluster.safekeepers) {
      cluster.sim.restart(node, sim::Crash::kPowerCut, Duration::millis(100));
    }
    cluster.converge();
    EXPECT_GE(cluster.oracle.committed(), acknowledged);
  }
}

TEST(ClusterSim, WithoutAQuorumNothingIsAcknowledged) {
  Cluster cluster(3);
  cluster.sim.start_all();
  ASSERT_TRUE(cluster.sim.run_until([&] { return cluster.finished >= 1; }, kLong))
      << *cluster.sim.failure();
  cluster.sim.crash(cluster.safekeepers[0], sim::Crash::kPowerCut);
  cluster.sim.crash(cluster.safekeepers[1], sim::Crash::kPowerCut);
  ASSERT_TRUE(cluster.sim.run_for(Duration::seconds(1)));
  const Lsn acknowledged = cluster.oracle.committed();
  ASSERT_TRUE(cluster.sim.run_for(Duration::seconds(10)));
  EXPECT_EQ(cluster.oracle.committed(), acknowledged);
  cluster.converge();
}

// A flipped bit in WAL that was durable: this member says so and serves nothing; the others go on.
TEST(ClusterSim, DamagedFilesAreNamedAndTheRestServes) {
  Cluster cluster(4);
  cluster.sim.start_all();
  ASSERT_TRUE(cluster.sim.run_until([&] { return cluster.finished >= 1; }, kLong))
      << *cluster.sim.failure();
  const NodeId damaged = cluster.safekeepers[0];
  cluster.sim.crash(damaged, sim::Crash::kProcess);
  const std::string control = "timelines/" + testing::timeline_id().to_string() + "/control";
  const auto file = cluster.sim.disk(damaged).open(control, OpenMode::kReadWrite);
  ASSERT_TRUE(file.ok());
  const uint8_t garbage[] = {0xFF};
  (*file)->write(110, garbage);
  cluster.sim.start(damaged);
  const uint64_t finished = cluster.finished;
  ASSERT_TRUE(cluster.sim.run_until([&] { return cluster.finished >= finished + 2; }, kLong))
      << *cluster.sim.failure();
  bool named = false;
  for (const sim::LogLine& line : cluster.sim.log()) {
    named = named || (line.node == damaged && line.text.find(control) != std::string::npos);
  }
  EXPECT_TRUE(named);
}

// Everything at once, another mix for each seed.
TEST(ClusterSim, SwarmOfFaults) {
  const char* wanted = std::getenv("VARVE_CLUSTER_SEEDS");
  const uint64_t seeds = wanted == nullptr ? 30 : std::strtoull(wanted, nullptr, 10);
  const char* first_text = std::getenv("VARVE_CLUSTER_FIRST");
  const uint64_t first = first_text == nullptr ? 1000 : std::strtoull(first_text, nullptr, 10);
  uint64_t elections = 0;
  uint64_t cuts = 0;
  uint64_t faults = 0;
  uint64_t bytes = 0;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    SCOPED_TRACE("VARVE_CLUSTER_FIRST=" + std::to_string(seed) + " VARVE_CLUSTER_SEEDS=1");
    sim::Simulation draw(seed);
    Cluster cluster(seed, 2, draw_limits(draw));
    cluster.sim.start_all();
    cluster.sim.run_for(Duration::millis(200));
    cluster.sim.unleash(sim::FaultPlan::draw(cluster.sim.fork("plan")));
    ASSERT_TRUE(cluster.sim.run_for(Duration::seconds(20))) << *cluster.sim.failure();
    cluster.converge();
    if (HasFatalFailure() || HasNonfatalFailure()) return;
    elections += cluster.oracle.elections();
    cuts += cluster.oracle.cuts();
    faults += cluster.sim.faults().total();
    bytes += cluster.oracle.log().size();
  }
  std::printf(
      "%llu seeds: %llu elections, %llu cuts of logs, %llu faults, %llu bytes acknowledged\n",
      static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(elections),
      static_cast<unsigned long long>(cuts), static_cast<unsigned long long>(faults),
      static_cast<unsigned long long>(bytes));
  EXPECT_GT(elections, seeds);
  EXPECT_GT(cuts, 0u);
}

}  // namespace
}  // namespace varve::consensus
