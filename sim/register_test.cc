// The toy register under drawn faults, right and wrong.
#include "sim/testing/register.h"

#include <gtest/gtest.h>

#include "sim/runner.h"
#include "sim/testing/history.h"

namespace varve::sim {
namespace {

using testing::is_linearizable;
using testing::Operation;
using testing::register_scenario;

TEST(History, KnowsRightFromWrong) {
  constexpr int64_t kNever = Operation::kNever;
  EXPECT_TRUE(is_linearizable({}));
  EXPECT_TRUE(is_linearizable({{false, 0, 1, 2}, {true, 7, 3, 4}, {false, 7, 5, 6}}));
  EXPECT_FALSE(is_linearizable({{true, 7, 3, 4}, {false, 0, 5, 6}})) << "a stale read";
  EXPECT_TRUE(is_linearizable({{true, 7, 3, 10}, {false, 7, 4, 5}, {false, 7, 6, 7}}));
  EXPECT_FALSE(is_linearizable({{true, 7, 3, 10}, {false, 7, 4, 5}, {false, 0, 6, 7}}))
      << "new, then old";
  EXPECT_TRUE(is_linearizable({{true, 7, 3, kNever}, {false, 0, 4, 5}, {false, 7, 6, 7}}));
  EXPECT_TRUE(is_linearizable({{true, 7, 3, kNever}, {false, 0, 4, 5}, {false, 0, 6, 7}}));
  EXPECT_FALSE(is_linearizable({{true, 7, 3, kNever}, {false, 7, 4, 5}, {false, 0, 6, 7}}));
}

TEST(Register, IsLinearizableUnderFaultsInPairs) {
  CampaignOptions options;
  options.seeds = 300;
  const CampaignSummary summary = run_campaign({register_scenario("register")}, options);
  std::printf("%s", summary.to_text().c_str());
  EXPECT_TRUE(summary.good());
  EXPECT_EQ(summary.runs, 300u);
  EXPECT_GT(summary.total_faults(), 2000u);
  EXPECT_TRUE(summary.unreached.empty());
  for (const FaultKind kind :
       {FaultKind::kCrash, FaultKind::kPowerCut, FaultKind::kLostSector, FaultKind::kPartition,
        FaultKind::kOneWayPartition, FaultKind::kReset, FaultKind::kCut, FaultKind::kHalfOpen,
        FaultKind::kSyncError, FaultKind::kDiskHang}) {
    EXPECT_GT(summary.faults[static_cast<size_t>(kind)], 0u) << fault_name(kind);
  }
}

// How many seeds it takes to find a bug that is there.
uint64_t seeds_to_find(testing::RegisterBugs bugs) {
  CampaignOptions options;
  options.seeds = 1000;
  options.most_failures = 1;
  options.pairs.single = true;
  const CampaignSummary summary = run_campaign({register_scenario("register", bugs)}, options);
  EXPECT_EQ(summary.violations, 1u);
  if (summary.failures.empty()) return 0;
  EXPECT_NE(summary.failures[0].signature.find("not linearizable"), std::string::npos)
      << summary.failures[0].detail;
  std::printf("found with seed %d\n", static_cast<int>(summary.failures[0].seed));
  return summary.failures[0].seed;
}

TEST(Register, FindsAnAnswerBeforeItsSync) {
  EXPECT_GT(seeds_to_find({.answers_before_sync = true}), 0u);
}
TEST(Register, FindsAQuorumOfOne) {
  EXPECT_GT(seeds_to_find({.reads_from_one = true}), 0u);
}
TEST(Register, FindsAMissingWriteBack) {
  EXPECT_GT(seeds_to_find({.readers_dont_write_back = true}), 0u);
}

}  // namespace
}  // namespace varve::sim
