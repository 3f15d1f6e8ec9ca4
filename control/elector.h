// Settles the log of a branch that nobody writes to: without a writer, nobody will ever say where
// the quorum's log ends.
#pragma once

#include "base/lsn.h"
#include "control/fleet.h"
#include "control/plan/state.h"
#include "runtime/world.h"

namespace varve::control {

class Elector {
 public:
  virtual ~Elector() = default;
  // Wins an election for the timeline and commits what was in the log; the end of it. Whoever wrote
  // before is fenced. Suspends; bounded by the fiber's deadline.
  virtual Result<Lsn> elect(const Project& project, const TenantTimelineId& timeline) = 0;
};

}  // namespace varve::control
