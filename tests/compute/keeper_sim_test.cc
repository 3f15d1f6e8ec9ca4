// The keeper in the simulated world: real keeper, agent, proposer and safekeepers, the page service
// over its RPC, a control that says what the test wants, a model Postgres.
#include "compute/agent/keeper.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "control/client/methods.h"
#include "proto/control.pb.h"
#include "tests/compute/fleet.h"
#include "tests/compute/model_pageserver.h"
#include "wire/rpc_proto.h"

namespace varve::compute {
namespace {

using test::Fleet;

constexpr Duration kLong = Duration::seconds(300);
const Address kControlAddress{"control", 7000};
const Address kStorageAddress{"storage", 7001};
constexpr NodeId kControl{2};
constexpr NodeId kStorage{21};

// What control has on its disk.
struct Wanted {
  uint64_t incarnation = 0;  // the newest process; an older one is told to stop
  bool stop = false;
  proto::ReportComputeRequest last;
  uint64_t running_reports = 0;
};

uint64_t seeds(uint64_t otherwise) {
  const char* text = std::getenv("VARVE_KEEPER_SEEDS");
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::string token() {
  TokenClaims claims;
  claims.tenant = test::test_timeline().tenant;
  claims.timeline = test::test_timeline().timeline;
  claims.issued_to = "compute";
  return TokenSigner::from_seed({7}).sign(claims);
}

struct KeeperSeat : sim::ModelPostgresObserver {
  KeeperSeat(Fleet& f, std::string n) : fleet(f), name(std::move(n)) {}
  void acknowledged(const sim::ModelCommit& commit) override {
    ++acks;
    fleet.oracle.acknowledged(commit);
  }
  void flushed(Lsn lsn) override { fleet.oracle.flushed(lsn); }
  void violation(const std::string& what) override { fleet.sim.violation(what); }

  Fleet& fleet;
  const std::string name;
  NodeId node;
  Keeper* keeper = nullptr;
  uint64_t acks = 0;
  uint64_t incarnation = 0;  // of the running process
  bool ended = false;
  std::string end;
};

class KeeperFleet {
 public:
  explicit KeeperFleet(uint64_t seed) : fleet(seed) {
    fleet.storage_serves = [this](World& world) { serve_storage(world); };
    control = fleet.sim.add_node("control", [this](World& world) { run_control(world); });
    fleet.start_services();
    fleet.sim.start(control);
  }

  KeeperSeat& add_seat(const std::string& name) {
    seats_.push_back(std::make_unique<KeeperSeat>(fleet, name));
    KeeperSeat& seat = *seats_.back();
    seat.node = fleet.sim.add_node(name, [this, &seat](World& world) { run_keeper(world, seat); });
    return seat;
  }

  Fleet fleet;
  NodeId control;
  Wanted wanted;

 private:
  void serve(World& world, NodeId node, const Address& address,
             const std::function<void(RpcServer&)>& add) {
    const TokenVerifier verifier({TokenSigner::from_seed({7}).public_key()});
    Budget memory("rpc", 64 << 20);
    for (;;) {
      RpcServer server(world.clock, world.log, world.metrics, {node, Incarnation(1), "model"},
                       verifier, memory);
      add(server);
      auto listener = world.network.listen(address);
      if (listener.ok()) server.serve(**listener).ignore("it ends with the node");
      if (!sleep_for(Duration::millis(20)).ok()) return;
    }
  }

  void serve_storage(World& world) {
    serve(world, kStorage, kStorageAddress,
          [&](RpcServer& server) { test::add_model_page_methods(world, fleet.storage, server); });
  }

  static Result<proto::ComputeSpec> spec() {
    proto::ComputeSpec spec;
    spec.set_configuration(1);
    for (const consensus::Member& member : test::test_members().members) {
      proto::NodeAddress* node = spec.add_safekeepers();
      node->set_node(member.node.value);
      node->set_host(member.host);
      node->set_postgres_port(member.port);
    }
    spec.mutable_pageserver()->set_node(kStorage.value);
    spec.mutable_pageserver()->set_host(kStorageAddress.host);
    spec.mutable_pageserver()->set_port(kStorageAddress.port);
    spec.set_postgres_major(15);
    spec.set_port(5432);
    spec.set_system_id(test::kSystemId);
    spec.set_segment_size(test::kTestSegment);
    return spec;
  }

  void run_control(World& world) {
    const TenantTimelineId id = test::test_timeline();
    serve(world, kControl, kControlAddress, [&](RpcServer& server) {
      add_method<proto::ComputeSpecRequest, proto::ComputeSpec>(
          server, control::kComputeSpec,
          [id](CallContext& context,
               const proto::ComputeSpecRequest&) -> Result<proto::ComputeSpec> {
            VARVE_TRY(context.authorize(id.tenant, id.timeline));
            return spec();
          });
      add_method<proto::ReportComputeRequest, proto::ReportComputeResponse>(
          server, control::kReportCompute,
          [this, id](CallContext& context, const proto::ReportComputeRequest& report)
              -> Result<proto::ReportComputeResponse> {
            VARVE_TRY(context.authorize(id.tenant, id.timeline));
            proto::ReportComputeResponse response;
            const bool newest = wanted.incarnation == report.incarnation();
            response.set_stop(wanted.stop || !newest);
            if (newest) wanted.last = report;
            if (newest && report.state() == proto::ENDPOINT_RUNNING) ++wanted.running_reports;
            return response;
          });
    });
  }

  void run_keeper(World& world, KeeperSeat& seat) {
    const TokenVerifier verifier({TokenSigner::from_seed({7}).public_key()});
    Budget memory("rpc", 64 << 20);
    Scope root("compute");
    sim::ModelPostgresOptions model;
    model.blocks = test::kTestBlocks;
    model.transactions = 1000000;
    sim::ModelPostgresHost host(model, world.random.below(UINT64_MAX, "model"), root, seat);
    seat.incarnation = 1 + world.random.below(uint64_t{1} << 60, "incarnation");
    wanted.incarnation = seat.incarnation;
    Keeper keeper(world, host, verifier, memory,
                  {.id = test::test_timeline(),
                   .endpoint = "main",
                   .token = token(),
                   .identity = {NodeId(), Incarnation(seat.incarnation), seat.name},
                   .control = kControlAddress,
                   .control_node = kControl,
                   .listen = seat.name,
                   .settings = {}},
                  options_);
    seat.keeper = &keeper;
    Event stop;
    seat.end = keeper.run(stop).to_string();
    seat.keeper = nullptr;
    seat.ended = true;
  }

  const KeeperOptions options_;
  std::vector<std::unique_ptr<KeeperSeat>> seats_;
};

// Control says stop: the compute ends cleanly, and nothing that was acknowledged is lost.
void stop_and_judge(KeeperFleet& keepers, KeeperSeat& seat, const std::string& what) {
  Fleet& fleet = keepers.fleet;
  keepers.wanted.stop = true;
  ASSERT_TRUE(fleet.sim.run_until([&] { return seat.ended; }, kLong))
      << what << ": " << *fleet.sim.failure();
  EXPECT_EQ(seat.end, Status().to_string()) << what;
  ASSERT_TRUE(fleet.sim.run_until([&] { return fleet.caught_up(); }, kLong)) << what;
  fleet.judge();
  ASSERT_FALSE(fleet.sim.failure().has_value()) << what << ": " << *fleet.sim.failure();
}

// Lives end, and control, storage and single safekeepers die, at drawn moments: the next life
// follows, and control's word ends it.
TEST(KeeperSim, LifeFollowsLife) {
  for (uint64_t seed = 1; seed <= seeds(3); ++seed) {
    const std::string what = "seed " + std::to_string(seed);
    KeeperFleet keepers(seed);
    Fleet& fleet = keepers.fleet;
    KeeperSeat& seat = keepers.add_seat("compute");
    RandomStream draws = fleet.sim.fork("troubles");
    fleet.sim.start(seat.node);
    uint64_t doomed = 0;
    for (int trouble = 0; trouble < 16; ++trouble) {
      fleet.sim.run_for(Duration::millis(static_cast<int64_t>(draws.below(600))));
      ASSERT_FALSE(fleet.sim.failure().has_value()) << what << ": " << *fleet.sim.failure();
      const auto downtime = Duration::millis(static_cast<int64_t>(10 + draws.below(1500)));
      switch (draws.below(4)) {
        case 0:
          fleet.sim.restart(keepers.control, sim::Crash::kProcess, downtime);
          fleet.sim.run_for(downtime);
          break;
        case 1:
          fleet.sim.restart(fleet.storage_node, sim::Crash::kProcess, downtime);
          fleet.sim.run_for(downtime);
          break;
        case 2:
          fleet.sim.restart(fleet.safekeepers[draws.below(3)], sim::Crash::kPowerCut, downtime);
          fleet.sim.run_for(downtime);
          break;
        default:
          if (seat.keeper == nullptr || seat.keeper->agent() == nullptr) break;
          seat.keeper->agent()->doom(Status(Code::kUnavailable, "Postgres died"));
          ++doomed;
      }
    }
    const uint64_t acks = seat.acks;
    ASSERT_TRUE(fleet.sim.run_until([&] { return seat.acks > acks + 20; }, kLong))
        << what << ": " << *fleet.sim.failure();
    const uint64_t reports = keepers.wanted.running_reports;
    ASSERT_TRUE(
        fleet.sim.run_until([&] { return keepers.wanted.running_reports > reports; }, kLong))
        << what;
    EXPECT_GE(keepers.wanted.last.lives(), doomed) << what;
    stop_and_judge(keepers, seat, what);
  }
}

// A second compute of the timeline takes the term. The first is not wanted any more: it ends, and
// the term stays where it is.
TEST(KeeperSim, ASuccessorIsNotFought) {
  for (uint64_t seed = 1; seed <= seeds(4); ++seed) {
    const std::string what = "seed " + std::to_string(seed);
    KeeperFleet keepers(seed);
    Fleet& fleet = keepers.fleet;
    KeeperSeat& first = keepers.add_seat("first");
    KeeperSeat& second = keepers.add_seat("second");
    fleet.sim.start(first.node);
    ASSERT_TRUE(fleet.sim.run_until([&] { return first.acks >= 20; }, kLong)) << what;
    const bool without_control = seed % 2 == 0;
    fleet.sim.start(second.node);
    if (without_control) {
      // It hears nothing of being unwanted, and does not fight for all that.
      ASSERT_TRUE(fleet.sim.run_until([&] { return second.acks >= 1; }, kLong)) << what;
      fleet.sim.crash(keepers.control, sim::Crash::kProcess);
    }
    ASSERT_TRUE(fleet.sim.run_until([&] { return second.acks >= 20; }, kLong)) << what;
    const uint64_t before = first.acks;
    const Term term = second.keeper->agent()->won().term;
    fleet.sim.run_for(Duration::seconds(5));
    ASSERT_FALSE(fleet.sim.failure().has_value()) << what << ": " << *fleet.sim.failure();
    EXPECT_EQ(first.acks, before) << what;
    ASSERT_NE(second.keeper->agent(), nullptr) << what;
    EXPECT_EQ(second.keeper->agent()->won().term, term) << what;
    EXPECT_LE(term.value, 3u) << what;
    if (without_control) fleet.sim.start(keepers.control);
    ASSERT_TRUE(fleet.sim.run_until([&] { return first.ended; }, kLong)) << what;
    stop_and_judge(keepers, second, what);
  }
}

}  // namespace
}  // namespace varve::compute
