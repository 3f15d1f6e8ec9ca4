// `varve project`.
#include <CLI/CLI.hpp>

#include "tools/varve/commands.h"
#include "tools/varve/control_client.h"
#include "tools/varve/output.h"

namespace varve::tool {
namespace {

struct ProjectFlags {
  std::string data = ".varve";
  std::string name;
  uint32_t major = 0;
  bool json = false;
};

void print(const std::vector<ProjectInfo>& projects, bool json) {
  std::vector<std::vector<std::string>> rows;
  for (const ProjectInfo& project : projects) {
    rows.push_back({project.name, std::to_string(project.postgres_major),
                    format_moment(project.created), project.tenant.to_string()});
  }
  print_rows({"name", "postgres", "created", "tenant"}, rows, json);
}

Status show(ControlClient& control, const ProjectFlags& flags) {
  VARVE_TRY_ASSIGN(const std::vector<ProjectInfo> all, control.projects());
  for (const ProjectInfo& project : all) {
    if (project.name != flags.name) continue;
    print({project}, flags.json);
    return Status();
  }
  return Status(Code::kNotFound, "there is no project of that name").with_object(flags.name);
}

void add(CLI::App& app, Chosen& chosen) {
  static ProjectFlags flags;
  CLI::App* group = app.add_subcommand("project", "Creates, lists and deletes projects.");
  group->require_subcommand(1);
  group->add_option("--data", flags.data, "the data directory")->capture_default_str();
  group->add_flag("--json", flags.json, "one object a line");
  const auto verb = [&](const char* name, const char* help, bool named,
                        Status (*body)(ControlClient&, const ProjectFlags&)) {
    CLI::App* sub = group->add_subcommand(name, help);
    if (named) sub->add_option("name", flags.name)->required();
    sub->callback([&chosen, body] {
      chosen = [body] {
        return result(with_control(flags.data, [&](ControlClient& c) { return body(c, flags); }));
      };
    });
    return sub;
  };
  verb("create", "Makes a project with a branch `main`.", true,
       [](ControlClient& control, const ProjectFlags& f) -> Status {
         VARVE_TRY_ASSIGN(const ProjectInfo made, control.create_project(f.name, f.major));
         print({made}, f.json);
         return Status();
       })
      ->add_option("--postgres", flags.major, "major version; the newest installed by default");
  verb("list", "All projects.", false, [](ControlClient& control, const ProjectFlags& f) -> Status {
    VARVE_TRY_ASSIGN(const std::vector<ProjectInfo> all, control.projects());
    print(all, f.json);
    return Status();
  });
  verb("show", "One project.", true, &show);
  verb(
      "delete", "Deletes a project with all its branches, for ever.", true,
      [](ControlClient& control, const ProjectFlags& f) { return control.delete_project(f.name); });
}

const Verb kVerb(VerbGroup::kDatabase, &add);

}  // namespace
}  // namespace varve::tool
