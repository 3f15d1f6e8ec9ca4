#include "consensus/proposer/front.h"

#include <algorithm>
#include <tuple>

namespace varve::consensus {

std::vector<NodeId> choose_front(const Membership& membership, std::vector<Runner> runners) {
  const auto rank = [](const Runner& runner) {
    const int64_t pace = runner.pace.nanoseconds;
    return std::tuple(runner.far_behind, runner.in_front ? pace - pace / 4 : pace, runner.node);
  };
  std::sort(runners.begin(), runners.end(),
            [&](const Runner& a, const Runner& b) { return rank(a) < rank(b); });
  std::vector<NodeId> front;
  bool feeding = false;  // then nobody can be spared
  const auto complete = [&] {
    return membership.has_quorum(
        [&](NodeId node) { return std::find(front.begin(), front.end(), node) != front.end(); });
  };
  for (const Runner& runner : runners) {
    if (complete() && !feeding) break;
    feeding |= runner.far_behind;
    front.push_back(runner.node);
  }
  return front;
}

}  // namespace varve::consensus
