// A machine of the simulation. Internal to sim/.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/disk.h"
#include "sim/life.h"
#include "sim/world.h"

namespace varve::sim {

struct Simulation::Node {
  NodeId id;
  std::string name;
  std::function<void(World&)> main;
  NodeDisk disk;
  std::vector<std::unique_ptr<Life>> lives;  // all of them: what abandoned fibers hold points here
  bool is_protected = false;
  bool down_by_nemesis = false;
  bool crashed = false;  // the last life didn't end by itself
  Duration wall_offset;
  int64_t drift = 0;

  Node(Engine& engine, NodeId n, std::string node_name, std::function<void(World&)> node_main)
      : id(n), name(std::move(node_name)), main(std::move(node_main)), disk(engine, n, name) {}
  // The running life, or null.
  Life* life() const {
    return lives.empty() || !lives.back()->alive ? nullptr : lives.back().get();
  }
};

// The parts of a life that need no model of their own.
std::unique_ptr<SchedulePolicy> make_policy(Life& life);
std::unique_ptr<Random> make_random(Life& life);
std::unique_ptr<Offload> make_offload(Life& life);

}  // namespace varve::sim
