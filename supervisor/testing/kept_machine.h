// The supervisor over model processes, asked over RPC as control asks, while processes and
// connections fail; what must hold at the end. Test support.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "proto/host.pb.h"
#include "supervisor/client/methods.h"
#include "supervisor/service.h"
#include "supervisor/testing/model_processes.h"
#include "wire/rpc_client.h"
#include "wire/rpc_proto.h"

namespace varve::supervisor::testing {

inline constexpr TenantId kTenant{{1, 2, 3}};
inline constexpr TimelineId kTimeline{{4, 5, 6}};
inline const Address kPort{"host", 6000};

inline ProcessSpec daemon(const std::string& name, uint64_t node) {
  ProcessSpec spec;
  spec.name = name;
  spec.arguments = {"/model/varve", "daemon", "--node", std::to_string(node)};
  spec.node = NodeId(node);
  spec.address = Address{name, 7000};
  spec.addresses = {spec.address};
  spec.stop_limit = Duration::seconds(10);
  return spec;
}

inline std::string compute_name(const std::string& endpoint) {
  return "compute-" + kTenant.to_string() + "-" + endpoint;
}

inline void add_daemons(Supervisor& supervisor) {
  supervisor.add(daemon("control", 2), 0);
  for (uint64_t i = 1; i <= 3; ++i) {
    supervisor.add(daemon("safekeeper-" + std::to_string(i), 10 + i), 1);
  }
  supervisor.add(daemon("pageserver-1", 21), 2);
}

// What control wants of one endpoint.
struct Wish {
  uint64_t start = 0;  // the newest
  bool wanted = false;
  bool granted = false;  // said again, and answered, when the world was well
};

// A machine whose processes a supervisor on node "host" keeps.
class KeptMachine {
 public:
  explicit KeptMachine(sim::Simulation& simulation) : sim(simulation), machine(simulation) {}

  ProcessContext context(World& world, ProcessHost& processes) {
    return {world,
            processes,
            options,
            model_token(TokenScope::kNode),
            NodeId(1),
            [this](const ProcessEvent& event) {
              events.push_back({event.kind, event.process.name});
            }};
  }

  sim::Simulation& sim;
  ModelMachine machine;
  SupervisorOptions options;
  std::vector<std::pair<ProcessEvent::Kind, std::string>> events;
  bool well = false;  // nothing goes wrong any more
};

// Starts and stops endpoints over RPC, as control does: one request after the other for each
// endpoint, repeated until it is answered, so that late and doubled ones reach the supervisor, too.
class Asker {
 public:
  Asker(KeptMachine& kept, World& world) : kept_(kept), world_(world) {}

  // Wishes at random, then says once more what it wished last when the world is well: a supervisor
  // that died has forgotten it.
  void run(const std::string& endpoint, int requests, Wish& wish) {
    Scope scope("asker");
    RpcClient client(world_.network, world_.random, scope, kPort, model_token(TokenScope::kNode),
                     RpcIdentity{NodeId(2), {}, "control"});
    for (int i = 0; i < requests; ++i) {
      const bool stop = world_.random.below(3, "request") == 0 && wish.start > 0;
      if (!stop) ++wish.start;
      if (!ask(client, endpoint, wish.start, stop)) return;
      wish.wanted = !stop;
      if (stop && kept_.machine.alive(compute_name(endpoint))) {
        kept_.sim.violation("a stopped compute lives");
      }
      if (!sleep_for(Duration::millis(static_cast<int64_t>(world_.random.below(400, "pause"))))
               .ok()) {
        return;
      }
    }
    while (!kept_.well) {
      if (!sleep_for(Duration::millis(100)).ok()) return;
    }
    wish.granted = wish.start == 0 || ask(client, endpoint, wish.start, !wish.wanted);
  }

 private:
  bool ask(RpcClient& client, const std::string& endpoint, uint64_t start, bool stop) {
    const std::string tenant(kTenant.bytes.begin(), kTenant.bytes.end());
    if (stop) {
      proto::StopComputeRequest request;
      request.set_tenant(tenant);
      request.set_endpoint(endpoint);
      request.set_start(start);
      request.set_immediately(world_.random.below(2, "immediately") == 0);
      return until_answered<proto::StopComputeResponse>(client, kStopCompute, request);
    }
    proto::StartComputeRequest request;
    request.set_tenant(tenant);
    request.set_timeline(std::string(kTimeline.bytes.begin(), kTimeline.bytes.end()));
    request.set_endpoint(endpoint);
    request.set_start(start);
    request.set_token("t");
    return until_answered<proto::StartComputeResponse>(client, kStartCompute, request);
  }

  template <class Response, class Request>
  bool until_answered(RpcClient& client, const RpcMethod& method, const Request& request) {
    while (true) {
      Result<Response> response = Status(Code::kInternal, "not asked");
      {
        const DeadlineGuard deadline(Duration::seconds(3));
        response = call<Response>(client, method, request);
      }
      if (response.ok()) return true;
      // The other end may have forgotten the connection without a word.
      if (response.is(Code::kDeadlineExceeded)) client.disconnect();
      if (response.is(Code::kStale)) {
        kept_.sim.violation("the newest start is stale: " + response.status().to_string());
      }
      if (!sleep_for(Duration::millis(20)).ok()) return false;
    }
  }

  KeptMachine& kept_;
  World& world_;
};

// The supervisor as a daemon that may die: its processes die with it, and it begins anew.
inline void run_supervisor(KeptMachine& kept, World& world) {
  const std::unique_ptr<ProcessHost> processes = kept.machine.open(world);
  kept.machine.kill_all();
  Supervisor supervisor(kept.context(world, *processes), {{"/model/varve", "compute"}, {}});
  add_daemons(supervisor);
  Budget memory("supervisor", 16 << 20);
  RpcServer server(world.clock, world.log, world.metrics, RpcIdentity{NodeId(1), {}, "supervisor"},
                   model_verifier(), memory);
  add_methods(server, supervisor);
  while (check_cancelled().ok()) {
    Result<std::unique_ptr<Listener>> listener = world.network.listen(kPort);
    if (listener.ok()) server.serve(**listener).ignore("a fault, or the end");
    if (!sleep_for(Duration::millis(100)).ok()) break;
  }
  const Shield orderly;
  supervisor.kill();
  supervisor.stop().ignore("all are killed");
}

// What can't be in any history of processes; or nothing.
inline std::string wrong_lives(const ModelMachine& machine) {
  std::map<std::string, Duration> ends;
  std::set<uint64_t> incarnations;
  for (const ModelLife& life : machine.lives()) {
    const auto before = ends.find(life.name);
    if (before != ends.end() && before->second > life.begun)
      return "two lives of " + life.name + " at once";
    ends[life.name] = life.ended;
    if (!incarnations.insert(life.incarnation).second)
      return "an incarnation that was there before";
  }
  return "";
}

// One run: two endpoints are started and stopped while processes, the supervisor and connections
// fail; then all heals, and what is wanted runs. It must outlive the simulation's run.
class SupervisedRun {
 public:
  explicit SupervisedRun(sim::Simulation& simulation)
      : kept(simulation), sim_(simulation), random_(simulation.fork("limits")) {
    draw_limits();
    host_ = sim_.add_node("host", [this](World& world) { run_supervisor(kept, world); });
    asker_ = sim_.add_node("asker", [this](World& world) {
      Scope scope("askers");
      for (auto& [endpoint, wish] : wishes_) {
        scope.spawn("asker", [&] { Asker(kept, world).run(endpoint, 25, wish); });
      }
      scope.join().ignore("their wishes tell");
    });
  }

  // What was wrong, or nothing.
  std::string run() {
    sim_.protect(host_);  // the machine dies as a whole, or not at all: see strike()
    sim_.protect(asker_);
    sim_.start(host_);
    sim_.start(asker_);
    sim::FaultPlan plan = sim::FaultPlan::draw(sim_.fork("faults"));
    plan.nemesis.crash_every = Duration();
    sim_.unleash(plan);
    strike();
    const auto trouble = Duration::millis(static_cast<int64_t>(random_.between(5000, 30000)));
    if (!sim_.run_for(trouble)) return *sim_.failure();
    kept.well = true;
    sim_.heal();
    const auto granted = [this] {
      return std::ranges::all_of(wishes_, [](const auto& w) { return w.second.granted; });
    };
    if (!sim_.run_until(granted, Duration::seconds(600))) return *sim_.failure();
    if (!sim_.run_for(Duration::seconds(10))) return *sim_.failure();
    return judge();
  }

  uint64_t deaths() const { return sim_.lives(host_) - 1; }  // of the machine

  KeptMachine kept;

 private:
  void draw_limits() {
    SupervisorOptions& options = kept.options;
    draw_options(options, random_);
    options.pause_maximum = std::min(options.pause_maximum, Duration::seconds(3));
    options.pause_first = std::min(options.pause_first, options.pause_maximum);
    options.compute_stop_limit = std::min(options.compute_stop_limit, Duration::seconds(5));
    for (const auto& [endpoint, wish] : wishes_) {
      Behaviour& behaviour = kept.machine.behaviour(compute_name(endpoint));
      behaviour.stop_takes = Duration::millis(static_cast<int64_t>(random_.below(500)));
      behaviour.ignores_stop = random_.chance(200000);
    }
    machine_dies_ = random_.chance(500000);
  }

  // Processes die at any time, and now and then the supervisor, and all of them with it.
  void strike() {
    if (kept.well) return;
    static const char* const kVictims[] = {"control", "safekeeper-2", "pageserver-1"};
    const uint64_t which = random_.below(5);
    if (machine_dies_ && random_.below(20) == 0 && sim_.up(host_)) {
      kept.machine.kill_all();
      sim_.restart(host_, sim::Crash::kProcess,
                   Duration::millis(static_cast<int64_t>(1 + random_.below(2000))));
    } else {
      kept.machine.kill(which < 3 ? kVictims[which] : compute_name(which == 3 ? "a" : "b"));
    }
    sim_.at(Duration::millis(static_cast<int64_t>(1 + random_.below(700))), [this] { strike(); });
  }

  std::string judge() const {
    std::string wrong = wrong_lives(kept.machine);
    if (!wrong.empty()) return wrong;
    for (const auto& [endpoint, wish] : wishes_) {
      if (kept.machine.alive(compute_name(endpoint)) != wish.wanted)
        return "endpoint " + endpoint + (wish.wanted ? " doesn't run" : " runs");
    }
    for (const char* name : {"control", "safekeeper-1", "pageserver-1"}) {
      if (!kept.machine.alive(name)) return std::string(name) + " doesn't run";
    }
    return "";
  }

  sim::Simulation& sim_;
  RandomStream random_;
  NodeId host_;
  NodeId asker_;
  std::map<std::string, Wish> wishes_{{"a", {}}, {"b", {}}};
  bool machine_dies_ = false;
};

}  // namespace varve::supervisor::testing
