// Everything a component may ask of the world, in one value. Exists twice: sim/ and real_io/.
// Handed down from main; there is no other way to reach a clock, a disk or a network.
#pragma once

#include "runtime/clock.h"
#include "runtime/disk.h"
#include "runtime/network.h"
#include "runtime/object_store.h"
#include "runtime/offload.h"
#include "runtime/random.h"
#include "runtime/scheduler.h"
#include "runtime/scope.h"
#include "runtime/telemetry.h"

namespace varve {

struct World {
  Scheduler& scheduler;
  Clock& clock;
  Random& random;
  Network& network;
  Disk& disk;
  Offload& offload;
  Log& log;
  Metrics& metrics;
};

}  // namespace varve
