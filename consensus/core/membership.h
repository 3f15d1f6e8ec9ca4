// Who the members of a timeline are, and what a quorum of them is.
//
// A membership is numbered; equal numbers mean equal memberships, everywhere. While a change is
// under way it is joint: it has a second member set, and whatever needs a quorum needs one in each.
#pragma once

#include <compare>
#include <functional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"

namespace varve::consensus {

struct Member {
  NodeId node;
  std::string host;
  uint16_t port = 0;
  auto operator<=>(const Member&) const = default;
};

struct Membership {
  Configuration generation;         // 32 bits on the wire
  std::vector<Member> members;      // empty only with generation 0: "not told yet"
  std::vector<Member> new_members;  // not empty: joint

  bool operator==(const Membership&) const = default;
  bool contains(NodeId node) const;
  // Every member of either set once, in the order of first appearance.
  std::vector<Member> all() const;

  // Whether the nodes for which `holds` is true are a quorum of each set.
  bool has_quorum(const std::function<bool(NodeId)>& holds) const;
  // The greatest position that a quorum of each set has reached, where `reached` tells a node's.
  Lsn quorum_position(const std::function<Lsn(NodeId)>& reached) const;
};

// How many of `members` make a quorum: more than half.
constexpr size_t quorum_size(size_t members) {
  return members / 2 + 1;
}

}  // namespace varve::consensus
