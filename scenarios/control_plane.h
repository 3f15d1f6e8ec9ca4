// Those who decide what runs: control with its users, and the supervisor of a machine.
//
// Control stands among models of everything that it works with (control/testing/), because its
// crashes and lost answers are the point; three users want projects, branches and endpoints at
// random. The supervisor keeps model processes that die, lie and don't stop, asked as control asks,
// and dies with its machine. Afterwards all heals, and everybody must come to agree.
#pragma once

#include "sim/world.h"

namespace varve::scenarios {

// What a run reached, for tests that want to know that it was worth running.
struct ControlReport {
  uint64_t versions = 0;      // of control's state
  uint64_t lives = 0;         // of control
  uint64_t elections = 0;     // that settled where a branch begins
  uint64_t endpoints_up = 0;  // run at the end
};
ControlReport control(sim::Simulation& simulation);

struct SupervisorReport {
  uint64_t machine_deaths = 0;
  uint64_t process_lives = 0;
};
SupervisorReport supervisor(sim::Simulation& simulation);

}  // namespace varve::scenarios
