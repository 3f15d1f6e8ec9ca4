#include "bench/pairs.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace varve::bench {

Result<Pairs> measure_pairs(const Measure& value, const Measure& peer, int rounds) {
  VARVE_TRY(value().status());
  VARVE_TRY(peer().status());
  Pairs pairs;
  for (int round = 0; round < rounds; ++round) {
    for (const bool value_first : {true, false}) {
      VARVE_TRY_ASSIGN(const double first, value_first ? value() : peer());
      VARVE_TRY_ASSIGN(const double second, value_first ? peer() : value());
      pairs.value.push_back(value_first ? first : second);
      pairs.peer.push_back(value_first ? second : first);
    }
  }
  return pairs;
}

double quantile(std::vector<double> sample, double part) {
  VARVE_CHECK(!sample.empty());
  std::sort(sample.begin(), sample.end());
  const double place = part * static_cast<double>(sample.size() - 1);
  const size_t below = static_cast<size_t>(std::floor(place));
  const size_t above = std::min(below + 1, sample.size() - 1);
  return sample[below] + (sample[above] - sample[below]) * (place - static_cast<double>(below));
}

double median(const std::vector<double>& sample) {
  return quantile(sample, 0.5);
}

std::vector<double> ratios(const Pairs& pairs) {
  std::vector<double> out;
  for (size_t i = 0; i < pairs.value.size(); ++i) out.push_back(pairs.value[i] / pairs.peer[i]);
  return out;
}

}  // namespace varve::bench
