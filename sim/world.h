// The seeded world: nodes that run real components on one thread, in simulated time, under a plan
// of faults.
//
//   Simulation sim(seed);
//   const NodeId server = sim.add_node("server", [](World& world) { serve(world); });
//   const NodeId client = sim.add_node("client", [&](World& world) { done = ask(world); });
//   sim.protect(client);                                 // never crashed
//   sim.unleash(FaultPlan::draw(sim.fork("plan")));
//   sim.run_for(Duration::seconds(20));
//   sim.heal();
//   sim.run_until([&] { return done; }, Duration::seconds(60));
//   // sim.failure() says what was wrong, if anything.
//
// All functions are called from outside of fibers, on the one thread, unless they say otherwise.
// Node mains and everything below them are fibers, and talk to the world through World only; what a
// scenario and its nodes share besides (oracles, counters) must not hold fibers.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/object_store.h"
#include "runtime/world.h"
#include "sim/faults.h"
#include "sim/trace.h"

namespace varve::sim {

class DiskImage;
class Engine;
class Fabric;
class ObjectModelStore;
struct Life;

enum class Crash : uint8_t {
  kProcess,   // kill -9: the kernel keeps what was written and closes the sockets
  kPowerCut,  // unsynced sectors and names are lost or torn by draw, peers hear nothing
};

// One line that a node logged.
struct LogLine {
  int64_t time;  // global ns
  NodeId node;
  Severity severity;
  std::string text;  // "event: message (field=value, ...)"
};

struct SimulationOptions {
  std::span<TraceEvent> trace_table;  // where events are kept, besides being hashed; may be empty
  bool print_log = false;             // log lines to stderr as they come, for a replay
  Severity keep_log = Severity::kInfo;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed, SimulationOptions options = {});
  // Abandons what still runs.
  ~Simulation();
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  uint64_t seed() const;
  // A stream of choices for the scenario itself, independent of all others.
  RandomStream fork(std::string_view label) const;

  // --- Nodes ---

  // A machine called `name` (also its host name), with an empty disk. `main` is the first fiber of
  // each of its lives; a life ends when main has returned and no other fiber is left. Not started
  // yet. Ids count from 1.
  NodeId add_node(std::string name, std::function<void(World&)> main);
  // Begins a life. Invariant: the node is down.
  void start(NodeId node);
  void start_all();
  // Cancels the root scope of the running life, which then ends by itself.
  void stop(NodeId node);
  // Ends the life at once: stacks are abandoned, no destructor runs. May be called from a fiber of
  // another node. No effect if the node is down.
  void crash(NodeId node, Crash kind);
  // Crash, then start after `downtime`.
  void restart(NodeId node, Crash kind, Duration downtime);
  // An empty disk in its place. Invariant: the node is down.
  void wipe_disk(NodeId node);
  // The nemesis leaves this node's process, clocks and disk alone (its connections break as others
  // do).
  void protect(NodeId node);
  // Bit rot spares this node's disk: what it keeps has no other copy that it could read instead.
  void keep_from_rot(NodeId node);
  bool up(NodeId node) const;
  // Lives begun so far.
  uint64_t lives(NodeId node) const;
  size_t nodes() const;
  const std::string& name_of(NodeId node) const;
  // Of the running life. Invariant: the node is up.
  World& world(NodeId node);
  // The shared object store, seen from the life that `world` belongs to. From fibers, too.
  ObjectStore& object_store(World& world);

  // --- Time ---

  // Runs until `goal` holds (asked after each event), at most `limit` of simulated time. False if
  // it doesn't come to hold; then the failure says who waits for what. False at once when the run
  // has already failed.
  bool run_until(const std::function<bool()>& goal, Duration limit);
  // Runs for that long. False when the run has failed.
  bool run_for(Duration time);
  // Global time since the start.
  Duration elapsed() const;
  // Calls `action` after `delay`; from fibers, too. It must not suspend.
  void at(Duration delay, std::function<void()> action);

  // --- Faults ---

  // From now on things go wrong as `plan` says.
  void unleash(const FaultPlan& plan);
  // From now on nothing goes wrong: links open, disks have room, paused nodes go on, crashed ones
  // are started. What was lost stays lost. Tiny windows and short reads go, too.
  void heal();
  const FaultPlan& plan() const;
  const FaultCounts& faults() const;
  // By hand, for scripted scenarios.
  void partition(const std::vector<NodeId>& one, const std::vector<NodeId>& other,
                 bool one_way = false);
  void unpartition();
  void pause(NodeId node, Duration time);
  // What a node's disk holds, for oracles and planted damage.
  DiskImage& disk(NodeId node);
  const ObjectModelStore& objects() const;

  // --- Verdict ---

  // The run has failed: an oracle was contradicted. The first reason counts. From fibers, too.
  void violation(std::string reason);
  const std::optional<std::string>& failure() const;
  // The run came by a place that runs should come by now and then ("leader lost its quorum"). From
  // fibers, too.
  void reached(std::string_view site);
  bool was_reached(std::string_view site) const { return sites_.contains(site); }
  // A step of the scenario that both executions of a pair must agree on. From fibers, too.
  void mark(uint64_t detail, std::span<const uint8_t> content = {});
  const Trace& trace() const;
  const std::vector<LogLine>& log() const;
  // "node: fiber: waits for x (scope y)" for all that wait, and where time stands.
  std::string describe_waits() const;

 private:
  struct Node;
  struct Nemesis;
  Node& node(NodeId id) const;
  void begin_life(Node& node);
  void end_life(Life& life, bool crashed, bool power_cut);
  bool run_fibers();
  bool run_life(Life& life);
  void arm_timer(Life& life);
  void plan_next(Duration mean, const char* label, std::function<void()> strike);
  void start_nemesis();
  void strike_crash();
  void strike_down(Node& node, bool power_cut, Duration downtime);
  void strike_partition(bool stall);
  void strike_pause();
  void strike_clock();
  void strike_disk(bool hang);

  Node* victim(RandomStream& random, bool any_up);
  void log_line(Life& life, Severity severity, std::string text);

  friend class LifeLog;
  SimulationOptions options_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Fabric> fabric_;
  std::unique_ptr<ObjectModelStore> objects_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<LogLine> log_;
  std::set<std::string, std::less<>> sites_;
  uint64_t nemesis_epoch_ = 0;
  uint32_t down_by_nemesis_ = 0;
};

}  // namespace varve::sim
