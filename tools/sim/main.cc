// Runs scenarios from seeds: what `./dev sim` and `./dev replay` call.
#include <charconv>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scenarios/registry.h"
#include "sim/runner.h"

namespace {

using namespace varve;

constexpr const char* kUsage =
    "usage: sim [--scenario NAME] [--seeds N] [--seed S] [--seconds T] [--cpu-seconds T]\n"
    "           [--single] [--first] [--json]\n"
    "       sim --replay --scenario NAME --seed S\n"
    "       sim --list\n"
    "\n"
    "Runs every scenario (or the named one) on seeds S, S+1, ... in pairs of executions that "
    "differ\n"
    "in everything that must not matter. Ends after N seeds or T seconds. --single: one execution\n"
    "instead of a pair, twice the seeds, blind to leaks of determinism. --first: ends at the "
    "first\n"
    "failure. Exit code 1: something failed, and the output has the command that replays it.\n";

struct Arguments {
  std::string scenario;
  std::optional<uint64_t> seeds;
  uint64_t seed = 1;
  uint64_t seconds = 0;
  uint64_t cpu_seconds = 0;
  bool single = false;
  bool first = false;
  bool json = false;
  bool replay = false;
  bool list = false;
};

std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Nothing, and a sentence on stderr, when the words make no sense.
std::optional<Arguments> parse(const std::vector<std::string_view>& words) {
  Arguments arguments;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (word == "--json") {
      arguments.json = true;
    } else if (word == "--single") {
      arguments.single = true;
    } else if (word == "--first") {
      arguments.first = true;
    } else if (word == "--replay") {
      arguments.replay = true;
    } else if (word == "--list") {
      arguments.list = true;
    } else if (i + 1 == words.size()) {
      std::fprintf(stderr, "sim: '%s' is no option, or its value is missing\n",
                   std::string(word).c_str());
      return std::nullopt;
    } else if (word == "--scenario") {
      arguments.scenario = words[++i];
    } else {
      const auto value = number(words[++i]);
      if (value && word == "--seeds") {
        arguments.seeds = *value;
      } else if (value && word == "--seed") {
        arguments.seed = *value;
      } else if (value && word == "--seconds") {
        arguments.seconds = *value;
      } else if (value && word == "--cpu-seconds") {
        arguments.cpu_seconds = *value;
      } else {
        std::fprintf(stderr, "sim: '%s %s' is not understood\n", std::string(word).c_str(),
                     std::string(words[i]).c_str());
        return std::nullopt;
      }
    }
  }
  return arguments;
}

int replay(const std::vector<sim::Scenario>& scenarios, uint64_t seed) {
  if (scenarios.size() != 1) {
    std::fprintf(stderr, "sim: --replay needs --scenario\n");
    return 2;
  }
  const std::string failure = sim::run_here(scenarios[0], seed, true);
  std::printf("%s seed %llu: %s\n", scenarios[0].name.c_str(),
              static_cast<unsigned long long>(seed), failure.empty() ? "good" : failure.c_str());
  return failure.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  const auto arguments = parse(words);
  if (!arguments) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  std::vector<sim::Scenario> scenarios = scenarios::all();
  if (arguments->list) {
    for (const sim::Scenario& scenario : scenarios) std::printf("%s\n", scenario.name.c_str());
    return 0;
  }
  if (!arguments->scenario.empty()) {
    std::erase_if(scenarios, [&](const auto& s) { return s.name != arguments->scenario; });
    if (scenarios.empty()) {
      std::fprintf(stderr, "sim: there is no scenario '%s'; --list names them\n",
                   arguments->scenario.c_str());
      return 2;
    }
  }
  if (arguments->replay) return replay(scenarios, arguments->seed);

  sim::CampaignOptions options;
  options.first_seed = arguments->seed;
  options.time = Duration::seconds(static_cast<int64_t>(arguments->seconds));
  options.processor_time = Duration::seconds(static_cast<int64_t>(arguments->cpu_seconds));
  options.pairs.single = arguments->single;
  if (arguments->first) options.most_failures = 1;
  if (arguments->seeds) {
    options.seeds = *arguments->seeds;
  } else if (arguments->seconds != 0 || arguments->cpu_seconds != 0) {
    options.seeds = ~uint64_t{0};
  }
  const sim::CampaignSummary summary = sim::run_campaign(scenarios, options);
  std::printf("%s\n", arguments->json ? summary.to_json().c_str() : summary.to_text().c_str());
  return summary.good() ? 0 : 1;
}
