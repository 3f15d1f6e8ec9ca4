// Control in the seeded world, among models of everything that it works with: by hand, with a crash
// at every step, and under drawn faults.
#include "control/control.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>

#include "control/peers.h"
#include "control/testing/model_machine.h"

namespace varve::control {
namespace {

using testing::kPort;
using testing::Truth;

constexpr Duration kLong = Duration::seconds(900);

Fleet model_fleet() {
  Fleet fleet;
  for (uint64_t i = 0; i < 3; ++i) {
    const Address address{testing::kSafekeepers[i], kPort};
    fleet.safekeepers.push_back({NodeId(11 + i), address, address});
  }
  fleet.pageserver = NodeId(21);
  fleet.pageserver_rpc = {"pageserver", kPort};
  fleet.supervisor = NodeId(1);
  fleet.supervisor_rpc = {"machine", kPort};
  fleet.endpoint_host = fleet.endpoint_listen = "control";
  fleet.endpoint_ports = {7700, 7750};
  return fleet;
}

void control_main(World& world, Truth& truth, const Fleet& fleet) {
  const TokenSigner signer = testing::signer();
  const TokenVerifier verifier({signer.public_key()});
  testing::ModelStore store(truth, world);
  testing::ModelClusters clusters(truth);
  testing::ModelElector elector(truth);
  Budget memory("control", 64 << 20);
  const ControlOptions options;
  const Incarnation life(1 + world.random.below(UINT64_MAX - 1, "incarnation"));
  for (;;) {
    auto listener = world.network.listen(Address{"control", kPort});
    if (listener.ok()) {
      const Status end = run_control({.world = world,
                                      .store = store,
                                      .clusters = clusters,
                                      .fleet = fleet,
                                      .signer = signer,
                                      .verifier = verifier,
                                      .token = testing::token(TokenScope::kNode),
                                      .identity = {NodeId(2), life, "control"},
                                      .memory = memory,
                                      .options = options,
                                      .elector = &elector},
                                     **listener);
      // As its supervisor would begin the next life, where a store was given up.
      if (end.is(Code::kCancelled)) return;
    }
    if (!sleep_for(Duration::millis(100)).ok()) return;
  }
}

// A user: asks until there is an answer, always under one operation id.
class User {
 public:
  User(World& world, Truth& truth, Scope& scope)
      : world_(world),
        truth_(truth),
        client_(world.network, world.random, scope, Address{"control", kPort},
                testing::token(TokenScope::kAdmin), {NodeId(), {}, "user"}) {}

  template <class Response, class Request>
  Result<Response> change(const RpcMethod& method, Request request) {
    const auto id = world_.random.unique_bytes("operation");
    request.set_operation(id.data(), id.size());
    Result<Response> response = ask<Response>(method, request);
    // The answer was lost, perhaps: it is the same one.
    if (world_.random.below(4, "ask again") == 0 && response.ok()) {
      const Result<Response> again = ask<Response>(method, request);
      if (!again.ok() || again->SerializeAsString() != response->SerializeAsString()) {
        truth_.sim.violation(std::string(method.name) + " answered twice, differently");
      }
    }
    return response;
  }

  template <class Response, class Request>
  Result<Response> ask(const RpcMethod& method, const Request& request) {
    for (int i = 0; i < 200; ++i) {
      Result<Response> response = ask_peer(client_, Duration::seconds(70), [&](RpcClient& client) {
        return call<Response>(client, method, request);
      });
      VARVE_TRY(check_cancelled());
      const bool again = response.is(Code::kUnavailable) || response.is(Code::kDeadlineExceeded);
      if (!again) return response;
      VARVE_TRY(sleep_for(Duration::millis(100)));
    }
    return Status(Code::kUnavailable, "no answer");
  }

  Status create_project(const std::string& name) {
    proto::CreateProjectRequest request;
    request.set_name(name);
    VARVE_TRY_ASSIGN(const auto response,
                     change<proto::CreateProjectResponse>(kCreateProject, request));
    VARVE_TRY_ASSIGN(const TenantTimelineId id, consensus::get_timeline_id(response.branch()));
    judge_branch(id, response.branch(), testing::kImportEnd, 3);
    return Status();
  }

  Result<proto::Branch> create_branch(const std::string& project, const std::string& name,
                                      const std::string& parent, std::optional<Lsn> lsn = {}) {
    const Branch* of = branch(project, parent);
    const Lsn acknowledged = of == nullptr ? Lsn() : truth_.ends[of->id];
    proto::CreateBranchRequest request;
    request.set_project(project);
    request.set_name(name);
    request.set_parent(parent);
    if (lsn) request.set_lsn(lsn->value);
    VARVE_TRY_ASSIGN(const auto response,
                     change<proto::CreateBranchResponse>(kCreateBranch, request));
    VARVE_TRY_ASSIGN(const TenantTimelineId id, consensus::get_timeline_id(response.branch()));
    judge_branch(id, response.branch(), lsn ? *lsn : acknowledged, 2);
    return response.branch();
  }

  Status delete_branch(const std::string& project, const std::string& name) {
    proto::DeleteBranchRequest request;
    request.set_project(project);
    request.set_name(name);
    return change<proto::DeleteBranchResponse>(kDeleteBranch, request).status();
  }

  Status create_endpoint(const std::string& project, const std::string& branch) {
    proto::CreateEndpointRequest request;
    request.set_project(project);
    request.set_branch(branch);
    return change<proto::CreateEndpointResponse>(kCreateEndpoint, request).status();
  }

  Status start_endpoint(const std::string& project, const std::string& name) {
    proto::StartEndpointRequest request;
    request.set_project(project);
    request.set_name(name);
    return change<proto::StartEndpointResponse>(kStartEndpoint, request).status();
  }

  Status stop_endpoint(const std::string& project, const std::string& name) {
    proto::StopEndpointRequest request;
    request.set_project(project);
    request.set_name(name);
    return change<proto::StopEndpointResponse>(kStopEndpoint, request).status();
  }

  Status delete_endpoint(const std::string& project, const std::string& name) {
    proto::DeleteEndpointRequest request;
    request.set_project(project);
    request.set_name(name);
    return change<proto::DeleteEndpointResponse>(kDeleteEndpoint, request).status();
  }

  Status delete_project(const std::string& name) {
    proto::DeleteProjectRequest request;
    request.set_name(name);
    return change<proto::DeleteProjectResponse>(kDeleteProject, request).status();
  }

 private:
  const Branch* branch(const std::string& project, const std::string& name) {
    const Project* of = truth_.kept.project(project);
    return of == nullptr ? nullptr : truth_.kept.branch(of->id, name);
  }

  // What was answered for exists. It may have been deleted by the time the answer comes.
  void judge_branch(const TenantTimelineId& id, const proto::Branch& branch, Lsn at_least,
                    size_t safekeepers) {
    if (Lsn(branch.start_lsn()) < at_least)
      truth_.sim.violation("a branch lacks what was acknowledged before it was asked for");
    if (truth_.kept.branch(id) == nullptr) return;
    const auto there = truth_.pageserver.timelines.find(id);
    if (there == truth_.pageserver.timelines.end() ||
        there->second.start != Lsn(branch.start_lsn()))
      return truth_.sim.violation("a branch that was answered for is not at the pageserver");
    size_t have = 0;
    for (const char* name : testing::kSafekeepers) {
      const auto& timelines = truth_.safekeepers[name].timelines;
      const auto found = timelines.find(id);
      have += found != timelines.end() && found->second == there->second;
    }
    if (have < safekeepers)
      truth_.sim.violation("a branch that was answered for is not on enough safekeepers");
  }

  World& world_;
  Truth& truth_;
  RpcClient client_;
};

sim::SimulationOptions simulation_options() {
  sim::SimulationOptions options;
  options.print_log = std::getenv("VARVE_PRINT_LOG") != nullptr;
  return options;
}

class Fleets {
 public:
  explicit Fleets(uint64_t seed) : sim(seed, simulation_options()), truth(sim) {
    truth.control = sim.add_node("control", [this](World& w) { control_main(w, truth, fleet_); });
    for (uint64_t i = 0; i < 3; ++i) {
      sim.add_node(testing::kSafekeepers[i], [this, i](World& world) {
        testing::run_safekeeper(world, truth, NodeId(11 + i), testing::kSafekeepers[i]);
      });
    }
    sim.add_node("pageserver", [this](World& world) {
      testing::ModelPageserver(world, truth, NodeId(21)).run();
    });
    sim.add_node("machine",
                 [this](World& world) { testing::ModelSupervisor(world, truth, NodeId(1)).run(); });
  }

  // Runs `story` on a node of its own, to its end.
  void run(const std::function<void(World&, User&)>& story,
           const std::function<void()>& meanwhile = {}) {
    bool done = false;
    const NodeId user = sim.add_node("user", [&](World& world) {
      {
        Scope scope("user");
        User asking(world, truth, scope);
        story(world, asking);
      }
      done = true;
    });
    sim.protect(user);
    sim.start_all();
    if (meanwhile) meanwhile();
    const bool ended = sim.run_until([&] { return done; }, kLong);
    ASSERT_TRUE(ended) << *sim.failure() << "\n" << sim.describe_waits();
    sim.heal();
    const bool quiet = sim.run_until([&] { return !unfinished().has_value(); }, kLong);
    ASSERT_TRUE(quiet) << *sim.failure() << "\n"
                       << unfinished().value_or("") << "\n"
                       << sim.describe_waits();
    ASSERT_FALSE(sim.failure().has_value()) << *sim.failure();
    judge_end();
  }

  // What is left to do, for all who look from outside.
  std::optional<std::string> unfinished() const {
    const State& state = truth.kept;
    for (const auto& [id, project] : state.projects) {
      if (project.phase != ProjectPhase::kReady) return "project " + project.name;
    }
    for (const auto& [id, branch] : state.branches) {
      if (branch.phase != BranchPhase::kReady || !branch.missing.empty())
        return "branch " + branch.name;
    }
    if (!state.tombstones.empty()) return "a tombstone";
    for (const auto& [id, operation] : state.operations) {
      if (!operation.finished) return "operation of method " + std::to_string(operation.method);
    }
    for (const auto& [key, endpoint] : state.endpoints) {
      const auto process = truth.processes.find(key);
      const bool lives =
          process != truth.processes.end() && process->second.start == endpoint.start;
      if (endpoint.wanted != lives) return "endpoint " + endpoint.name;
    }
    return std::nullopt;
  }

  // Everybody agrees, and nothing is left over.
  void judge_end() {
    EXPECT_EQ(inconsistency(truth.kept), "");
    for (const auto& [id, branch] : truth.kept.branches) {
      const auto there = truth.pageserver.timelines.find(id);
      ASSERT_NE(there, truth.pageserver.timelines.end()) << branch.name;
      EXPECT_EQ(there->second.start, branch.start);
      for (const char* name : testing::kSafekeepers) {
        EXPECT_EQ(truth.safekeepers[name].timelines[id], there->second) << name;
      }
    }
    for (const char* name : testing::kSafekeepers) {
      for (const auto& [id, timeline] : truth.safekeepers[name].timelines)
        EXPECT_NE(truth.kept.branch(id), nullptr) << "left over on " << name;
    }
    for (const auto& [id, timeline] : truth.pageserver.timelines)
      EXPECT_NE(truth.kept.branch(id), nullptr) << "left over at the pageserver";
    for (const auto& [key, process] : truth.processes) EXPECT_NE(truth.kept.endpoint(key), nullptr);
    for (const EndpointKey& key : truth.left) EXPECT_NE(truth.kept.endpoint(key), nullptr);
  }

  sim::Simulation sim;
  Truth truth;

 private:
  Fleet fleet_ = model_fleet();
};

// Everything once, each step of which must succeed.
void whole_story(World&, User& user) {
  const auto well = [](const Status& status) { EXPECT_TRUE(status.ok()) << status.to_string(); };
  well(user.create_project("p"));
  well(user.create_branch("p", "early", "main").status());
  well(user.create_endpoint("p", "main"));
  well(user.start_endpoint("p", "main"));
  well(sleep_for(Duration::millis(200)));
  well(user.create_branch("p", "b", "main").status());
  well(user.create_branch("p", "c", "b").status());
  well(user.create_endpoint("p", "c"));
  well(user.start_endpoint("p", "c"));
  well(user.stop_endpoint("p", "main"));
  well(user.create_branch("p", "d", "main").status());
  well(user.stop_endpoint("p", "c"));
  well(user.delete_branch("p", "c"));
  well(user.delete_endpoint("p", "main"));
  well(user.create_endpoint("p", "main"));
  well(user.start_endpoint("p", "main"));
  well(user.create_branch("p", "c", "main").status());
  well(user.create_project("q"));
  well(user.delete_project("q"));
}

TEST(Control, TheWholeStory) {
  Fleets fleets(1);
  fleets.run(whole_story);
  EXPECT_GT(fleets.truth.elections, 0u);
  EXPECT_EQ(fleets.truth.kept.branches.size(), 5u);
  EXPECT_EQ(fleets.truth.clusters, 2u);
  EXPECT_EQ(fleets.truth.processes.size(), 1u);
}

// Control dies before each effect that it has on anybody and before each commit, once.
TEST(Control, ACrashAtEveryStep) {
  uint64_t points = 0;
  {
    Fleets fleets(2);
    fleets.run(whole_story);
    points = fleets.truth.points;
  }
  ASSERT_GT(points, 60u);
  uint64_t crashes = 0;
  for (uint64_t at = 1; at <= points; ++at) {
    SCOPED_TRACE("crash at point " + std::to_string(at));
    Fleets fleets(2 + at);
    fleets.truth.crash_at = at;
    fleets.run(whole_story);
    if (::testing::Test::HasFailure()) return;
    crashes += fleets.sim.lives(fleets.truth.control) - 1;
    EXPECT_EQ(fleets.truth.kept.branches.size(), 5u);
  }
  EXPECT_GE(crashes + 5, points);  // another seed may take a step less
}

TEST(Control, PositionsThatAUserNames) {
  Fleets fleets(3);
  fleets.run([&](World&, User& user) {
    ASSERT_TRUE(user.create_project("p").ok());
    ASSERT_TRUE(user.create_endpoint("p", "main").ok());
    ASSERT_TRUE(user.start_endpoint("p", "main").ok());
    ASSERT_TRUE(sleep_for(Duration::seconds(1)).ok());
    const auto first = user.create_branch("p", "first", "main", testing::kImportEnd + 80);
    ASSERT_TRUE(first.ok()) << first.status().to_string();
    EXPECT_EQ(Lsn(first->start_lsn()), testing::kImportEnd + 80);
    // Before the branch's beginning it is the parent's log.
    const auto older = user.create_branch("p", "older", "first", testing::kImportEnd + 40);
    ASSERT_TRUE(older.ok()) << older.status().to_string();
    const Project* project = fleets.truth.kept.project("p");
    EXPECT_EQ(
        older->parent(),
        fleets.truth.kept.branch(project->id, "main") == nullptr
            ? ""
            : std::string(
                  reinterpret_cast<const char*>(
                      fleets.truth.kept.branch(project->id, "main")->id.timeline.bytes.data()),
                  16));
    EXPECT_TRUE(
        user.create_branch("p", "far", "main", testing::kImportEnd + (8 << 20)).is(Code::kInvalid));
    EXPECT_TRUE(user.create_branch("p", "none", "main", Lsn(8)).is(Code::kBelowCutoff));
    EXPECT_TRUE(user.create_branch("p", "first", "main").is(Code::kExists));
    EXPECT_TRUE(user.create_branch("p", "x", "nobody").is(Code::kNotFound));
    EXPECT_TRUE(user.create_project("p").is(Code::kExists));
  });
}

// A compute that can't be reached while its branch is asked for: the quorum tells where its log
// ends.
TEST(Control, AQuorumSettlesWhatItsComputeCanNot) {
  Fleets fleets(4);
  fleets.run([&](World&, User& user) {
    ASSERT_TRUE(user.create_project("p").ok());
    ASSERT_TRUE(user.create_endpoint("p", "main").ok());
    ASSERT_TRUE(user.start_endpoint("p", "main").ok());
    ASSERT_TRUE(sleep_for(Duration::millis(500)).ok());
    fleets.sim.partition({fleets.truth.control}, {NodeId(6)});
    const auto branch = user.create_branch("p", "b", "main");
    EXPECT_TRUE(branch.ok()) << branch.status().to_string();
    EXPECT_EQ(fleets.truth.elections, 0u);
    fleets.sim.unpartition();
  });
}

// The machine of the computes begins a new life, and control has not noticed.
TEST(Control, WhatTheSupervisorForgotIsAskedForAgain) {
  Fleets fleets(5);
  fleets.run([&](World&, User& user) {
    ASSERT_TRUE(user.create_project("p").ok());
    ASSERT_TRUE(user.create_endpoint("p", "main").ok());
    ASSERT_TRUE(user.start_endpoint("p", "main").ok());
    fleets.sim.restart(NodeId(6), sim::Crash::kProcess, Duration::millis(100));
    ASSERT_TRUE(sleep_for(Duration::seconds(20)).ok());
    EXPECT_EQ(fleets.truth.processes.size(), 1u);
  });
}

// Users who want things at random, under drawn faults of everything but their own patience.
void wish_at_random(World& world, User& user, int wishes) {
  const auto draw = [&](uint64_t bound) { return world.random.below(bound, "wish"); };
  const auto name = [&](const char* prefix) { return prefix + std::to_string(draw(3)); };
  for (int i = 0; i < wishes; ++i) {
    const std::string project = name("p");
    const std::string branch = draw(2) == 0 ? "main" : name("b");
    switch (draw(13)) {
      case 0:
      case 1:
        user.create_project(project).ignore("it may be there");
        break;
      case 2:
        user.delete_project(project).ignore("it may be used");
        break;
      case 3:
      case 4:
      case 5:
        user.create_branch(project, name("b"), branch).status().ignore("it may be there");
        break;
      case 6:
        user.delete_branch(project, branch).ignore("it may be used");
        break;
      case 7:
        user.create_endpoint(project, branch).ignore("it may be there");
        break;
      case 8:
      case 9:
      case 10:
        user.start_endpoint(project, branch).ignore("it may not be there");
        break;
      case 11:
        user.delete_endpoint(project, branch).ignore("it may run");
        break;
      default:
        user.stop_endpoint(project, branch).ignore("it may not run");
        break;
    }
  }
}

TEST(Control, UsersUnderDrawnFaults) {
  uint64_t faults = 0;
  uint64_t versions = 0;
  // More of them by hand: VARVE_CONTROL_SEEDS=1000.
  const char* more = std::getenv("VARVE_CONTROL_SEEDS");
  const uint64_t seeds = more == nullptr ? 30 : std::strtoull(more, nullptr, 10);
  for (uint64_t seed = 100; seed < 100 + seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Fleets fleets(seed);
    fleets.truth.faulty_store = seed % 2 == 0;
    fleets.run(
        [](World& world, User& user) {
          Scope scope("users");
          for (int i = 0; i < 3; ++i) {
            scope.spawn("user", [&] { wish_at_random(world, user, 15); });
          }
          EXPECT_TRUE(scope.join().ok());
        },
        [&] {
          fleets.sim.unleash(sim::FaultPlan::draw(fleets.sim.fork("plan")));
          fleets.sim.at(Duration::seconds(90), [&] {
            fleets.truth.faulty_store = false;
            fleets.sim.heal();
          });
        });
    if (::testing::Test::HasFailure()) return;
    faults += fleets.sim.faults().total();
    versions += fleets.truth.kept.version;
  }
  EXPECT_GT(faults, 10 * seeds);
  EXPECT_GT(versions, 25 * seeds);
}

}  // namespace
}  // namespace varve::control
