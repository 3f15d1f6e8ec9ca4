// ./dev bench [NAME...] [--json]: each row against its peer, in the same run.
#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include "bench/arena.h"
#include "bench/row.h"

namespace varve::bench {
namespace {

struct Flags {
  std::vector<std::string> names;
  bool json = false;
  ArenaOptions arena = {.executable = VARVE_EXECUTABLE};
};

std::string environment() {
  utsname name{};
  uname(&name);
  return fmt::format("{} {} on {} processors", name.sysname, name.release,
                     sysconf(_SC_NPROCESSORS_ONLN));
}

Result<std::vector<const Row*>> choose(const std::vector<std::string>& names) {
  std::vector<const Row*> chosen;
  for (const Row& row : all_rows())
    if (names.empty() || std::find(names.begin(), names.end(), row.name) != names.end())
      chosen.push_back(&row);
  for (const std::string& name : names)
    if (std::none_of(chosen.begin(), chosen.end(),
                     [&](const Row* row) { return row->name == name; }))
      return Status(Code::kInvalid, "there is no benchmark '" + name + "'")
          .with_hint("./dev bench --list");
  return chosen;
}

int complain(const Status& status) {
  fmt::print(stderr, "bench: {}\n", status.to_string());
  return status.is(Code::kInvalid) ? 2 : 1;
}

int run(Flags flags) {
  const auto rows = choose(flags.names);
  if (!rows.ok()) return complain(rows.status());
  product::ScratchDirectory scratch("bench");
  flags.arena.scratch = scratch.path();
  flags.arena.progress = [](const std::string& line) { fmt::print(stderr, "bench: {}\n", line); };
  fmt::print(stderr, "bench: {}; scratch directory {}; runs of {} s, {} pairs a row\n",
             environment(), scratch.path(), flags.arena.seconds, 2 * flags.arena.rounds);
  int exit_code = 0;
  {
    Arena arena(flags.arena);
    for (const Row* row : *rows) {
      const Result<RowResult> result = row->measure(arena);
      if (!result.ok()) {
        exit_code = complain(Status(result.status()).with_context(row->name));
        continue;
      }
      fmt::print("{}\n", flags.json ? to_json(*row, *result) : to_text(*row, *result));
      std::fflush(stdout);
    }
  }
  return exit_code;
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  varve::bench::Flags flags;
  bool list = false;
  CLI::App app("Benchmarks of Varve against their peers.", "bench");
  app.add_option("name", flags.names, "rows to run; all without");
  app.add_flag("--json", flags.json, "one object a line");
  app.add_flag("--list", list, "what there is");
  app.add_option("--seconds", flags.arena.seconds, "of one run")->check(CLI::Range(1, 3600));
  app.add_option("--rounds", flags.arena.rounds, "of A B B A")->check(CLI::Range(1, 100));
  app.add_option("--scale", flags.arena.scale, "of pgbench's tables")->check(CLI::Range(1, 10000));
  app.add_option("--varve", flags.arena.varve,
                 "a connection string to measure instead of a Varve of our own");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (list) {
    for (const auto& row : varve::bench::all_rows()) fmt::print("{:18} {}\n", row.name, row.about);
    return 0;
  }
  return varve::bench::run(std::move(flags));
}
