// `varve branch`.
#include <CLI/CLI.hpp>
#include <algorithm>

#include "tools/varve/commands.h"
#include "tools/varve/control_client.h"
#include "tools/varve/moment.h"
#include "tools/varve/output.h"

namespace varve::tool {
namespace {

struct BranchFlags {
  std::string data = ".varve";
  std::string project = "main";
  std::string name;
  std::string parent = "main";
  std::string at;
  bool json = false;
};

std::string state_of(const BranchInfo& branch) {
  if (branch.ready) return "ready";
  return branch.failure.ok() ? "being made" : "failed: " + branch.failure.message();
}

void print(const std::vector<BranchInfo>& branches, const std::vector<BranchInfo>& all, bool json) {
  std::vector<std::vector<std::string>> rows;
  for (const BranchInfo& branch : branches) {
    const auto parent = std::find_if(all.begin(), all.end(), [&](const BranchInfo& other) {
      return other.timeline == branch.parent;
    });
    rows.push_back({branch.name, parent == all.end() ? "" : parent->name, branch.start.to_string(),
                    format_moment(branch.created), state_of(branch), branch.timeline.to_string()});
  }
  print_rows({"name", "parent", "start", "created", "state", "timeline"}, rows, json);
}

Status create(ControlClient& control, const BranchFlags& flags) {
  BranchPoint point;
  point.parent = flags.parent;
  if (!flags.at.empty()) VARVE_TRY(parse_moment(flags.at, point));
  VARVE_TRY(control.ensure_project(flags.project).status());
  VARVE_TRY_ASSIGN(const BranchInfo made, control.create_branch(flags.project, flags.name, point));
  VARVE_TRY_ASSIGN(const std::vector<BranchInfo> all, control.branches(flags.project));
  print({made}, all, flags.json);
  return Status();
}

Status list(ControlClient& control, const BranchFlags& flags) {
  VARVE_TRY_ASSIGN(const std::vector<BranchInfo> all, control.branches(flags.project));
  print(all, all, flags.json);
  return Status();
}

Status show(ControlClient& control, const BranchFlags& flags) {
  VARVE_TRY_ASSIGN(const std::vector<BranchInfo> all, control.branches(flags.project));
  for (const BranchInfo& branch : all) {
    if (branch.name != flags.name) continue;
    print({branch}, all, flags.json);
    return Status();
  }
  return Status(Code::kNotFound, "project " + flags.project + " has no branch of that name")
      .with_object(flags.name);
}

void add(CLI::App& app, Chosen& chosen) {
  static BranchFlags flags;
  CLI::App* group = app.add_subcommand("branch", "Creates, lists and deletes branches.");
  group->require_subcommand(1);
  group->add_option("--data", flags.data, "the data directory")->capture_default_str();
  group->add_option("--project", flags.project)->capture_default_str();
  group->add_flag("--json", flags.json, "one object a line");
  const auto verb = [&](const char* name, const char* help, bool named,
                        Status (*body)(ControlClient&, const BranchFlags&)) {
    CLI::App* sub = group->add_subcommand(name, help);
    if (named) sub->add_option("name", flags.name)->required();
    sub->callback([&chosen, body] {
      chosen = [body] {
        return result(with_control(flags.data, [&](ControlClient& c) { return body(c, flags); }));
      };
    });
    return sub;
  };
  CLI::App* make =
      verb("create", "Makes a branch: now, at a position, or at a time.", true, &create);
  make->add_option("--parent", flags.parent, "the branch it grows from")->capture_default_str();
  make->add_option("--at", flags.at, "a position (0/16B3748) or a time ('2026-11-21 03:04:05+00')");
  verb("list", "All branches of a project.", false, &list);
  verb("show", "One branch.", true, &show);
  verb("delete", "Deletes a branch, for ever.", true,
       [](ControlClient& control, const BranchFlags& f) {
         return control.delete_branch(f.project, f.name);
       });
}

const Verb kVerb(VerbGroup::kDatabase, &add);

}  // namespace
}  // namespace varve::tool
