#include "scenarios/registry.h"

#include "scenarios/wal_service.h"

namespace varve::scenarios {

std::vector<sim::Scenario> all() {
  return {
      {"wal_service", [](sim::Simulation& simulation) { (void)wal_service(simulation); }, {}},
  };
}

}  // namespace varve::scenarios
