// What happened in the protocol, for oracles and traces. Production passes no observer.
#pragma once

#include <variant>

#include "base/ids.h"
#include "base/lsn.h"
#include "consensus/core/term_history.h"

namespace varve::consensus {

// An acceptor promised this term; the promise is durable.
struct VoteGranted {
  NodeId node;
  Term term;
  Lsn flush;
  Term last_log_term;
};
// An acceptor's log was cut, on behalf of the proposer of `term`.
struct LogTruncated {
  NodeId node;
  Term term;
  Lsn from;  // end of the durable log before
  Lsn to;
};
// Everything below `flush` is durable at this acceptor; also told when a log is loaded, which may
// hold more than the last life came to tell.
struct LogFlushed {
  NodeId node;
  Term term;
  Lsn flush;
};
// An acceptor learnt that everything below is committed.
struct CommitLearnt {
  NodeId node;
  Term term;
  Lsn commit;
};
// A proposer won its election.
struct ProposerWon {
  Term term;
  Lsn start;
  NodeId donor;
  TermHistory history;
};
// A proposer saw a quorum hold everything below.
struct CommitAdvanced {
  Term term;
  Lsn commit;
};
// A member acknowledged less than it had before in the same term: it lost durable data.
struct AcknowledgementShrank {
  NodeId node;
  Term term;
  Lsn before;
  Lsn now;
};

using ProtocolEvent = std::variant<VoteGranted, LogTruncated, LogFlushed, CommitLearnt, ProposerWon,
                                   CommitAdvanced, AcknowledgementShrank>;

class ProtocolObserver {
 public:
  virtual ~ProtocolObserver() = default;
  // Called in the middle of a step: must not touch the core, never suspends.
  virtual void on(const ProtocolEvent& event) = 0;
};

}  // namespace varve::consensus
