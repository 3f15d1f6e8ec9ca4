// A few seeds of every scenario, in this process, so that a debugger and the sanitizers can look.
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace varve::scenarios
