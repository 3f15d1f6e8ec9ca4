// One timeline's acceptor: the part of a safekeeper that decides. Pure: a regular value, no clock,
// no disk, no bytes of WAL.
//
// The shell feeds inputs, one at a time, and carries out effects. Disk effects (persist, truncate,
// write, sync) carry ascending numbers; the shell carries them out in this order and reports each
// as done, in this order. It may join neighbours into one system call (the writes before a sync and
// the sync are one durable write), and it may crash between any two. Whatever a message promises is
// already done when the core emits it: a Send may leave at once. That makes the crash argument
// local to this class:
//   - a vote leaves after its term was persisted, and that after everything written before was
//     synced;
//   - an acknowledgement of `flush` leaves after a sync that came after those writes;
//   - the reply in which commit first reaches this term's start leaves after the commit position
//     was persisted, so that a proposer may stop then and no restart forgets it;
//   - a log is cut only after the term (and the lowered durable end) was persisted, and the new
//     history only after the cut, so that a history never claims bytes of another term;
//   - after a restart, and on every new connection, nothing is written before the proposer has cut
//     the log.
//
// Facts and reasons: consensus/README.md.
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

// What outlives a crash: the content of the control file.
struct AcceptorState {
  TenantTimelineId id;
  NodeId node;
  Membership membership;
  ServerInfo server;
  Term term;            // highest promised or accepted
  TermHistory history;  // may reach beyond the log that is here
  Lsn timeline_start;   // the branch's first record
  Lsn local_start;      // this member has nothing below
  Lsn flush;     // what the log certainly held when this was written; a scan ending below is a loss
  Lsn commit;    // lazily: the truth may be higher
  Lsn backup;    // in the object store up to here
  Lsn truncate;  // every member has this
  Lsn remote_consistent;  // digested by storage up to here
  bool operator==(const AcceptorState&) const = default;

  // A timeline that begins at `start` and holds nothing yet, or only bytes that precede its first
  // record.
  static AcceptorState create(TenantTimelineId id, NodeId node, Membership membership,
                              ServerInfo server, Lsn start);
  // For hashing and comparing; not a file format.
  void encode(Writer& writer, const View& view = {}) const;
};

// Why a connection is refused. The shell closes it with refusal_message().
enum class Refusal : uint8_t {
  kOtherTimeline,
  kOtherServer,  // major version or segment size differ
  kNotAMember,   // the proposer's membership does not list this node
  kGreetingFirst,
  kOtherGeneration,
  kNotElected,       // append or elected in a term this acceptor has not seen, or before elected
  kOtherConnection,  // the term's proposer has a newer connection
  kNotAtWritePosition,
  kStartMismatch,  // elected with another start than the histories give; passes by itself
  kBelowCommit,    // would cut what is committed
  kMalformed,
};
const char* refusal_message(Refusal refusal);

using EffectNumber = uint64_t;

struct PersistEffect {
  AcceptorState state;
  bool operator==(const PersistEffect&) const = default;
};
// Cut the log at `at`, zero its tail, durably, file and directory.
struct TruncateEffect {
  Lsn at;
  bool operator==(const TruncateEffect&) const = default;
};
// Write the WAL that came with the append just stepped. Reported as done with the end of the last
// complete record that the log now holds.
struct WriteEffect {
  Lsn begin;
  Lsn end;
  bool operator==(const WriteEffect&) const = default;
};
// Make all writes before this durable.
struct SyncEffect {
  bool operator==(const SyncEffect&) const = default;
};
struct SendEffect {
  ConnectionId to;
  AcceptorMessage message;  // the shell fills the feedback fields of an AppendResponse
  bool operator==(const SendEffect&) const = default;
};
struct RefuseEffect {
  ConnectionId to;
  Refusal reason;
  bool operator==(const RefuseEffect&) const = default;
};

struct AcceptorEffect {
  EffectNumber number = 0;  // 0: not a disk effect
  std::variant<PersistEffect, TruncateEffect, WriteEffect, SyncEffect, SendEffect, RefuseEffect>
      what;
  bool operator==(const AcceptorEffect&) const = default;
};

struct MessageIn {
  ConnectionId from;
  ProposerMessage message;
};
struct Disconnected {
  ConnectionId connection;
};
// The oldest disk effect that was not yet reported is done.
struct EffectDone {
  EffectNumber number = 0;
  Lsn record_end;  // of a write: end of the last complete record in the log so far; else ignored
};
// Persist what is only in memory, if anything is.
struct SaveState {};
// A membership that the controller installs; ignored unless newer and listing this node.
struct SwitchMembership {
  Membership membership;
};
// Raise the term without a vote (reconfiguration, operators); ignored unless higher.
struct BumpTerm {
  Term term;
};
// Progress reported by storage, backup or peers; positions never move back.
struct Progress {
  Lsn backup;
  Lsn remote_consistent;
};

using AcceptorInput = std::variant<MessageIn, Disconnected, EffectDone, SaveState, SwitchMembership,
                                   BumpTerm, Progress>;

class Acceptor {
 public:
  // From a control file and the end of the last complete record that a scan of the log found, which
  // is durable. Invariant: flush >= state.flush (the shell heals or refuses otherwise).
  Acceptor(AcceptorState state, Lsn flush, Rules rules = {});

  // Handles one input; appends to `effects` in the order they must be carried out.
  void step(const AcceptorInput& input, std::vector<AcceptorEffect>& effects,
            ProtocolObserver* observer = nullptr);

  // As it will be durable once every emitted effect is done.
  const AcceptorState& state() const { return state_; }
  Lsn flush() const { return flush_; }           // durable end of complete records
  Lsn write_position() const { return write_; }  // where the next append must begin
  Lsn commit() const { return commit_; }
  Lsn truncate() const { return truncate_; }
  Term term() const { return state_.term; }
  Term last_log_term() const { return state_.history.last_term(flush_); }
  std::optional<ConnectionId> leader() const { return leader_; }
  // Whether this append would be written: then, and only then, a step with it emits a WriteEffect.
  bool accepts(ConnectionId from, const AppendRequest& m) const;
  EffectNumber last_effect() const { return next_effect_ - 1; }
  // Whether SaveState would persist something.
  bool dirty() const;
  // Why `membership` could not be installed here; nothing when it is newer and lists this node.
  std::optional<Refusal> check_membership(const Membership& membership) const;

  bool operator==(const Acceptor&) const = default;
  void encode(Writer& writer, const View& view = {}) const;

 private:
  enum class DiskKind : uint8_t { kPersist, kTruncate, kWrite, kWriteVoid, kSync };
  struct Outstanding {
    EffectNumber number;
    DiskKind kind;
    bool operator==(const Outstanding&) const = default;
  };
  // A reply that waits for a disk effect. Its content is that of the moment when it leaves.
  enum class ReplyKind : uint8_t { kGreeting, kVote, kAppend };
  struct Parked {
    EffectNumber after;
    ConnectionId to;
    ReplyKind kind;
    Term term;  // that was asked for
    bool operator==(const Parked&) const = default;
  };
  struct Step {
    std::vector<AcceptorEffect>& effects;
    ProtocolObserver* observer;
  };

  void on_message(const MessageIn& input, Step& step);
  void on_greeting(ConnectionId from, const ProposerGreeting& m, Step& step);
  void on_vote_request(ConnectionId from, const VoteRequest& m, Step& step);
  void on_elected(ConnectionId from, const ProposerElected& m, Step& step);
  void on_append(ConnectionId from, const AppendRequest& m, Step& step);
  void on_disconnected(const Disconnected& input);
  void on_done(const EffectDone& input, Step& step);
  void on_membership(const SwitchMembership& input, Step& step);
  void on_bump(const BumpTerm& input, Step& step);
  void on_progress(const Progress& input);

  std::optional<Refusal> check_greeting(const ProposerGreeting& m) const;
  std::optional<Refusal> check_elected(const ProposerElected& m) const;
  std::optional<Refusal> check_append(ConnectionId from, const AppendRequest& m) const;
  void cut(Lsn at, Step& step);
  // Raises commit to what the proposer told and this log holds; persists it when it reaches the
  // term's start.
  void learn_commit(Step& step);
  void sync_if_needed(Step& step);
  void reply_append(Step& step);
  void send(const Parked& reply, Step& step);
  EffectNumber persist(Step& step);
  EffectNumber disk(Step& step, DiskKind kind, decltype(AcceptorEffect::what) what);
  void refuse(ConnectionId to, Refusal reason, Step& step) const;
  bool greeted(ConnectionId connection) const;
  void raise_term(Term term);

  AcceptorState state_;
  Rules rules_;
  Lsn flush_;
  Lsn write_;
  Lsn record_end_;  // of what is written, durable or not
  Lsn commit_;
  Lsn truncate_;
  Lsn told_commit_;        // by the current proposer; may be beyond this log
  bool unsynced_ = false;  // writes were emitted after the last sync
  bool progress_unsaved_ = false;
  // has cut this log in the current term; the only one that may append
  std::optional<ConnectionId> leader_;
  std::vector<ConnectionId> greeted_;  // ascending
  std::vector<Parked> parked_;
  std::vector<Outstanding> outstanding_;
  EffectNumber next_effect_ = 1;
};

}  // namespace varve::consensus
