// How a compute starts, and what may happen to it meanwhile: real agents over real proposers and
// safekeepers, a model Postgres, and a naive storage that judges the log while it reads it
// (tests/compute/fleet.h, storage_model.h).
//
// Three scenarios share the fleet. In a start race a compute dies with a tail that no quorum holds
// and its successor dies in one of its steps. A zombie freezes in one of its steps, wakes up when
// another has taken over, and must not be believed. And a compute must be able to start at every
// record boundary of a log.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "tests/compute/fleet.h"

namespace varve::scenarios {

// Phases of a start, in order, as the log names them.
inline constexpr std::array<std::string_view, 6> kStartSteps = {
    "electing", "committing the start", "base backup", "forging", "starting", "running"};

struct Race {
  size_t tail_members = 1;  // who holds what the old compute wrote last
  size_t step = 0;          // of kStartSteps: in which the new compute dies
  compute::AgentFaults faults = {};
};
// What went wrong, or nothing. `fleet` is fresh.
std::string run_race(test::Fleet& fleet, const Race& race);

struct Haunting {
  bool reelects = false;
  size_t step = 0;  // in which the first compute freezes
  compute::AgentFaults faults = {};
};
// What went wrong, or nothing. `fleet` is fresh.
std::string run_haunting(test::Fleet& fleet, const Haunting& haunting);

// The seat works, stops cleanly, storage catches up, and nothing was lost on the way. What was
// wrong, or nothing.
std::string settle_down(test::Fleet& fleet, test::Seat& seat, uint64_t more_acks);

// One compute begins at `at` of the log that `storage` holds up to there, commits a little and
// stops; storage judges what it wrote. Suspends.
Status start_at(World& world, sim::Simulation& sim, test::StorageModel storage, Lsn at);

// The scenarios of the default mix, with what a seed draws.
void start_race(sim::Simulation& simulation);
void zombie(sim::Simulation& simulation);
void record_boundaries(sim::Simulation& simulation);

}  // namespace varve::scenarios
