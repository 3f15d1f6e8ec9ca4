// ./dev demo: exit 0 only if every row was as it must be.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "tools/demo/story.h"

int main(int argc, char** argv) {
  CLI::App app("What Varve does, and what it survives, as a story.", "demo");
  varve::demo::StoryOptions options;
  options.executable = VARVE_EXECUTABLE;
  bool keep = false;
  app.add_option("--varve", options.executable, "another executable to tell the story of");
  app.add_option("--power-cuts", options.power_cuts, "how often everything is killed at once")
      ->check(CLI::Range(0, 1000));
  app.add_flag("--keep", keep, "leave the directory behind, with all logs");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  varve::product::ScratchDirectory scratch("demo");
  options.scratch = scratch.path();
  varve::demo::Narrator narrator;
  const varve::Status status = varve::demo::Story(options, narrator).tell();
  if (status.ok()) {
    narrator.chapter(fmt::format("All is as it must be, after {:.1f} s.", narrator.seconds()));
  } else {
    narrator.chapter("NOT as it must be: " + status.to_string());
    scratch.keep();
  }
  if (keep) scratch.keep();
  if (keep || !status.ok()) fmt::print("logs and data: {}\n", scratch.path());
  return status.ok() ? 0 : 1;
}
