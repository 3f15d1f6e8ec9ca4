#include "bench/pairs.h"

#include <gtest/gtest.h>

#include <string>

#include "bench/pgbench.h"
#include "bench/row.h"

namespace varve::bench {
namespace {

TEST(Pairs, TakesTurns) {
  std::string order;
  const Measure value = [&]() -> Result<double> {
    order += 'A';
    return static_cast<double>(order.size());
  };
  const Measure peer = [&]() -> Result<double> {
    order += 'B';
    return static_cast<double>(order.size());
  };
  const Pairs pairs = measure_pairs(value, peer, 2).value();
  EXPECT_EQ(order, "ABABBAABBA");
  EXPECT_EQ(pairs.value, (std::vector<double>{3, 6, 7, 10}));
  EXPECT_EQ(pairs.peer, (std::vector<double>{4, 5, 8, 9}));
}

TEST(Pairs, ADriftDoesNotLookLikeADifference) {
  double machine = 100;
  const Measure same = [&]() -> Result<double> { return machine -= 1; };
  const Pairs pairs = measure_pairs(same, same, 10).value();
  EXPECT_NEAR(median(ratios(pairs)), 1.0, 0.002);
}

TEST(Pairs, AnErrorEndsIt) {
  const Measure bad = []() -> Result<double> { return Status(Code::kInternal, "no"); };
  const Measure good = []() -> Result<double> { return 1.0; };
  EXPECT_EQ(measure_pairs(good, bad, 2).code(), Code::kInternal);
}

TEST(Pairs, Quantiles) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(quantile({1, 2, 3, 4, 5}, 0.25), 2);
  EXPECT_EQ(quantile({7}, 0.75), 7);
}

TEST(Pgbench, ReadsItsReport) {
  const PgbenchResult result = parse_pgbench(
                                   "number of transactions actually processed: 4321\n"
                                   "number of failed transactions: 2 (0.046%)\n"
                                   "latency average = 1.250 ms\n"
                                   "initial connection time = 5.1 ms\n"
                                   "tps = 800.125 (without initial connection time)\n")
                                   .value();
  EXPECT_EQ(result.transactions, 4321u);
  EXPECT_EQ(result.failed, 2u);
  EXPECT_EQ(result.latency_ms, 1.25);
  EXPECT_EQ(result.transactions_per_second, 800.125);
  EXPECT_EQ(parse_pgbench("pgbench: error: connection refused").code(), Code::kCorrupt);
}

TEST(Row, AsJson) {
  const Row row{"x", "tx/s", "somebody", true, "", {}};
  EXPECT_EQ(to_json(row, {{10, 20}, {5, 5}}),
            R"({"name": "x", "value": 15.0000, "unit": "tx/s", "peer": "somebody", )"
            R"("peer_value": 5.0000, "ratio": 3.0000, "iqr": [12.5000, 17.5000], )"
            R"("better": "higher"})");
  EXPECT_NE(to_json(row, {{10}, {}}).find("\"peer\": null"), std::string::npos);
}

}  // namespace
}  // namespace varve::bench
