// Three safekeepers, two computes that compete for one timeline, and every fault there is.
//
// Computes campaign, append records of all sizes, wait for the quorum, lose their term to one
// another or to a crash, and begin again. At some moment all safekeepers lose power at once. Then
// everything heals, and a last proposer must be able to win, to commit, and to read from each
// member the same log, in which every acknowledged record stands where it was acknowledged.
#pragma once

#include "sim/world.h"

namespace varve::scenarios {

// What a run reached, for tests that want to know that it was worth running.
struct WalServiceReport {
  size_t elections = 0;
  size_t acknowledged_records = 0;
  bool verified = false;  // each member's log was read and held every acknowledged record
};

WalServiceReport wal_service(sim::Simulation& simulation);

}  // namespace varve::scenarios
