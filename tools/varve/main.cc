// varve: one binary, a verb for everything.
#include <CLI/CLI.hpp>

#include "tools/varve/commands.h"

int main(int argc, char** argv) {
  CLI::App app("Varve: serverless Postgres you can run yourself.", "varve");
  app.require_subcommand(1);
  app.fallthrough();
  varve::tool::Chosen chosen;
  varve::tool::add_verbs(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return chosen ? chosen() : 2;
}
