#include "consensus/client/rows.h"

#include "proto/safekeeper.pb.h"

namespace varve::consensus {
namespace {

using MemberRows = google::protobuf::RepeatedPtrField<proto::MemberRow>;

void put_members(const std::vector<Member>& members, MemberRows& rows) {
  for (const Member& member : members) {
    proto::MemberRow* row = rows.Add();
    row->set_node(member.node.value);
    row->set_host(member.host);
    row->set_port(member.port);
  }
}

Result<std::vector<Member>> get_members(const MemberRows& rows) {
  std::vector<Member> members;
  for (const auto& row : rows) {
    if (row.port() > UINT16_MAX) {
      return Status(Code::kInvalid,
                    "a member's port is " + std::to_string(row.port()) + ", which is none");
    }
    members.push_back({NodeId(row.node()), row.host(), static_cast<uint16_t>(row.port())});
  }
  return members;
}

}  // namespace

void put_membership(const Membership& membership, proto::MembershipRow& row) {
  row.set_generation(static_cast<uint32_t>(membership.generation.value));
  put_members(membership.members, *row.mutable_members());
  put_members(membership.new_members, *row.mutable_new_members());
}

Result<Membership> get_membership(const proto::MembershipRow& row) {
  Membership membership;
  membership.generation = Configuration(row.generation());
  VARVE_TRY_ASSIGN(membership.members, get_members(row.members()));
  VARVE_TRY_ASSIGN(membership.new_members, get_members(row.new_members()));
  return membership;
}

void put_history(const TermHistory& history, TermStartRows& rows) {
  for (const TermStart& entry : history.entries()) {
    proto::TermStartRow* row = rows.Add();
    row->set_term(entry.term.value);
    row->set_start(entry.start.value);
  }
}

Result<TermHistory> get_history(const TermStartRows& rows) {
  std::vector<TermStart> entries;
  for (const auto& row : rows) entries.push_back({Term(row.term()), Lsn(row.start())});
  if (!TermHistory::well_formed(entries)) {
    return Status(Code::kInvalid, "a term history is out of order");
  }
  return TermHistory(std::move(entries));
}

}  // namespace varve::consensus
