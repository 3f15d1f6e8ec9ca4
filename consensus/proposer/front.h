// Which members a proposer sends WAL at once.
//
// A commit needs a quorum, so a quorum is sent everything at once: the front, its fastest members.
// The rest are sent the same WAL a moment later and more of it in one piece, as long as the front
// answers within that moment: each commit then costs one member less of everybody's messages,
// wake-ups and syncs, and where members share a machine or a disk it does not wait behind them.
//
// What is committed does not depend on it: a commit is counted from acknowledgements alone. Pure.
#pragma once

#include <vector>

#include "base/time.h"
#include "consensus/core/membership.h"

namespace varve::consensus {

// What is known of a member that takes appends.
struct Runner {
  NodeId node;
  bool in_front = false;  // until now
  // Lacks so much that it has to be fed before its answers say anything about a commit.
  bool far_behind = false;
  // How long its answers take; of one that owes an answer, at least how long it has owed it.
  Duration pace;
};

// The nodes of the new front, in no order: the fastest runners that make a quorum of `membership`.
// A member is overtaken only by one that is a quarter faster, so that the front stays while members
// are alike. All runners, when those that keep up are no quorum: then everybody is needed.
std::vector<NodeId> choose_front(const Membership& membership, std::vector<Runner> runners);

}  // namespace varve::consensus
