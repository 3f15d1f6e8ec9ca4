// What strikes between operations, and how the world is healed.
#include "sim/network.h"
#include "sim/node.h"

namespace varve::sim {

void Simulation::unleash(const FaultPlan& plan) {
  engine_->plan = plan;
  fabric_->model_changed();
  ++nemesis_epoch_;
  start_nemesis();
}

// Plans the next strike and, after it, one more, until the plan changes.
void Simulation::plan_next(Duration mean, const char* label, std::function<void()> strike) {
  if (mean.nanoseconds <= 0) return;
  const Duration wait = engine_->around(mean, engine_->random(label));
  engine_->after(wait, nullptr,
                 [this, mean, label, strike = std::move(strike), epoch = nemesis_epoch_] {
                   if (epoch != nemesis_epoch_) return;
                   strike();
                   plan_next(mean, label, strike);
                 });
}

void Simulation::start_nemesis() {
  const NemesisPlan& nemesis = engine_->plan.nemesis;
  plan_next(nemesis.crash_every, "nemesis/crash", [this] { strike_crash(); });
  plan_next(nemesis.partition_every, "nemesis/partition", [this] { strike_partition(false); });
  plan_next(nemesis.stall_every, "nemesis/stall", [this] { strike_partition(true); });
  plan_next(nemesis.pause_every, "nemesis/pause", [this] { strike_pause(); });
  plan_next(nemesis.clock_every, "nemesis/clock", [this] { strike_clock(); });
  plan_next(nemesis.disk_full_every, "nemesis/full", [this] { strike_disk(false); });
  plan_next(nemesis.disk_hang_every, "nemesis/hang", [this] { strike_disk(true); });
  plan_next(nemesis.break_every, "nemesis/break",
            [this] { fabric_->break_one(engine_->random("nemesis/break")); });
}

// A node that may be struck and is up; null when the drawn one may not.
Simulation::Node* Simulation::victim(RandomStream& random, bool any) {
  if (nodes_.empty()) return nullptr;
  Node* node = nodes_[random.below(nodes_.size())].get();
  return (any || !node->is_protected) && node->life() != nullptr ? node : nullptr;
}

void Simulation::strike_crash() {
  RandomStream& random = engine_->random("nemesis/crash");
  const NemesisPlan& nemesis = engine_->plan.nemesis;
  Node* node = victim(random, false);
  if (node == nullptr || down_by_nemesis_ >= nemesis.most_crashed) return;
  const bool power_cut = random.chance(nemesis.power_cut_share);
  const Duration downtime = engine_->around(nemesis.restart_after, random);
  if (random.chance(300000)) {
    strike_down(*node, power_cut, downtime);
    return;
  }
  // Rather while something is written, or a little later, when it may not be synced yet.
  const uint64_t twice = random.below(2) + 1;
  node->disk.at_next_change(
      [this, node, power_cut, downtime, twice, epoch = nemesis_epoch_](Duration takes) {
        const uint64_t most = twice * static_cast<uint64_t>(takes.nanoseconds);
        const Duration wait =
            Duration::nanos(static_cast<int64_t>(engine_->random("nemesis/crash").below(most + 1)));
        engine_->after(wait, node->life(), [this, node, power_cut, downtime, epoch] {
          const bool too_many = down_by_nemesis_ >= engine_->plan.nemesis.most_crashed;
          if (epoch == nemesis_epoch_ && !too_many) strike_down(*node, power_cut, downtime);
        });
      });
}

void Simulation::strike_down(Node& node, bool power_cut, Duration downtime) {
  node.down_by_nemesis = true;
  ++down_by_nemesis_;
  crash(node.id, power_cut ? Crash::kPowerCut : Crash::kProcess);
  engine_->after(downtime, nullptr, [this, &node] {
    if (!node.down_by_nemesis) return;
    node.down_by_nemesis = false;
    --down_by_nemesis_;
    if (node.life() == nullptr) begin_life(node);
  });
}

void Simulation::strike_partition(bool stall) {
  RandomStream& random = engine_->random(stall ? "nemesis/stall" : "nemesis/partition");
  const NemesisPlan& nemesis = engine_->plan.nemesis;
  if (nodes_.size() < 2) return;
  std::vector<std::pair<NodeId, NodeId>> links;
  FaultKind kind = FaultKind::kStall;
  if (stall) {
    const uint64_t from = random.below(nodes_.size());
    const uint64_t step = random.between(1, nodes_.size() - 1);
    links.emplace_back(nodes_[from]->id, nodes_[(from + step) % nodes_.size()]->id);
  } else {
    const bool one_way = random.chance(nemesis.one_way_share);
    kind = one_way ? FaultKind::kOneWayPartition : FaultKind::kPartition;
    std::vector<bool> side(nodes_.size());
    for (size_t i = 0; i < side.size(); ++i) side[i] = random.chance(500000);
    for (size_t i = 0; i < side.size(); ++i) {
      for (size_t j = 0; j < side.size(); ++j) {
        if (side[i] == side[j] || (one_way && !side[i])) continue;
        links.emplace_back(nodes_[i]->id, nodes_[j]->id);
      }
    }
  }
  const auto counted = std::make_shared<bool>(false);
  for (const auto& [from, to] : links) fabric_->block(from, to, kind, counted);
  engine_->after(engine_->around(nemesis.partition_length, random), nullptr,
                 [this, links, epoch = nemesis_epoch_] {
                   if (epoch != nemesis_epoch_) return;
                   for (const auto& [from, to] : links) fabric_->unblock(from, to);
                 });
}

void Simulation::strike_pause() {
  RandomStream& random = engine_->random("nemesis/pause");
  Node* node = victim(random, false);
  if (node != nullptr) pause(node->id, engine_->around(engine_->plan.nemesis.pause_length, random));
}

void Simulation::strike_clock() {
  RandomStream& random = engine_->random("nemesis/clock");
  Node* node = victim(random, false);
  if (node == nullptr) return;
  NodeClock& clock = node->life()->clock;
  switch (random.below(3)) {
    case 0: {
      const auto by = static_cast<int64_t>(random.below(20000000)) - 10000000;
      node->wall_offset = node->wall_offset + Duration::micros(by);
      clock.step_wall(Duration::micros(by));
      engine_->fault(FaultKind::kClockStep, node->life());
      return;
    }
    case 1:
      clock.freeze_wall();
      engine_->fault(FaultKind::kClockFreeze, node->life());
      engine_->after(Duration::seconds(1), node->life(),
                     [life = node->life()] { life->clock.thaw_wall(); });
      return;
    default:
      // What crystals do at worst is 200 ppm; a virtual machine's correction reaches about this.
      node->drift = static_cast<int64_t>(random.below(1001)) - 500;
      clock.set_drift(node->drift);
      node->life()->armed_for = -1;  // its timers are due at other times now
      arm_timer(*node->life());
      engine_->fault(FaultKind::kClockDrift, node->life());
      return;
  }
}

void Simulation::strike_disk(bool hang) {
  RandomStream& random = engine_->random(hang ? "nemesis/hang" : "nemesis/full");
  Node* node = victim(random, false);
  if (node == nullptr) return;
  const int64_t until = engine_->now() + engine_->around(Duration::millis(700), random).nanoseconds;
  if (hang) {
    node->disk.hang_until(until);
  } else {
    node->disk.fill_until(until);
  }
}

void Simulation::pause(NodeId id, Duration time) {
  Life* life = node(id).life();
  if (life == nullptr) return;
  engine_->fault(FaultKind::kPause, life);
  engine_->record(life, EventKind::kPause, static_cast<uint64_t>(time.nanoseconds));
  life->paused_until = engine_->now() + time.nanoseconds;
  // Makes sure that something happens at its end, so that its ready fibers run.
  engine_->after(time, life, [] {});
}

void Simulation::partition(const std::vector<NodeId>& one, const std::vector<NodeId>& other,
                           bool one_way) {
  const FaultKind kind = one_way ? FaultKind::kOneWayPartition : FaultKind::kPartition;
  const auto counted = std::make_shared<bool>(false);
  for (const NodeId a : one) {
    for (const NodeId b : other) {
      fabric_->block(a, b, kind, counted);
      if (!one_way) fabric_->block(b, a, kind, counted);
    }
  }
}

void Simulation::unpartition() {
  fabric_->unblock_all();
}

void Simulation::heal() {
  engine_->plan = FaultPlan::clean();
  ++nemesis_epoch_;
  down_by_nemesis_ = 0;
  fabric_->unblock_all();
  fabric_->model_changed();
  for (const auto& node : nodes_) {
    node->disk.heal();
    node->down_by_nemesis = false;
    if (Life* life = node->life()) {
      life->clock.thaw_wall();
      if (life->paused_until > engine_->now()) {
        life->paused_until = engine_->now();
        engine_->after(Duration{}, life, [] {});
      }
    } else if (node->crashed) {
      begin_life(*node);
    }
  }
}

}  // namespace varve::sim
