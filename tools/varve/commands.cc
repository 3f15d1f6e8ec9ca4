#include "tools/varve/commands.h"

#include <CLI/CLI.hpp>
#include <vector>

#include "base/check.h"

namespace varve::tool {
namespace {

struct Known {
  VerbGroup group;
  Verb::Add add;
};

// Not a plain global: the verbs' own constants may be made before it.
std::vector<Known>& known() {
  static std::vector<Known> verbs;
  return verbs;
}

const char* title_of(VerbGroup group) {
  switch (group) {
    case VerbGroup::kMachine:
      return "This machine";
    case VerbGroup::kDatabase:
      return "Databases";
    case VerbGroup::kDaemons:
      return "Daemons (started by `varve up`)";
  }
  VARVE_UNREACHABLE("no such group of verbs");
}

}  // namespace

Verb::Verb(VerbGroup group, Add add) {
  known().push_back({group, add});
}

void add_verbs(CLI::App& app, Chosen& chosen) {
  for (const VerbGroup group : {VerbGroup::kMachine, VerbGroup::kDatabase, VerbGroup::kDaemons}) {
    for (const Known& verb : known()) {
      if (verb.group != group) continue;
      const size_t before = app.get_subcommands(nullptr).size();
      verb.add(app, chosen);
      const std::vector<CLI::App*> all = app.get_subcommands(nullptr);
      for (size_t i = before; i < all.size(); ++i) all[i]->group(title_of(group));
    }
  }
}

}  // namespace varve::tool
