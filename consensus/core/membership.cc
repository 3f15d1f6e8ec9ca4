#include "consensus/core/membership.h"

#include <algorithm>

namespace varve::consensus {
namespace {

bool lists(const std::vector<Member>& members, NodeId node) {
  return std::any_of(members.begin(), members.end(),
                     [&](const Member& member) { return member.node == node; });
}

Lsn position_of(const std::vector<Member>& members, const std::function<Lsn(NodeId)>& reached) {
  std::vector<Lsn> positions;
  positions.reserve(members.size());
  for (const Member& member : members) positions.push_back(reached(member.node));
  std::sort(positions.begin(), positions.end());
  // The quorum_size(n) highest all reach at least this one.
  return positions[positions.size() - quorum_size(positions.size())];
}

}  // namespace

bool Membership::contains(NodeId node) const {
  return lists(members, node) || lists(new_members, node);
}

std::vector<Member> Membership::all() const {
  std::vector<Member> everyone = members;
  for (const Member& member : new_members) {
    if (!lists(members, member.node)) everyone.push_back(member);
  }
  return everyone;
}

bool Membership::has_quorum(const std::function<bool(NodeId)>& holds) const {
  // "Holds" is a position of one, "does not" of zero: one rule for both kinds of question.
  return quorum_position([&](NodeId node) { return Lsn(holds(node) ? 1 : 0); }).valid();
}

Lsn Membership::quorum_position(const std::function<Lsn(NodeId)>& reached) const {
  VARVE_CHECK_MSG(!members.empty(), "a quorum of nobody");
  const Lsn position = position_of(members, reached);
  if (new_members.empty()) return position;
  return std::min(position, position_of(new_members, reached));
}

}  // namespace varve::consensus
