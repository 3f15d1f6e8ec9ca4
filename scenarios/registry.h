// All scenarios, by name. A hand-kept list: self-registration needs tricks to survive the linker.
#pragma once

#include <vector>

#include "sim/pairs.h"

namespace varve::scenarios {

std::vector<sim::Scenario> all();

}  // namespace varve::scenarios
