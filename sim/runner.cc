#include "sim/runner.h"

#include <fmt/format.h>

namespace varve::sim {
namespace {

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      result += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string decimal(uint64_t numerator, uint64_t denominator) {
  if (denominator == 0) return "0";
  const auto hundredths =
      static_cast<uint64_t>(static_cast<unsigned __int128>(numerator) * 100 / denominator);
  return fmt::format("{}.{:02}", hundredths / 100, hundredths % 100);
}

std::string replay_command(const CampaignSummary& summary, const Failure& failure) {
  return fmt::format("{} --scenario {} --seed {}", summary.replay, failure.scenario, failure.seed);
}

void add(CampaignSummary& summary, const Scenario& scenario, uint64_t seed, PairResult result) {
  ++summary.runs;
  summary.simulated = summary.simulated + result.simulated;
  summary.events += result.events;
  for (size_t i = 0; i < kFaultKinds; ++i) summary.faults[i] += result.faults[i];
  switch (result.verdict) {
    case Verdict::kGood:
      return;
    case Verdict::kViolation:
    case Verdict::kDeath:
      ++summary.violations;
      break;
    case Verdict::kMismatch:
      ++summary.mismatches;
      break;
  }
  summary.failures.push_back(
      {scenario.name, seed, result.verdict, std::move(result.signature), std::move(result.detail)});
}

}  // namespace

uint64_t CampaignSummary::total_faults() const {
  return sim::total_faults(faults);
}

std::string CampaignSummary::to_json() const {
  const auto micros = static_cast<uint64_t>(processor_time.to_micros());
  const auto per_second = [&](uint64_t count) {
    return micros == 0 ? std::string("0") : decimal(count * 1000000, micros);
  };
  std::string json = fmt::format(
      "{{\"runs\": {}, \"simulated_seconds\": {}, \"cpu_seconds\": {}, \"events\": {}, "
      "\"events_per_core_second\": {}, \"runs_per_core_second\": {}, \"faults\": {{\"total\": {}",
      runs, decimal(static_cast<uint64_t>(simulated.to_micros()), 1000000),
      decimal(micros, 1000000), events, per_second(events), per_second(runs), total_faults());
  for (size_t i = 0; i < kFaultKinds; ++i) {
    json += fmt::format(", \"{}\": {}", fault_name(static_cast<FaultKind>(i)), faults[i]);
  }
  json += fmt::format("}}, \"violations\": {}, \"determinism_mismatches\": {}, \"unreached\": [",
                      violations, mismatches);
  for (size_t i = 0; i < unreached.size(); ++i) json += (i == 0 ? "" : ", ") + quoted(unreached[i]);
  json += "], \"failing\": [";
  for (size_t i = 0; i < failures.size(); ++i) {
    json += fmt::format("{}{{\"scenario\": {}, \"seed\": {}, \"signature\": {}, \"replay\": {}}}",
                        i == 0 ? "" : ", ", quoted(failures[i].scenario), failures[i].seed,
                        quoted(failures[i].signature), quoted(replay_command(*this, failures[i])));
  }
  return json + "]}";
}

std::string CampaignSummary::to_text() const {
  std::string text = fmt::format(
      "{} runs in pairs, {} s simulated in {} s of processor time, {} events, {} faults\n", runs,
      simulated.to_millis() / 1000, processor_time.to_millis() / 1000, events, total_faults());
  for (size_t i = 0; i < kFaultKinds; ++i) {
    if (faults[i] != 0)
      text += fmt::format("  {:<18} {}\n", fault_name(static_cast<FaultKind>(i)), faults[i]);
  }
  for (const std::string& site : unreached) text += "never reached: " + site + "\n";
  for (const Failure& failure : failures) {
    text += fmt::format("{}: {}\n{}\n  replay: {}\n", verdict_name(failure.verdict),
                        failure.signature, failure.detail, replay_command(*this, failure));
  }
  return text;
}

CampaignSummary run_campaign(const std::vector<Scenario>& scenarios,
                             const CampaignOptions& options) {
  CampaignSummary summary;
  summary.replay = options.replay;
  PairRunner runner(options.pairs);
  std::vector<uint64_t> sites(scenarios.size());
  const Duration began = port::machine_time();
  const Duration used = port::processor_time_used();
  const auto over = [&] {
    const bool late = options.time.nanoseconds > 0 && port::machine_time() - began >= options.time;
    const bool spent = options.processor_time.nanoseconds > 0 &&
                       port::processor_time_used() - used >= options.processor_time;
    return late || spent || summary.failures.size() >= options.most_failures;
  };
  for (uint64_t i = 0; i < options.seeds && !over(); ++i) {
    for (size_t s = 0; s < scenarios.size() && !over(); ++s) {
      const uint64_t seed = options.first_seed + i;
      PairResult result = runner.run(scenarios[s], seed);
      sites[s] |= result.sites;
      add(summary, scenarios[s], seed, std::move(result));
    }
  }
  summary.processor_time = port::processor_time_used() - used;
  for (size_t s = 0; s < scenarios.size(); ++s) {
    for (size_t i = 0; i < scenarios[s].sites.size(); ++i) {
      if ((sites[s] >> i & 1) == 0)
        summary.unreached.push_back(scenarios[s].name + ": " + scenarios[s].sites[i]);
    }
  }
  return summary;
}

}  // namespace varve::sim
