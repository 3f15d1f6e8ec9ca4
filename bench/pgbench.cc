#include "bench/pgbench.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "tests/programs/child_process.h"

namespace varve::bench {
namespace {

std::optional<double> number_after(const std::string& text, const std::string& label) {
  const size_t at = text.find(label);
  if (at == std::string::npos) return std::nullopt;
  const size_t from = text.find_first_not_of(' ', at + label.size());
  if (from == std::string::npos) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data() + from, text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

}  // namespace

Result<PgbenchResult> parse_pgbench(const std::string& output) {
  const auto rate = number_after(output, "tps =");
  const auto latency = number_after(output, "latency average =");
  const auto transactions = number_after(output, "transactions actually processed:");
  const auto failed = number_after(output, "number of failed transactions:");
  if (!rate || !latency || !transactions || !failed)
    return Status(Code::kCorrupt, "pgbench printed no result: " + output);
  return PgbenchResult{*rate, *latency, static_cast<uint64_t>(*transactions),
                       static_cast<uint64_t>(*failed)};
}

Result<PgbenchResult> run_pgbench(const PgbenchOptions& options) {
  programs::Program program;
  program.command = {std::string(programs::kPostgresPrograms) + "pgbench",
                     "-n",
                     "-M",
                     "prepared",
                     "-c",
                     std::to_string(options.clients),
                     "-j",
                     std::to_string(std::min(options.clients, 2)),
                     "-T",
                     std::to_string(options.seconds)};
  program.command.insert(program.command.end(), options.workload.begin(), options.workload.end());
  program.command.push_back(options.target);
  VARVE_TRY_ASSIGN(const std::string output,
                   programs::output_of(program, Duration::seconds(options.seconds + 120)));
  VARVE_TRY_ASSIGN(const PgbenchResult result, parse_pgbench(output));
  if (result.failed > 0)
    return Status(Code::kInternal, std::to_string(result.failed) + " transactions failed");
  return result;
}

Status load_pgbench(const std::string& target, int scale) {
  return programs::output_of({.command = {std::string(programs::kPostgresPrograms) + "pgbench",
                                          "-i", "-q", "-s", std::to_string(scale), target}},
                             Duration::seconds(1200))
      .status();
}

}  // namespace varve::bench
