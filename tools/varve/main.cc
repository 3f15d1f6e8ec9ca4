// varve: one binary, a verb for everything.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <string_view>

#include "tools/varve/commands.h"

int main(int argc, char** argv) {
  CLI::App app("Varve: serverless Postgres you can run yourself.", "varve");
  app.require_subcommand(1);
  app.fallthrough();
  varve::tool::Chosen chosen;
  varve::tool::add_verbs(app, chosen);
  // CLI11 would read what stands behind `--` as positional arguments of ours.
  const auto dashes = std::find(argv, argv + argc, std::string_view("--"));
  if (dashes != argv + argc) varve::tool::passed_arguments().assign(dashes + 1, argv + argc);
  try {
    app.parse(static_cast<int>(dashes - argv), argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return chosen ? chosen() : 2;
}
