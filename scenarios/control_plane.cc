#include "scenarios/control_plane.h"

#include <string>

#include "control/testing/controlled_fleet.h"
#include "supervisor/testing/kept_machine.h"

namespace varve::scenarios {
namespace {

void report(sim::Simulation& simulation, const std::string& wrong) {
  if (!wrong.empty() && !simulation.failure()) simulation.violation(wrong);
}

}  // namespace

// What a run stands on stays after it, in both: a failed run leaves fibers that refer to it.

ControlReport control(sim::Simulation& simulation) {
  RandomStream draw = simulation.fork("control");
  auto& fleet = *new control::testing::ControlledFleet(simulation);
  const auto trouble = Duration::millis(static_cast<int64_t>(draw.between(5000, 90000)));
  report(simulation, fleet.run_under_faults(trouble, draw.chance(500000)));
  const control::testing::Truth& truth = fleet.truth;
  return {truth.kept.version, simulation.lives(truth.control), truth.elections,
          truth.processes.size()};
}

SupervisorReport supervisor(sim::Simulation& simulation) {
  auto& run = *new supervisor::testing::SupervisedRun(simulation);
  report(simulation, run.run());
  return {run.deaths(), run.kept.machine.lives().size()};
}

}  // namespace varve::scenarios
