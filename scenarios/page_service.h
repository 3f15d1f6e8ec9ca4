// Two pageservers between three safekeepers and an object store, under every fault there is.
//
// Computes push the logs of a root and of a branch through the quorum; pageservers ingest, flush,
// compact and put layers and indexes into a store that fails, throttles, forgets to answer and
// applies what was sent long ago, also after the sender's death. Their local disks rot, are lost
// and wiped; the tenant moves between them, and the one that lost it goes on under its old
// generation. All the while readers ask for pages as of now, of the past and ahead of ingest, and
// each answer is compared with a naive cluster. At the end everything heals, all is read again,
// then again after both local disks are gone: what the object store and the log hold is enough.
#pragma once

#include "sim/world.h"

namespace varve::scenarios {

// What a run reached, for tests that want to know that it was worth running.
struct PageServiceReport {
  uint64_t pages = 0;   // compared and equal
  uint64_t moves = 0;   // of the tenant between pageservers
  uint64_t images = 0;  // image layers above the import
  bool branched = false;
  bool verified = false;
};

PageServiceReport page_service(sim::Simulation& simulation);

}  // namespace varve::scenarios
