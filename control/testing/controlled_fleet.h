// Control among models of everything that it works with, with users who ask; what is unfinished and
// what must hold when nothing is. Test support.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "control/testing/model_machine.h"
#include "control/testing/user.h"

namespace varve::control::testing {

inline Fleet model_fleet() {
  Fleet fleet;
  for (uint64_t i = 0; i < 3; ++i) {
    const Address address{kSafekeepers[i], kPort};
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

inline void control_main(World& world, Truth& truth, const Fleet& fleet) {
  const TokenSigner signer = testing::signer();
  const TokenVerifier verifier({signer.public_key()});
  ModelStore store(truth, world);
  ModelClusters clusters(truth);
  ModelElector elector(truth);
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
                                      .token = token(TokenScope::kNode),
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

// Must outlive the simulation's run, and so must what a story refers to when its run has failed.
class ControlledFleet {
 public:
  explicit ControlledFleet(sim::Simulation& simulation) : sim(simulation), truth(simulation) {
    truth.control = sim.add_node("control", [this](World& w) { control_main(w, truth, fleet_); });
    for (uint64_t i = 0; i < 3; ++i) {
      sim.add_node(kSafekeepers[i], [this, i](World& world) {
        run_safekeeper(world, truth, NodeId(11 + i), kSafekeepers[i]);
      });
    }
    sim.add_node("pageserver",
                 [this](World& world) { ModelPageserver(world, truth, NodeId(21)).run(); });
    sim.add_node("machine",
                 [this](World& world) { ModelSupervisor(world, truth, NodeId(1)).run(); });
  }

  // Runs `story` on a node of its own, to its end, then heals and waits until control has nothing
  // left to do. What was wrong, or nothing.
  std::string run(std::function<void(World&, User&)> story,
                  const std::function<void()>& meanwhile = {}) {
    const NodeId user = sim.add_node("user", [this, story = std::move(story)](World& world) {
      {
        Scope scope("user");
        User asking(world, truth, scope);
        story(world, asking);
      }
      told_ = true;
    });
    sim.protect(user);
    sim.start_all();
    if (meanwhile) meanwhile();
    if (!sim.run_until([this] { return told_; }, kPatience)) return *sim.failure();
    sim.heal();
    if (!sim.run_until([this] { return !unfinished().has_value(); }, kPatience)) {
      return *sim.failure() + "\nunfinished: " + unfinished().value_or("nothing");
    }
    if (sim.failure().has_value()) return *sim.failure();
    return leftover();
  }

  // Three users who want things at random. Everything goes wrong, the store included if
  // `faulty_store`, until `trouble` has passed.
  std::string run_under_faults(Duration trouble, bool faulty_store) {
    truth.faulty_store = faulty_store;
    return run(
        [](World& world, User& user) {
          Scope scope("users");
          for (int i = 0; i < 3; ++i) {
            scope.spawn("user", [&] { wish_at_random(world, user, 15); });
          }
          scope.join().ignore("they end in any case");
        },
        [this, trouble] {
          sim.unleash(sim::FaultPlan::draw(sim.fork("plan")));
          sim.at(trouble, [this] {
            truth.faulty_store = false;
            sim.heal();
          });
        });
  }

  // What control has left to do, for all who look from outside.
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

  // Who disagrees with control when it has nothing left to do, and what is left over; or nothing.
  std::string leftover() const {
    const std::string wrong = inconsistency(truth.kept);
    if (!wrong.empty()) return wrong;
    for (const auto& [id, branch] : truth.kept.branches) {
      const auto there = truth.pageserver.timelines.find(id);
      if (there == truth.pageserver.timelines.end() || there->second.start != branch.start)
        return "the pageserver knows another branch " + branch.name;
      for (const char* name : kSafekeepers) {
        const auto& timelines = truth.safekeepers.at(name).timelines;
        const auto kept = timelines.find(id);
        if (kept == timelines.end() || kept->second != there->second)
          return std::string(name) + " knows another branch " + branch.name;
      }
    }
    for (const auto& [name, safekeeper] : truth.safekeepers) {
      for (const auto& [id, timeline] : safekeeper.timelines) {
        if (truth.kept.branch(id) == nullptr) return "a timeline is left over on " + name;
      }
    }
    for (const auto& [id, timeline] : truth.pageserver.timelines) {
      if (truth.kept.branch(id) == nullptr) return "a timeline is left over at the pageserver";
    }
    for (const auto& [key, process] : truth.processes) {
      if (truth.kept.endpoint(key) == nullptr) return "a process of no endpoint runs";
    }
    for (const EndpointKey& key : truth.left) {
      if (truth.kept.endpoint(key) == nullptr) return "what a deleted endpoint has left is there";
    }
    return "";
  }

  sim::Simulation& sim;
  Truth truth;

 private:
  static constexpr Duration kPatience = Duration::seconds(900);

  Fleet fleet_ = model_fleet();
  bool told_ = false;
};

}  // namespace varve::control::testing
