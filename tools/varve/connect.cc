// `varve psql` and `varve connection-string`.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "tools/varve/commands.h"
#include "tools/varve/control_client.h"
#include "tools/varve/files.h"

namespace varve::tool {
namespace {

struct ConnectFlags {
  std::string data = ".varve";
  std::string project = "main";
  std::string branch = "main";
};

// The branch's endpoint, started if none runs.
Result<std::string> connection_string(const ConnectFlags& flags) {
  std::string found;
  VARVE_TRY(with_control(flags.data, [&](ControlClient& control) -> Status {
    VARVE_TRY(control.ensure_project(flags.project).status());
    VARVE_TRY_ASSIGN(const EndpointInfo endpoint,
                     control.ensure_running(flags.project, flags.branch));
    found = endpoint.connection_string;
    return Status();
  }));
  return found;
}

Status become_psql(const ConnectFlags& flags) {
  VARVE_TRY_ASSIGN(const std::string target, connection_string(flags));
  std::vector<std::string> words = {"psql", target};
  words.insert(words.end(), passed_arguments().begin(), passed_arguments().end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  (void)::execvp("psql", arguments.data());
  return std::move(os_error("cannot run", "psql"))
      .with_hint(
          "install the Debian package postgresql-client-15, or use `varve "
          "connection-string` with another client");
}

void add(CLI::App& app, Chosen& chosen) {
  static ConnectFlags flags;
  const auto common = [](CLI::App* verb) {
    verb->add_option("branch", flags.branch)->capture_default_str();
    verb->add_option("--data", flags.data, "the data directory")->capture_default_str();
    verb->add_option("--project", flags.project)->capture_default_str();
  };
  CLI::App* psql = app.add_subcommand(
      "psql",
      "Opens psql on a branch, whose endpoint is started if none runs. `-- ARGS` go to it.");
  common(psql);
  psql->callback([&chosen] { chosen = [] { return result(become_psql(flags)); }; });
  CLI::App* print = app.add_subcommand(
      "connection-string", "Prints how to reach a branch; its endpoint is started if none runs.");
  common(print);
  print->callback([&chosen] {
    chosen = [] {
      const Result<std::string> found = connection_string(flags);
      if (!found.ok()) return fail(found.status());
      std::printf("%s\n", found->c_str());
      return 0;
    };
  });
}

const Verb kVerb(VerbGroup::kDatabase, &add);

}  // namespace
}  // namespace varve::tool
