// `varve config`: the settings in effect.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "tools/varve/commands.h"
#include "tools/varve/layout.h"
#include "tools/varve/settings.h"

namespace varve::tool {
namespace {

int show(const std::string& data) {
  // Without a directory the defaults are shown: one may want to write the file first.
  const Result<Settings> settings = load_settings(data + "/varve.toml");
  if (!settings.ok()) return fail(settings.status());
  std::printf("%s", describe_settings(*settings).c_str());
  return 0;
}

void add(CLI::App& app, Chosen& chosen) {
  static std::string data = ".varve";
  CLI::App* verb = app.add_subcommand(
      "config", "All settings in effect, as a varve.toml; defaults are comments.");
  verb->add_option("--data", data, "the data directory")->capture_default_str();
  verb->callback([&chosen] { chosen = [] { return show(data); }; });
}

const Verb kVerb(VerbGroup::kMachine, &add);

}  // namespace
}  // namespace varve::tool
