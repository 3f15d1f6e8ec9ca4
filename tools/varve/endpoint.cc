// `varve endpoint`.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "tools/varve/commands.h"
#include "tools/varve/control_client.h"
#include "tools/varve/output.h"

namespace varve::tool {
namespace {

struct EndpointFlags {
  std::string data = ".varve";
  std::string project = "main";
  std::string name;
  std::string branch;
  bool immediately = false;
  bool json = false;
};

Status print(ControlClient& control, const EndpointFlags& flags,
             const std::vector<EndpointInfo>& endpoints) {
  VARVE_TRY_ASSIGN(const std::vector<BranchInfo> branches, control.branches(flags.project));
  std::vector<std::vector<std::string>> rows;
  for (const EndpointInfo& endpoint : endpoints) {
    const auto branch = std::find_if(branches.begin(), branches.end(), [&](const BranchInfo& b) {
      return b.timeline == endpoint.timeline;
    });
    std::string state = endpoint_phase_name(endpoint.phase);
    if (!endpoint.failure.ok()) state += ": " + endpoint.failure.to_string();
    rows.push_back({endpoint.name, branch == branches.end() ? "" : branch->name, state,
                    std::to_string(endpoint.port), endpoint.connection_string});
  }
  print_rows({"name", "branch", "state", "port", "connection"}, rows, flags.json);
  return Status();
}

Status create(ControlClient& control, const EndpointFlags& flags) {
  VARVE_TRY(control.ensure_project(flags.project).status());
  VARVE_TRY_ASSIGN(
      const EndpointInfo made,
      control.create_endpoint(flags.project, flags.branch.empty() ? flags.name : flags.branch,
                              flags.name));
  return print(control, flags, {made});
}

Status list(ControlClient& control, const EndpointFlags& flags) {
  VARVE_TRY_ASSIGN(const std::vector<EndpointInfo> all, control.endpoints(flags.project));
  return print(control, flags, all);
}

Status show(ControlClient& control, const EndpointFlags& flags) {
  VARVE_TRY_ASSIGN(const std::vector<EndpointInfo> all, control.endpoints(flags.project));
  for (const EndpointInfo& endpoint : all) {
    if (endpoint.name == flags.name) return print(control, flags, {endpoint});
  }
  return Status(Code::kNotFound, "project " + flags.project + " has no endpoint of that name")
      .with_object(flags.name);
}

Status start(ControlClient& control, const EndpointFlags& flags) {
  VARVE_TRY_ASSIGN(const EndpointInfo running, control.start_endpoint(flags.project, flags.name));
  return print(control, flags, {running});
}

void add(CLI::App& app, Chosen& chosen) {
  static EndpointFlags flags;
  CLI::App* group = app.add_subcommand("endpoint", "Creates, starts, stops and deletes endpoints.");
  group->require_subcommand(1);
  group->add_option("--data", flags.data, "the data directory")->capture_default_str();
  group->add_option("--project", flags.project)->capture_default_str();
  group->add_flag("--json", flags.json, "one object a line");
  const auto verb = [&](const char* name, const char* help, bool named,
                        Status (*body)(ControlClient&, const EndpointFlags&)) {
    CLI::App* sub = group->add_subcommand(name, help);
    if (named) sub->add_option("name", flags.name)->required();
    sub->callback([&chosen, body] {
      chosen = [body] {
        return result(with_control(flags.data, [&](ControlClient& c) { return body(c, flags); }));
      };
    });
    return sub;
  };
  verb("create", "Makes an endpoint of a branch; it is not started.", true, &create)
      ->add_option("--branch", flags.branch, "the branch; by default the one of the same name");
  verb("list", "All endpoints of a project.", false, &list);
  verb("show", "One endpoint.", true, &show);
  verb("start", "Starts Postgres; returns when it takes connections.", true, &start);
  verb("stop", "Stops Postgres.", true,
       [](ControlClient& control, const EndpointFlags& f) {
         return control.stop_endpoint(f.project, f.name, f.immediately);
       })
      ->add_flag("--immediately", flags.immediately,
                 "kill it; what was not acknowledged may be lost");
  verb("delete", "Forgets a stopped endpoint; its branch stays.", true,
       [](ControlClient& control, const EndpointFlags& f) {
         return control.delete_endpoint(f.project, f.name);
       });
}

const Verb kVerb(VerbGroup::kDatabase, &add);

}  // namespace
}  // namespace varve::tool
