#include "scenarios/registry.h"

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

}  // namespace

std::vector<sim::Scenario> all() {
  return {wal_service_scenario(), sim::testing::register_scenario("register")};
}

}  // namespace varve::scenarios
