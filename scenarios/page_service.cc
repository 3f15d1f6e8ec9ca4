#include "scenarios/page_service.h"

#include "scenarios/page_fleet.h"

namespace varve::scenarios {

PageServiceReport page_service(sim::Simulation& simulation) {
  PageFleet fleet(simulation);
  fleet.run();
  return {fleet.pages_compared(), fleet.moves(), fleet.images(), fleet.branched(),
          fleet.verified()};
}

}  // namespace varve::scenarios
