// Planted leaks, violations and crashes, each of which must be reported for what it is.
#include "sim/pairs.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "base/bytes.h"
#include "sim/runner.h"

namespace varve::sim {
namespace {

// A node that waits as long as `leak` says, then again the same.
Scenario leaking(std::function<uint64_t()> leak) {
  return {"leaking",
          [leak = std::move(leak)](Simulation& simulation) {
            simulation.start(simulation.add_node("node", [&](World&) {
              sleep_for(Duration::millis(3)).ignore("a quiet beginning");
              sleep_for(Duration::micros(static_cast<int64_t>(leak() % 1000))).ignore("the leak");
            }));
            simulation.run_for(Duration::seconds(1));
          },
          {}};
}

void expect_leak(const Scenario& scenario) {
  PairRunner runner;
  const PairResult result = runner.run(scenario, 1);
  EXPECT_EQ(result.verdict, Verdict::kMismatch) << result.detail;
  EXPECT_NE(result.detail.find("execution B: event"), std::string::npos) << result.detail;
  EXPECT_NE(result.detail.find("timer"), std::string::npos) << result.detail;
}

TEST(Pairs, AgreeOnAnHonestRun) {
  PairRunner runner;
  const PairResult result = runner.run(leaking([] { return uint64_t{5}; }), 1);
  EXPECT_EQ(result.verdict, Verdict::kGood) << result.detail;
  EXPECT_GT(result.events, 2u);
}

#if !defined(__SANITIZE_ADDRESS__)  // whose heap has its own fill and its own addresses
TEST(Pairs, NameFreshMemoryThatWasRead) {
  expect_leak(leaking([] {
    const MutableBytes fresh(64);
    return uint64_t{fresh.data()[24]};
  }));
}
TEST(Pairs, NameAnOrderOfAddresses) {
  expect_leak(leaking([] {
    std::set<int*> blocks;  // lint: allow pointer-key because it is the planted leak
    std::vector<int*> in_order;
    for (int i = 0; i < 64; ++i) {
      in_order.push_back(new int(i));
      blocks.insert(in_order.back());
    }
    uint64_t hash = 0;
    for (const int* block : blocks) hash = mix64(hash ^ static_cast<uint64_t>(*block));
    return hash;
  }));
}
#endif
TEST(Pairs, NameTheEnvironment) {
  expect_leak(leaking([] { return std::string(std::getenv("VARVE_SIM_PADDING")).size(); }));
}

Scenario failing(std::string name, std::function<void(Simulation&)> fail) {
  return {std::move(name),
          [fail = std::move(fail)](Simulation& simulation) {
            simulation.start(simulation.add_node("node", [&](World&) { fail(simulation); }));
            simulation.run_for(Duration::seconds(1));
          },
          {}};
}

TEST(Pairs, AViolationIsAFailureWithItsSeed) {
  PairRunner runner;
  const PairResult result = runner.run(
      failing("wrong", [](Simulation& s) { s.violation("row 17 is gone\nall about it"); }), 99);
  EXPECT_EQ(result.verdict, Verdict::kViolation);
  EXPECT_EQ(result.signature, "row # is gone");
  EXPECT_NE(result.detail.find("wrong, seed 99: row 17 is gone\nall about it"), std::string::npos);
}

TEST(Pairs, ABrokenInvariantIsAFailureWithItsText) {
  PairRunner runner;
  const PairResult result = runner.run(
      failing("broken", [](Simulation&) { VARVE_CHECK_MSG(false, "the sky is up"); }), 1);
  EXPECT_EQ(result.verdict, Verdict::kDeath);
  EXPECT_NE(result.detail.find("the sky is up"), std::string::npos) << result.detail;
}

TEST(Pairs, ARunawayIsAFailure) {
  PairOptions options;
  options.processor_time = Duration::seconds(1);
  options.single = true;
  PairRunner runner(options);
  const PairResult result = runner.run(failing("endless",
                                               [](Simulation&) {
                                                 volatile bool forever = true;
                                                 while (forever) {
                                                 }
                                               }),
                                       1);
  EXPECT_EQ(result.verdict, Verdict::kDeath);
  EXPECT_NE(result.detail.find("processor time"), std::string::npos) << result.detail;
}

TEST(Campaign, TellsWhatFailedAndWhatWasNeverReached) {
  Scenario scenario = failing("sometimes", [](Simulation& s) {
    s.reached("seen");
    if (s.seed() == 3) s.violation("seed three");
  });
  scenario.sites = {"seen", "unseen"};
  CampaignOptions options;
  options.seeds = 5;
  const CampaignSummary summary = run_campaign({scenario}, options);
  EXPECT_EQ(summary.runs, 5u);
  EXPECT_EQ(summary.violations, 1u);
  EXPECT_EQ(summary.unreached, std::vector<std::string>{"sometimes: unseen"});
  const std::string json = summary.to_json();
  EXPECT_NE(json.find("\"runs\": 5, "), std::string::npos) << json;
  EXPECT_NE(json.find("\"replay\": \"./dev replay --scenario sometimes --seed 3\""),
            std::string::npos)
      << json;
}

}  // namespace
}  // namespace varve::sim
