// What storage would say of a cleanly stopped data directory.
#pragma once

#include <string>

#include "compute/agent/manifest.h"

namespace varve::test {

// Ends the test program when the directory is not what it should be. `major` is 15.
compute::Manifest manifest_of(const std::string& directory);

}  // namespace varve::test
