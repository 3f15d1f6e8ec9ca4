// A campaign: scenarios times seeds, in pairs, and what came of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/pairs.h"

namespace varve::sim {

struct CampaignOptions {
  uint64_t first_seed = 1;
  // Ends after that many seeds for each scenario, or after that much time, whichever comes first. A
  // time of zero means no limit.
  uint64_t seeds = 100;
  Duration time{};
  // Ends, too, once all executions together have used that much processor time; zero: no limit.
  Duration processor_time{};
  size_t most_failures = 20;  // ends the campaign early
  PairOptions pairs;
  // The command that replays a failure, up to its arguments "--scenario NAME --seed S".
  std::string replay = "./dev replay";
};

struct Failure {
  std::string scenario;
  uint64_t seed = 0;
  Verdict verdict = Verdict::kGood;
  std::string signature;
  std::string detail;
};

// Both executions of a pair count as one run.
struct CampaignSummary {
  uint64_t runs = 0;
  Duration simulated;
  Duration processor_time;
  uint64_t events = 0;
  std::array<uint64_t, kFaultKinds> faults{};
  uint64_t violations = 0;  // runs that ended badly, deaths included
  uint64_t mismatches = 0;
  std::vector<std::string> unreached;  // "scenario: site"
  std::vector<Failure> failures;
  std::string replay;

  bool good() const { return violations == 0 && mismatches == 0; }
  uint64_t total_faults() const;
  // One line, as the house's `sim --json` prints it.
  std::string to_json() const;
  // For people: figures, then each failure with its replay command.
  std::string to_text() const;
};

// Seeds in the outer loop, scenarios in the inner, so that a campaign cut short by time has tried
// all scenarios.
CampaignSummary run_campaign(const std::vector<Scenario>& scenarios,
                             const CampaignOptions& options);

}  // namespace varve::sim
