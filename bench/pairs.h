// Two sides measured in turns, so that what the machine does meanwhile happens to both: A B B A, A
// B B A, ... Neighbours make a pair; a pair's ratio is robust against slow drift, and the median of
// the ratios against a disturbance of a few of them.
#pragma once

#include <functional>
#include <vector>

#include "base/status.h"

namespace varve::bench {

using Measure = std::function<Result<double>()>;

struct Pairs {
  std::vector<double> value;  // of pair i
  std::vector<double> peer;
};

// `rounds` times A B B A: twice as many pairs. One run of each side goes before and is not counted.
Result<Pairs> measure_pairs(const Measure& value, const Measure& peer, int rounds);

// Of a non-empty sample: linear between neighbours, `part` from 0 to 1.
double quantile(std::vector<double> sample, double part);
double median(const std::vector<double>& sample);
// The pairs' value divided by the peer's, each.
std::vector<double> ratios(const Pairs& pairs);

}  // namespace varve::bench
