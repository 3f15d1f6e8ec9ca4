// A few seeds of every scenario, in this process, so that a debugger and the sanitizers can look.
#include <gtest/gtest.h>

#include <algorithm>

#include "scenarios/registry.h"
#include "scenarios/tapes/tapes.h"
#include "scenarios/wal_service.h"

namespace varve::scenarios {
namespace {

TEST(WalService, SeedsHoldAndAreWorthRunning) {
  size_t elections = 0;
  size_t acknowledged = 0;
  uint64_t faults = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    sim::Simulation simulation(seed);
    const WalServiceReport report = wal_service(simulation);
    ASSERT_FALSE(simulation.failure()) << "seed " << seed << ": " << *simulation.failure();
    EXPECT_TRUE(report.verified) << "seed " << seed;
    elections += report.elections;
    acknowledged += report.acknowledged_records;
    faults += simulation.faults().total();
  }
  EXPECT_GT(elections, 60u);
  EXPECT_GT(acknowledged, 1000u);
  EXPECT_GT(faults, 400u);
}

TEST(Tapes, WhatOnceFailedHolds) {
  const std::vector<sim::Scenario> scenarios = all();
  for (const Tape& tape : tapes()) {
    const auto scenario = std::find_if(scenarios.begin(), scenarios.end(),
                                       [&](const auto& s) { return s.name == tape.scenario; });
    ASSERT_NE(scenario, scenarios.end()) << tape.scenario;
    EXPECT_EQ(sim::run_here(*scenario, tape.seed, false), "") << tape.seed << ": " << tape.story;
  }
}

}  // namespace
}  // namespace varve::scenarios
