#include "consensus/proposer/front.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace varve::consensus {
namespace {

Membership members_of(std::vector<uint64_t> nodes, std::vector<uint64_t> joining = {}) {
  Membership membership;
  membership.generation = Configuration(1);
  for (uint64_t node : nodes) membership.members.push_back({NodeId(node), "host", 1});
  for (uint64_t node : joining) membership.new_members.push_back({NodeId(node), "host", 1});
  return membership;
}

Runner runner(uint64_t node, int64_t pace_us, bool in_front = false, bool far_behind = false) {
  return {NodeId(node), in_front, far_behind, Duration::micros(pace_us)};
}

std::vector<uint64_t> front(const Membership& membership, std::vector<Runner> runners) {
  std::vector<uint64_t> nodes;
  for (NodeId node : choose_front(membership, std::move(runners))) nodes.push_back(node.value);
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

using Nodes = std::vector<uint64_t>;

TEST(Front, TheFastestThatMakeAQuorum) {
  const Membership three = members_of({1, 2, 3});
  EXPECT_EQ(front(three, {runner(1, 900), runner(2, 100), runner(3, 200)}), (Nodes{2, 3}));
  EXPECT_EQ(front(members_of({1}), {runner(1, 900)}), (Nodes{1}));
  EXPECT_EQ(front(members_of({1, 2}), {runner(1, 900), runner(2, 1)}), (Nodes{1, 2}));
}

TEST(Front, NodesDecideBetweenEquals) {
  EXPECT_EQ(front(members_of({3, 1, 2}), {runner(3, 5), runner(2, 5), runner(1, 5)}),
            (Nodes{1, 2}));
}

TEST(Front, StaysWhileMembersAreAlike) {
  const Membership three = members_of({1, 2, 3});
  EXPECT_EQ(front(three, {runner(1, 100), runner(2, 100, true), runner(3, 120, true)}),
            (Nodes{2, 3}));
  EXPECT_EQ(front(three, {runner(1, 80), runner(2, 100, true), runner(3, 120, true)}),
            (Nodes{1, 2}));
}

TEST(Front, EverybodyWhenThoseThatKeepUpAreNoQuorum) {
  const Membership three = members_of({1, 2, 3});
  EXPECT_EQ(front(three, {runner(1, 100), runner(2, 100, false, true), runner(3, 90, true, true)}),
            (Nodes{1, 2, 3}));
  EXPECT_EQ(front(three, {runner(1, 100), runner(2, 10, false, true), runner(3, 9000)}),
            (Nodes{1, 3}));
  EXPECT_EQ(front(three, {runner(2, 100)}), (Nodes{2}));
  EXPECT_EQ(front(three, {}), (Nodes{}));
}

TEST(Front, AJointMembershipNeedsAQuorumOfBoth) {
  const Membership joint = members_of({1, 2, 3}, {3, 4, 5});
  EXPECT_EQ(
      front(joint, {runner(1, 10), runner(2, 20), runner(3, 90), runner(4, 30), runner(5, 40)}),
      (Nodes{1, 2, 4, 5}));
}

}  // namespace
}  // namespace varve::consensus
