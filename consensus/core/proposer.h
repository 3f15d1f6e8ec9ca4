// The part of a compute that gets its WAL agreed on: pure, a regular value, no clock, no bytes of
// WAL.
//
// A proposer owns no log when it starts; it learns the log from its voters. It wins at most one
// election in its life: a refused vote, a higher term, another membership or its owner's word
// closes it for ever, and a new one is made. It needs no disk, since everything that must outlive
// it is at the acceptors.
//
// Inputs come one at a time through step(). What a member is sent next is pulled: the driver asks
// next_append() when that member's connection has room, gets a header, finds the bytes
// (source_of()) and sends both. So the core never queues and back-pressure is the connection's own.
//
// Rules that carry safety:
//   - the term is one above the highest that a quorum told;
//   - the donor is the voter with the greatest (last log term, flush); the term starts at its
//     flush, and its history plus (term, start) is the history of this term;
//   - a position is committed when a quorum has acknowledged it in this term and it is not below
//     the term's start: a member whose acknowledged end is below that start counts as having
//     nothing. So nothing of an older term is ever committed by counting its copies;
//   - in a joint membership every quorum is needed in both sets;
//   - a member is first cut to the highest common point of both histories, on every connection.
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "base/codec.h"
#include "consensus/core/events.h"
#include "consensus/core/message.h"
#include "consensus/core/rules.h"
#include "consensus/core/state_encoding.h"

namespace varve::consensus {

enum class ProposerPhase : uint8_t {
  kCollecting,  // greetings, until a quorum has told its term
  kCampaign,    // votes
  kElected,
  kClosed,  // for ever
};

enum class CloseReason : uint8_t {
  kHigherTerm,       // another proposer exists
  kVoteRefused,      // somebody else asked for this term, or an earlier life of this one
  kOtherGeneration,  // the membership changed under a running campaign
  kNoStart,          // no voter knows where the log begins
  kStopped,          // by its owner
};
const char* close_reason_message(CloseReason reason);

struct ProposerConfig {
  TenantTimelineId id;
  Membership membership;  // not empty
  ServerInfo server;
  bool operator==(const ProposerConfig&) const = default;
};

struct MemberConnected {
  NodeId node;
};
struct MemberDisconnected {
  NodeId node;
};
struct MemberMessage {
  NodeId from;
  AcceptorMessage message;
};
// The owner has complete records up to here. Invariant: elected, not below the previous one.
struct WalAvailable {
  Lsn end;
};
// Owe every streaming member a message, be it an empty one.
struct Heartbeat {};
// The owner ends this proposer.
struct StopProposer {};

using ProposerInput = std::variant<MemberConnected, MemberDisconnected, MemberMessage, WalAvailable,
                                   Heartbeat, StopProposer>;

struct SendToMember {
  NodeId to;
  ProposerMessage message;  // never an append; those are pulled
};
// The conversation with this member failed; connect again after a pause.
struct DropMember {
  NodeId node;
  const char* why;
};
// There are other members than before; connect to those that are new.
struct MembershipAdopted {
  Membership membership;
};
struct WonElection {
  Term term;
  Lsn start;     // L: the end of the quorum's log, where this term begins
  NodeId donor;  // holds everything below
};
struct Committed {
  Lsn lsn;
};
struct Closed {
  CloseReason reason;
  Term term;  // the higher one, if that was the reason
};

using ProposerEffect =
    std::variant<SendToMember, DropMember, MembershipAdopted, WonElection, Committed, Closed>;

// What the proposer knows of one member.
struct MemberState {
  enum class Link : uint8_t {
    kOffline,
    kGreeting,   // greeting sent
    kIdle,       // greeted; waits for the campaign
    kVoting,     // vote requested
    kWaiting,    // voted; waits for the election to be won
    kStreaming,  // elected sent; takes appends
  };
  struct Vote {
    Lsn flush;
    Lsn truncate;
    TermHistory history;
    bool operator==(const Vote&) const = default;
  };

  Member member;
  Link link = Link::kOffline;
  // collecting: the term it told; survives disconnection, as it only rises
  std::optional<Term> greeted;
  std::optional<Vote> granted;  // campaign: its vote; a durable promise, so it survives too
  Lsn sent;                     // streaming: the next append begins here
  Lsn flush;                    // acknowledged in this term: durable there
  Lsn commit;                   // what it last said it knows
  Lsn sent_commit;
  bool owed = false;  // a message even if there is nothing to say

  bool operator==(const MemberState&) const = default;
};

// Where the bytes of an append come from.
struct AppendSource {
  bool local = false;           // at or above the term's start: the owner's own log
  std::vector<NodeId> holders;  // else: members that certainly hold them, best first
};

class Proposer {
 public:
  explicit Proposer(ProposerConfig config, Rules rules = {});

  void step(const ProposerInput& input, std::vector<ProposerEffect>& effects,
            ProtocolObserver* observer = nullptr);

  // Whether next_append() would answer something.
  bool has_append(NodeId node) const;
  // Whether that would carry nothing but a newer commit position, which can wait for company.
  bool only_commit_is_new(NodeId node) const;
  // Whether it is owed a message whatever there is to say.
  bool owes(NodeId node) const;
  // Bytes that it was not sent yet.
  uint64_t unsent(NodeId node) const;
  // The next append for a streaming member, at most `limit` bytes (<= kMaxAppendBytes) and never
  // across the term's start; counts as sent. Nothing when the member has all and is owed nothing.
  std::optional<AppendRequest> next_append(NodeId node, uint64_t limit = kMaxAppendBytes);
  // For a range that next_append() gave.
  AppendSource source_of(NodeId to, Lsn begin) const;

  ProposerPhase phase() const { return phase_; }
  Term term() const { return term_; }
  Lsn term_start() const { return term_start_; }
  NodeId donor() const { return donor_; }
  Lsn available() const { return available_; }
  // Committed in this term; zero until a quorum has reached the term's start.
  Lsn commit() const { return commit_; }
  Lsn truncate() const { return truncate_; }
  const TermHistory& history() const { return history_; }
  const Membership& membership() const { return config_.membership; }
  const std::vector<MemberState>& members() const { return members_; }

  bool operator==(const Proposer&) const = default;
  // For hashing and comparing; `view` lets an explorer treat states that differ by names alone as
  // one.
  void encode(Writer& writer, const View& view = {}) const;

 private:
  struct Step {
    std::vector<ProposerEffect>& effects;
    ProtocolObserver* observer;
  };

  void on_connected(NodeId node, Step& step);
  void on_greeting(MemberState& member, const AcceptorGreeting& m, Step& step);
  void on_vote(MemberState& member, const VoteResponse& m, Step& step);
  void on_append_response(MemberState& member, const AppendResponse& m, Step& step);
  void adopt(const Membership& membership, Step& step);
  void campaign(Step& step);
  void request_vote(MemberState& member, Step& step);
  void win(Step& step);
  void elect(MemberState& member, const MemberState::Vote& vote, Step& step);
  void recompute_commit(Step& step);
  void close(CloseReason reason, Term term, Step& step);
  void drop(MemberState& member, const char* why, Step& step);
  static void offline(MemberState& member);
  bool quorum(bool (*holds)(const MemberState&)) const;
  Lsn counted(const MemberState& member) const;
  MemberState* find(NodeId node);
  const MemberState* find(NodeId node) const;

  ProposerConfig config_;
  Rules rules_;
  ProposerPhase phase_ = ProposerPhase::kCollecting;
  Term term_;
  TermHistory history_;
  Lsn term_start_;
  NodeId donor_;
  Lsn available_;
  Lsn commit_;
  Lsn truncate_;
  std::vector<MemberState> members_;
};

}  // namespace varve::consensus
