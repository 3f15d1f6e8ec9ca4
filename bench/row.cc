#include "bench/row.h"

#include <fmt/format.h>

namespace varve::bench {
namespace {

// Four digits that mean something.
std::string digits(double value) {
  return fmt::format("{:.4g}", value);
}
// The same without an exponent, which JSON readers in other tools stumble over.
std::string number(double value) {
  if (value >= 1000) return fmt::format("{:.0f}", value);
  return fmt::format("{:.4f}", value);
}

}  // namespace

const std::vector<Row>& all_rows() {
  static const std::vector<Row> rows = [] {
    std::vector<Row> all;
    for (auto part : {commit_rows, warm_rows, cold_rows})
      for (Row& row : part()) all.push_back(std::move(row));
    return all;
  }();
  return rows;
}

std::string to_json(const Row& row, const RowResult& result) {
  std::string peer = "null", peer_value = "null", ratio = "null";
  if (!result.peer.empty()) {
    peer = fmt::format("\"{}\"", row.peer);
    peer_value = number(median(result.peer));
    ratio = number(median(ratios({result.value, result.peer})));
  }
  return fmt::format(
      R"({{"name": "{}", "value": {}, "unit": "{}", "peer": {}, "peer_value": {}, "ratio": {}, )"
      R"("iqr": [{}, {}], "better": "{}"}})",
      row.name, number(median(result.value)), row.unit, peer, peer_value, ratio,
      number(quantile(result.value, 0.25)), number(quantile(result.value, 0.75)),
      row.higher_is_better ? "higher" : "lower");
}

std::string to_text(const Row& row, const RowResult& result) {
  std::string line =
      fmt::format("{:18} {:>9} {} (quartiles {} to {}, {} runs)", row.name,
                  digits(median(result.value)), row.unit, digits(quantile(result.value, 0.25)),
                  digits(quantile(result.value, 0.75)), result.value.size());
  if (!result.peer.empty()) {
    const std::vector<double> each = ratios({result.value, result.peer});
    line += fmt::format("; {}: {}; ratio {:.3f} ({:.3f} to {:.3f})", row.peer,
                        digits(median(result.peer)), median(each), quantile(each, 0.25),
                        quantile(each, 0.75));
  }
  return line;
}

}  // namespace varve::bench
