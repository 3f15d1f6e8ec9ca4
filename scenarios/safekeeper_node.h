// A safekeeper as a node of a scenario: the production registry and server, a control that tells it
// which timelines to hold, and a supervisor that starts its process again.
#pragma once

#include <functional>
#include <vector>

#include "consensus/client/connection.h"
#include "consensus/safekeeper/server.h"
#include "sim/world.h"

namespace varve::scenarios {

// What every node of a scenario shows and takes.
inline constexpr std::string_view kToken = "token";

// Which timelines a safekeeper must hold. Outlives the node.
class WantedTimelines {
 public:
  // Timelines that stay wanted; the order is that of their creation.
  std::vector<consensus::TimelineSpec> specs;
  // No further one will come. Until then a safekeeper asks now and then.
  bool complete = false;
};

// Adds the node of `self`, not started. All references must outlive the simulation's run.
NodeId add_safekeeper(sim::Simulation& simulation, const consensus::Member& self,
                      const consensus::SafekeeperOptions& options, const WantedTimelines& wanted);

}  // namespace varve::scenarios
