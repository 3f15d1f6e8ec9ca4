// A core's state as bytes, for hashing, comparing and exploring. Not a file format: it may change
// with every build.
#pragma once

#include "base/codec.h"
#include "base/ids.h"
#include "consensus/core/membership.h"
#include "consensus/core/term_history.h"

namespace varve::consensus {

// One accepted connection of a proposer; never used again while its timeline is loaded.
struct ConnectionId {
  uint64_t value = 0;
  constexpr auto operator<=>(const ConnectionId&) const = default;
};

// How a state is looked at. States that differ by names alone encode equally under the right
// renaming, and states that differ only in what no decision depends on (how far everybody is known
// to be, who the donor was) encode equally without it. This one keeps everything.
class View {
 public:
  virtual ~View() = default;
  virtual NodeId node(NodeId node) const { return node; }
  virtual ConnectionId connection(ConnectionId connection) const { return connection; }
  virtual bool bookkeeping() const { return true; }
  // Whether to tell apart how much of its log an acceptor's control file vouches for.
  virtual bool vouching() const { return true; }
};

void encode_history(Writer& writer, const TermHistory& history);
// Members in the order of their new names.
void encode_members(Writer& writer, const std::vector<Member>& members, const View& view);

}  // namespace varve::consensus
