#include "tools/varve/commands.h"

#include <CLI/CLI.hpp>
#include <cstdio>
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

int fail(const Status& status) {
  std::string text = "varve: " + status.message();
  const StatusDetail& detail = status.detail();
  if (!detail.object.empty()) text += ": " + detail.object;
  if (detail.lsn) text += " at " + detail.lsn->to_string();
  std::fprintf(stderr, "%s\n", text.c_str());
  if (!detail.hint.empty()) std::fprintf(stderr, "  hint: %s\n", detail.hint.c_str());
  return policy_of(status.code()).exit_code;
}

int result(const Status& status) {
  return status.ok() ? 0 : fail(status);
}

std::vector<std::string>& passed_arguments() {
  static std::vector<std::string> arguments;
  return arguments;
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
