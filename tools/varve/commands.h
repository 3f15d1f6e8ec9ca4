// The verbs. Each stands in a file of its own and adds itself to the command line, so that a verb
// is added by adding its file:
//
//   void add(CLI::App& app, Chosen& chosen) {
//     static DaemonFlags flags;
//     CLI::App* verb = app.add_subcommand("safekeeper", "Keeps the log.");
//     add_daemon_flags(*verb, flags);
//     verb->callback([&chosen] { chosen = [] { return run_daemon(flags, ...); }; });
//   }
//   const Verb kVerb(VerbGroup::kDaemons, &add);
//
// A callback runs while the command line is read, when it may still turn out to be wrong; so it
// only chooses, and main() runs what was chosen.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"

namespace CLI {
class App;
}

namespace varve::tool {

// What runs after the command line was understood. Its result is the exit code: 0, 1 failed, 2
// usage.
using Chosen = std::function<int()>;

// In the order in which help shows them.
enum class VerbGroup : uint8_t { kMachine, kDatabase, kDaemons };

// One constant in the file of each verb, made before main() begins.
class Verb {
 public:
  using Add = void (*)(CLI::App& app, Chosen& chosen);
  Verb(VerbGroup group, Add add);
};

// Tells an error to people, on stderr with its hint, and returns its exit code.
int fail(const Status& status);
// 0, or as fail().
int result(const Status& status);

// What stands behind `--` on the command line, for the program that a verb becomes.
std::vector<std::string>& passed_arguments();

// Adds all of them.
void add_verbs(CLI::App& app, Chosen& chosen);

}  // namespace varve::tool
