#include "scenarios/registry.h"

#include "scenarios/compute_start.h"
#include "scenarios/control_plane.h"
#include "scenarios/page_service.h"
#include "scenarios/wal_service.h"
#include "sim/testing/register.h"

namespace varve::scenarios {
namespace {

sim::Scenario wal_service_scenario() {
  return {"wal_service",
          [](sim::Simulation& simulation) {
            const WalServiceReport report = wal_service(simulation);
            if (report.elections > 3) simulation.reached("several elections");
            if (report.acknowledged_records > 0) simulation.reached("an acknowledged record");
            if (report.verified) simulation.reached("every member read back");
          },
          {"several elections", "an acknowledged record", "every member read back"}};
}

sim::Scenario page_service_scenario() {
  return {"page_service",
          [](sim::Simulation& simulation) {
            const PageServiceReport report = page_service(simulation);
            if (report.pages > 100) simulation.reached("a hundred pages");
            if (report.moves > 0) simulation.reached("a tenant that moved");
            if (report.images > 0) simulation.reached("image layers");
            if (report.branched) simulation.reached("a branch");
            if (report.verified) simulation.reached("all read back without local disks");
          },
          {"a hundred pages", "a tenant that moved", "image layers", "a branch",
           "all read back without local disks"}};
}

sim::Scenario control_scenario() {
  return {"control",
          [](sim::Simulation& simulation) {
            const ControlReport report = control(simulation);
            if (report.lives > 2) simulation.reached("control that died and died again");
            if (report.elections > 0) simulation.reached("an election that settled a branch");
            if (report.versions > 40) simulation.reached("forty changes of state");
            if (report.endpoints_up > 0) simulation.reached("an endpoint that runs at the end");
          },
          {"control that died and died again", "an election that settled a branch",
           "forty changes of state", "an endpoint that runs at the end"}};
}

sim::Scenario supervisor_scenario() {
  return {"supervisor",
          [](sim::Simulation& simulation) {
            const SupervisorReport report = supervisor(simulation);
            if (report.machine_deaths > 0) simulation.reached("a machine that died");
            if (report.process_lives > 50) simulation.reached("fifty lives of processes");
          },
          {"a machine that died", "fifty lives of processes"}};
}

}  // namespace

std::vector<sim::Scenario> all() {
  return {wal_service_scenario(),
          page_service_scenario(),
          {"start_race", start_race, {}},
          {"zombie", zombie, {}},
          {"record_boundaries", record_boundaries, {}},
          control_scenario(),
          supervisor_scenario(),
          sim::testing::register_scenario("register")};
}

}  // namespace varve::scenarios
