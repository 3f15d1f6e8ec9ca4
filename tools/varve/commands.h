// The verbs. Each file adds its own to the command line; what it returns when chosen becomes the
// exit code (0, 1 failed, 2 usage).
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace varve::tool {

// What runs after the command line was understood. Set by the chosen verb.
using Chosen = std::function<int()>;

}  // namespace varve::tool
