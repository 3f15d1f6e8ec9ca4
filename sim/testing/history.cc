#include "sim/testing/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.h"

namespace varve::sim::testing {
namespace {

class Search {
 public:
  explicit Search(const std::vector<Operation>& history) : history_(history) {}

  bool run(uint64_t done, uint64_t value) {
    if (!visited_.emplace(done, value).second) return false;
    int64_t first_end = Operation::kNever;
    for (size_t i = 0; i < history_.size(); ++i) {
      if ((done >> i & 1) == 0) first_end = std::min(first_end, history_[i].ended);
    }
    if (first_end == Operation::kNever) return true;  // only writes of unknown outcome are left
    for (size_t i = 0; i < history_.size(); ++i) {
      const Operation& next = history_[i];
      if ((done >> i & 1) != 0 || next.began > first_end) continue;
      if (!next.is_write && next.value != value) continue;
      if (run(done | uint64_t{1} << i, next.is_write ? next.value : value)) return true;
    }
    return false;
  }

 private:
  const std::vector<Operation>& history_;
  std::set<std::pair<uint64_t, uint64_t>> visited_;
};

}  // namespace

bool is_linearizable(std::vector<Operation> history) {
  std::erase_if(history,
                [](const Operation& o) { return !o.is_write && o.ended == Operation::kNever; });
  VARVE_CHECK(history.size() <= 64);
  return Search(history).run(0, 0);
}

std::string to_string(const std::vector<Operation>& history) {
  std::string text;
  for (const Operation& o : history) {
    text += fmt::format("{:>10} us .. {:>10} us  {} {}\n", o.began / 1000,
                        o.ended == Operation::kNever ? "never" : std::to_string(o.ended / 1000),
                        o.is_write ? "write" : "read ", o.value);
  }
  return text;
}

}  // namespace varve::sim::testing
