// Memberships and histories as they stand in Protobuf messages: in the control file and in what
// control asks.
#pragma once

#include "base/status.h"
#include "consensus/core/membership.h"
#include "consensus/core/term_history.h"

namespace google::protobuf {
template <class T>
class RepeatedPtrField;
}

namespace varve::proto {
class MembershipRow;
class TermStartRow;
}  // namespace varve::proto

namespace varve::consensus {

void put_membership(const Membership& membership, proto::MembershipRow& row);
// Invalid names a port that is none.
Result<Membership> get_membership(const proto::MembershipRow& row);

using TermStartRows = google::protobuf::RepeatedPtrField<proto::TermStartRow>;
void put_history(const TermHistory& history, TermStartRows& rows);
// Invalid when it is out of order.
Result<TermHistory> get_history(const TermStartRows& rows);

}  // namespace varve::consensus
