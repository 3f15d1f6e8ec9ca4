#include "sim/world.h"

#include <cstdio>
#include <limits>

#include "base/crc32c.h"
#include "sim/network.h"
#include "sim/node.h"
#include "sim/objects.h"

namespace varve::sim {

namespace {

// Turns of fibers of one life at one instant. A component that needs more than this without waiting
// for anything spins; time would never pass.
constexpr uint64_t kMostTurnsAtOnce = 1000000;

std::string field_text(const Field& field) {
  std::string text(field.name);
  text += '=';
  std::visit(
      [&](const auto& value) {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string>) {
          text += value;
        } else {
          text += std::to_string(value);
        }
      },
      field.value);
  return text;
}

}  // namespace

class LifeLog : public Log {
 public:
  LifeLog(Simulation& simulation, Life& life) : simulation_(simulation), life_(life) {}
  void write(Severity severity, std::string_view event, std::string_view message,
             std::vector<Field> fields) override {
    std::string text = std::string(event) + ": " + std::string(message);
    for (size_t i = 0; i < fields.size(); ++i)
      text += (i == 0 ? " (" : ", ") + field_text(fields[i]);
    if (!fields.empty()) text += ')';
    simulation_.log_line(life_, severity, std::move(text));
  }

 private:
  Simulation& simulation_;
  Life& life_;
};

Simulation::Simulation(uint64_t seed, SimulationOptions options)
    : options_(options),
      engine_(std::make_unique<Engine>(seed, options.trace_table)),
      fabric_(std::make_unique<Fabric>(*engine_)),
      objects_(std::make_unique<ObjectModelStore>(*engine_)) {
  // A life that ends itself (its disk could not sync) has a supervisor that starts the next one.
  engine_->end_life = [this](Life& life, bool power_cut) {
    end_life(life, true, power_cut);
    const NodeId id = life.node;
    engine_->after(engine_->plan.nemesis.restart_after, nullptr, [this, id] {
      if (node(id).life() == nullptr && node(id).crashed) begin_life(node(id));
    });
  };
}

Simulation::~Simulation() {
  for (const auto& node : nodes_) {
    Life* life = node->life();
    if (life == nullptr) continue;
    life->alive = false;
    life->scheduler->abandon();
  }
}

uint64_t Simulation::seed() const {
  return engine_->seed();
}
RandomStream Simulation::fork(std::string_view label) const {
  return RandomStream(engine_->seed(), "scenario").fork(label);
}

// --- Nodes ---

Simulation::Node& Simulation::node(NodeId id) const {
  VARVE_CHECK_MSG(id.value >= 1 && id.value <= nodes_.size(), "no such node");
  return *nodes_[id.value - 1];
}

NodeId Simulation::add_node(std::string name, std::function<void(World&)> main) {
  const NodeId id(nodes_.size() + 1);
  nodes_.push_back(std::make_unique<Node>(*engine_, id, std::move(name), std::move(main)));
  Node* added = nodes_.back().get();
  fabric_->add_node(id, added->name, [added] { return added->life(); });
  return id;
}

void Simulation::start(NodeId id) {
  begin_life(node(id));
}

void Simulation::start_all() {
  for (const auto& node : nodes_) {
    if (node->life() == nullptr) begin_life(*node);
  }
}

void Simulation::begin_life(Node& node) {
  VARVE_CHECK_MSG(node.life() == nullptr, "the node is up already");
  node.crashed = false;
  const uint64_t number = node.lives.size() + 1;
  const RandomStream clock_random(engine_->seed(),
                                  node.name + "/" + std::to_string(number) + "/clock");
  node.lives.push_back(std::make_unique<Life>(*engine_, node.id, node.name, number, clock_random));
  Life& life = *node.lives.back();
  life.faulted = number > 1;  // whoever starts anew may find what the end of the last life left
  life.clock.step_wall(node.wall_offset);
  if (node.drift != 0) life.clock.set_drift(node.drift);
  life.policy = make_policy(life);
  life.scheduler = std::make_unique<Scheduler>(life.clock, life.policy.get());
  life.random = make_random(life);
  life.network = fabric_->open_for(life);
  life.disk = node.disk.open_for(life);
  life.offload = make_offload(life);
  life.log = std::make_unique<LifeLog>(*this, life);
  life.objects = objects_->open_for(life);
  life.world.emplace(World{*life.scheduler, life.clock, *life.random, *life.network, *life.disk,
                           *life.offload, *life.log, life.metrics});
  engine_->record(&life, EventKind::kStart, number);
  life.scheduler->start("main", [&node, &life] { node.main(*life.world); });
}

void Simulation::stop(NodeId id) {
  if (Life* life = node(id).life()) life->scheduler->root_scope().cancel();
}

void Simulation::crash(NodeId id, Crash kind) {
  Life* life = node(id).life();
  if (life == nullptr) return;
  VARVE_CHECK_MSG(Scheduler::current_or_null() != life->scheduler.get(),
                  "a node can't crash itself; use at()");
  engine_->fault(kind == Crash::kPowerCut ? FaultKind::kPowerCut : FaultKind::kCrash, life);
  end_life(*life, true, kind == Crash::kPowerCut);
}

void Simulation::restart(NodeId id, Crash kind, Duration downtime) {
  crash(id, kind);
  engine_->after(downtime, nullptr, [this, id] {
    if (node(id).life() == nullptr) begin_life(node(id));
  });
}

void Simulation::end_life(Life& life, bool crashed, bool power_cut) {
  if (!life.alive) return;
  Node& ended = node(life.node);
  life.alive = false;
  ended.crashed = crashed;
  engine_->record(&life, crashed ? EventKind::kCrash : EventKind::kExit, power_cut);
  if (crashed) life.scheduler->abandon();
  fabric_->end_life(life, power_cut);
  if (power_cut) {
    ended.disk.power_cut(life);
  } else {
    ended.disk.process_crash(life);
  }
}

void Simulation::wipe_disk(NodeId id) {
  VARVE_CHECK_MSG(node(id).life() == nullptr, "the disk is in use");
  node(id).disk.image().replace();
}

void Simulation::protect(NodeId id) {
  node(id).is_protected = true;
}
void Simulation::keep_from_rot(NodeId id) {
  node(id).disk.keep_from_rot();
}
bool Simulation::up(NodeId id) const {
  return node(id).life() != nullptr;
}
uint64_t Simulation::lives(NodeId id) const {
  return node(id).lives.size();
}
size_t Simulation::nodes() const {
  return nodes_.size();
}
const std::string& Simulation::name_of(NodeId id) const {
  return node(id).name;
}

World& Simulation::world(NodeId id) {
  Life* life = node(id).life();
  VARVE_CHECK_MSG(life != nullptr, "the node is down");
  return *life->world;
}

ObjectStore& Simulation::object_store(World& world) {
  for (const auto& node : nodes_) {
    for (const auto& life : node->lives) {
      if (&*life->world == &world) return *life->objects;
    }
  }
  VARVE_UNREACHABLE("a world of another simulation");
}

DiskImage& Simulation::disk(NodeId id) {
  return node(id).disk.image();
}
const ObjectModelStore& Simulation::objects() const {
  return *objects_;
}

// --- Time ---

bool Simulation::run_life(Life& life) {
  if (life.turns_time != engine_->now()) {
    life.turns_time = engine_->now();
    life.turns_at_now = 0;
  }
  const uint64_t before = life.scheduler->statistics().switches;
  life.scheduler->run_ready(kMostTurnsAtOnce - life.turns_at_now);
  life.turns_at_now += life.scheduler->statistics().switches - before;
  if (life.alive && life.scheduler->has_ready()) {
    violation("livelock: fibers of node " + life.name + " run without waiting\n" +
              describe_waits());
    return false;
  }
  if (!life.alive) return true;
  if (life.scheduler->statistics().fibers_live == 0) {
    end_life(life, false, false);
  } else {
    arm_timer(life);
  }
  return true;
}

bool Simulation::run_fibers() {
  for (bool again = true; again;) {
    again = false;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      Life* life = nodes_[i]->life();
      if (life == nullptr || life->paused_until > engine_->now() || !life->scheduler->has_ready())
        continue;
      if (!run_life(*life)) return false;
      again = true;
    }
  }
  return !engine_->violation();
}

void Simulation::arm_timer(Life& life) {
  const int64_t due = life.clock.global_time_of(life.scheduler->next_timer());
  if (due == std::numeric_limits<int64_t>::max()) return;
  if (life.armed_for >= engine_->now() && life.armed_for <= due) return;
  life.armed_for = std::max(due, engine_->now());
  const int64_t armed_for = life.armed_for;
  engine_->after(Duration::nanos(armed_for - engine_->now()), &life, [this, &life, armed_for] {
    // One that an earlier look has overtaken: it would only arm a chain of its own, for ever.
    if (life.armed_for != armed_for) return;
    life.armed_for = -1;
    const uint64_t before = life.scheduler->statistics().timers_fired;
    life.scheduler->fire_timers(life.clock.now());
    const uint64_t fired = life.scheduler->statistics().timers_fired - before;
    if (fired != 0) engine_->record(&life, EventKind::kTimer, fired);
    arm_timer(life);
  });
}

bool Simulation::run_until(const std::function<bool()>& goal, Duration limit) {
  const int64_t end = (Instant{engine_->now()} + limit).nanoseconds;
  while (run_fibers()) {
    if (goal()) return true;
    if (engine_->step(end)) continue;
    if (engine_->violation()) break;
    const bool stuck = engine_->planned() == 0;
    violation((stuck ? "nothing is left to happen and the goal is not met\n"
                     : "the goal is not met in time\n") +
              describe_waits());
  }
  return false;
}

bool Simulation::run_for(Duration time) {
  const int64_t end = (Instant{engine_->now()} + time).nanoseconds;
  while (run_fibers()) {
    if (!engine_->step(end)) break;
  }
  return !engine_->violation();
}

Duration Simulation::elapsed() const {
  return Duration::nanos(engine_->now());
}
void Simulation::at(Duration delay, std::function<void()> action) {
  engine_->after(delay, nullptr, std::move(action));
}

// --- Verdict ---

void Simulation::violation(std::string reason) {
  engine_->violation(std::move(reason));
}
const std::optional<std::string>& Simulation::failure() const {
  return engine_->violation();
}
const FaultPlan& Simulation::plan() const {
  return engine_->plan;
}
const FaultCounts& Simulation::faults() const {
  return engine_->faults();
}
const Trace& Simulation::trace() const {
  return engine_->trace();
}
const std::vector<LogLine>& Simulation::log() const {
  return log_;
}

void Simulation::reached(std::string_view site) {
  if (!sites_.contains(site)) sites_.emplace(site);
}

void Simulation::mark(uint64_t detail, std::span<const uint8_t> content) {
  engine_->record(nullptr, EventKind::kMark, detail, content.size(), crc32c(content));
}

std::string Simulation::describe_waits() const {
  std::string text = "at " + std::to_string(engine_->now() / 1000000) + " ms";
  for (const auto& node : nodes_) {
    const Life* life = node->life();
    text += "\n" + node->name + (life == nullptr ? ": down" : "");
    if (life == nullptr) continue;
    if (life->paused_until > engine_->now()) text += " (paused)";
    for (const std::string& line : life->scheduler->describe_waits()) text += "\n  " + line;
  }
  return text;
}

void Simulation::log_line(Life& life, Severity severity, std::string text) {
  if (options_.print_log) {
    const auto micros = static_cast<long long>(engine_->now() / 1000);
    std::fprintf(stderr, "%3lld.%06lld %-12s %s %s\n", micros / 1000000, micros % 1000000,
                 life.name.c_str(), severity == Severity::kError ? "ERROR" : "     ", text.c_str());
  }
  if (severity == Severity::kError && !life.faulted) {
    violation("node " + life.name + " logged an error that no fault explains: " + text);
  }
  if (severity >= options_.keep_log)
    log_.push_back({engine_->now(), life.node, severity, std::move(text)});
}

}  // namespace varve::sim
