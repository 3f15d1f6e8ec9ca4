#include "scenarios/tapes/tapes.h"

namespace varve::scenarios {
namespace {

constexpr Tape kTapes[] = {
    {"wal_service", 29479741763104,
     "A full disk met a control file between a write and its sync. The timeline was loaded again "
     "in the same process, took what it read back for durable, vouched for it, and a power cut "
     "took it away. (TimelineLoad.WhatAnEarlierLifeDidNotSyncIsDurableOnceLoaded)"},
};

}  // namespace

std::span<const Tape> tapes() {
  return kTapes;
}

}  // namespace varve::scenarios
