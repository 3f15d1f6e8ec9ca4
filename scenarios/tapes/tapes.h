// Runs that once failed, each with its story. scenarios_test plays all of them, so what a seed
// found is looked for again in every build. A seed means what the scenario makes of it: after a
// change of a scenario's draws an old tape is one more random run, so each bug also has a test of
// its own that builds its situation by hand.
#pragma once

#include <cstdint>
#include <span>

namespace varve::scenarios {

struct Tape {
  const char* scenario;
  uint64_t seed;
  const char* story;
};

std::span<const Tape> tapes();

}  // namespace varve::scenarios
