#include "consensus/core/acceptor.h"

#include <algorithm>

namespace varve::consensus {

AcceptorState AcceptorState::create(TenantTimelineId id, NodeId node, Membership membership,
                                    ServerInfo server, Lsn start) {
  AcceptorState state;
  state.id = id;
  state.node = node;
  state.membership = std::move(membership);
  state.server = server;
  state.history = TermHistory({{Term(0), start}});
  state.timeline_start = start;
  state.local_start = start;
  state.flush = start;
  state.commit = start;
  state.backup = start;
  state.truncate = start;
  state.remote_consistent = start;
  return state;
}

const char* refusal_message(Refusal refusal) {
  switch (refusal) {
    case Refusal::kOtherTimeline:
      return "this connection is for another timeline";
    case Refusal::kOtherServer:
      return "the timeline has another Postgres major version or segment size";
    case Refusal::kNotAMember:
      return "the proposer's membership does not list this safekeeper";
    case Refusal::kGreetingFirst:
      return "a conversation begins with a greeting";
    case Refusal::kOtherGeneration:
      return "the message belongs to another membership generation";
    case Refusal::kNotElected:
      return "append before this proposer was elected here";
    case Refusal::kOtherConnection:
      return "this proposer has a newer connection";
    case Refusal::kNotAtWritePosition:
      return "append does not begin at the write position";
    case Refusal::kStartMismatch:
      return "streaming would not start where the histories part; reconnect";
    case Refusal::kBelowCommit:
      return "refusing to cut committed WAL";
    case Refusal::kMalformed:
      return "malformed message";
  }
  VARVE_UNREACHABLE("no such refusal");
}

Acceptor::Acceptor(AcceptorState state, Lsn flush, Rules rules)
    : state_(std::move(state)),
      rules_(rules),
      flush_(flush),
      write_(flush),
      record_end_(flush),
      commit_(state_.commit),
      truncate_(state_.truncate) {
  VARVE_CHECK_MSG(flush_ >= state_.flush, "the log ends below what its control file vouches for");
  VARVE_CHECK_MSG(commit_ <= flush_, "committed WAL is missing");
}

void Acceptor::step(const AcceptorInput& input, std::vector<AcceptorEffect>& effects,
                    ProtocolObserver* observer) {
  Step step{effects, observer};
  if (const auto* message = std::get_if<MessageIn>(&input)) {
    on_message(*message, step);
  } else if (const auto* gone = std::get_if<Disconnected>(&input)) {
    on_disconnected(*gone);
  } else if (const auto* done = std::get_if<EffectDone>(&input)) {
    on_done(*done, step);
  } else if (std::holds_alternative<SaveState>(input)) {
    if (dirty()) persist(step);
  } else if (const auto* membership = std::get_if<SwitchMembership>(&input)) {
    on_membership(*membership, step);
  } else if (const auto* bump = std::get_if<BumpTerm>(&input)) {
    on_bump(*bump, step);
  } else if (const auto* progress = std::get_if<Progress>(&input)) {
    on_progress(*progress);
  }
  VARVE_CHECK(commit_ <= flush_ && flush_ <= record_end_ && record_end_ <= write_);
}

void Acceptor::on_message(const MessageIn& input, Step& step) {
  if (const auto* greeting = std::get_if<ProposerGreeting>(&input.message)) {
    return on_greeting(input.from, *greeting, step);
  }
  if (!greeted(input.from)) return refuse(input.from, Refusal::kGreetingFirst, step);
  if (const auto* vote = std::get_if<VoteRequest>(&input.message)) {
    on_vote_request(input.from, *vote, step);
  } else if (const auto* elected = std::get_if<ProposerElected>(&input.message)) {
    on_elected(input.from, *elected, step);
  } else if (const auto* append = std::get_if<AppendRequest>(&input.message)) {
    on_append(input.from, *append, step);
  }
}

// ---- greeting

std::optional<Refusal> Acceptor::check_greeting(const ProposerGreeting& m) const {
  if (m.id != state_.id) return Refusal::kOtherTimeline;
  const bool same_segments = m.server.segment_size == state_.server.segment_size;
  if (m.server.major() != state_.server.major() || !same_segments) return Refusal::kOtherServer;
  if (m.membership.generation > state_.membership.generation) {
    return check_membership(m.membership);
  }
  return std::nullopt;
}

void Acceptor::on_greeting(ConnectionId from, const ProposerGreeting& m, Step& step) {
  if (const auto refusal = check_greeting(m)) return refuse(from, *refusal, step);
  if (!greeted(from)) {
    greeted_.insert(std::upper_bound(greeted_.begin(), greeted_.end(), from), from);
  }
  bool changed = false;
  if (m.membership.generation > state_.membership.generation) {
    state_.membership = m.membership;
    changed = true;
  }
  if (m.server.system_id != 0 && m.server.system_id != state_.server.system_id) {
    state_.server.system_id = m.server.system_id;
    changed = true;
  }
  if (changed) persist(step);
  // A term that is told is a durable one.
  const EffectNumber after = outstanding_.empty() ? 0 : outstanding_.back().number;
  const Parked reply{after, from, ReplyKind::kGreeting, Term()};
  if (after == 0) return send(reply, step);
  parked_.push_back(reply);
}

// ---- vote

void Acceptor::on_vote_request(ConnectionId from, const VoteRequest& m, Step& step) {
  if (m.generation != state_.membership.generation) {
    return refuse(from, Refusal::kOtherGeneration, step);
  }
  const bool grant = state_.term < m.term;
  if (grant) raise_term(m.term);
  // The term's proposer asks on a new connection: what still arrives on its old one must not move
  // the end of the log between this answer and the cut that follows it.
  if (m.term == state_.term && leader_ != from) leader_.reset();
  if (unsynced_) {
    disk(step, DiskKind::kSync, SyncEffect{});
    unsynced_ = false;
  }
  EffectNumber after = outstanding_.empty() ? 0 : outstanding_.back().number;
  if (grant) after = persist(step);
  const Parked reply{after, from, ReplyKind::kVote, grant ? m.term : Term()};
  if (after == 0 || rules_.vote_before_durable) return send(reply, step);
  parked_.push_back(reply);
}

// ---- elected

std::optional<Refusal> Acceptor::check_elected(const ProposerElected& m) const {
  if (m.generation != state_.membership.generation) return Refusal::kOtherGeneration;
  if (m.history.empty() || m.history.last().term != m.term) return Refusal::kMalformed;
  const auto common = highest_common_point(m.history, state_.history.up_to(flush_), flush_);
  if (!common) return Refusal::kMalformed;
  if (rules_.no_divergence_cut) return std::nullopt;
  if (*common != m.start || m.start > flush_) return Refusal::kStartMismatch;
  if (m.start < commit_) return Refusal::kBelowCommit;
  return std::nullopt;
}

void Acceptor::on_elected(ConnectionId from, const ProposerElected& m, Step& step) {
  if (m.term < state_.term) return;  // a newer proposer exists; this one learns it from its appends
  if (const auto refusal = check_elected(m)) return refuse(from, *refusal, step);
  const Lsn at = std::min(m.start, flush_);
  const Lsn before = flush_;
  const bool adopt = m.term > state_.term;
  if (adopt) raise_term(m.term);
  flush_ = at;
  // The control file must not vouch for what is about to be cut.
  if (adopt || at < state_.flush) persist(step);
  cut(at, step);
  state_.history = m.history;
  state_.timeline_start = m.history.entries().front().start;
  if (!state_.local_start.valid()) state_.local_start = m.start;
  commit_ = std::max(commit_, std::min(state_.timeline_start, flush_));
  state_.backup = std::max(state_.backup, state_.timeline_start);
  state_.remote_consistent = std::max(state_.remote_consistent, state_.timeline_start);
  persist(step);
  leader_ = from;
  told_commit_ = Lsn();
  if (step.observer != nullptr) {
    step.observer->on(LogTruncated{state_.node, m.term, before, at});
  }
}

void Acceptor::cut(Lsn at, Step& step) {
  for (Outstanding& effect : outstanding_) {
    if (effect.kind == DiskKind::kWrite) effect.kind = DiskKind::kWriteVoid;
  }
  disk(step, DiskKind::kTruncate, TruncateEffect{at});
  flush_ = write_ = record_end_ = at;
  unsynced_ = false;
}

// ---- append

std::optional<Refusal> Acceptor::check_append(ConnectionId from, const AppendRequest& m) const {
  if (m.generation != state_.membership.generation) return Refusal::kOtherGeneration;
  if (m.end < m.begin) return Refusal::kMalformed;
  if (m.term < state_.term) return std::nullopt;
  if (m.term > state_.term) return Refusal::kNotElected;
  if (!leader_) return Refusal::kNotElected;
  if (*leader_ != from) return Refusal::kOtherConnection;
  if (m.begin != write_) return Refusal::kNotAtWritePosition;
  return std::nullopt;
}

bool Acceptor::accepts(ConnectionId from, const AppendRequest& m) const {
  return m.term == state_.term && m.end > m.begin && greeted(from) && !check_append(from, m);
}

void Acceptor::on_append(ConnectionId from, const AppendRequest& m, Step& step) {
  if (const auto refusal = check_append(from, m)) return refuse(from, *refusal, step);
  if (m.term < state_.term) {
    AppendResponse stale;
    stale.term = state_.term;
    step.effects.push_back({0, SendEffect{from, AcceptorMessage(stale)}});
    return;
  }
  told_commit_ = std::max(told_commit_, m.commit);
  truncate_ = std::max(truncate_, std::min(m.truncate, flush_));
  if (m.end > m.begin) {
    disk(step, DiskKind::kWrite, WriteEffect{m.begin, m.end});
    write_ = m.end;
    unsynced_ = true;
    sync_if_needed(step);
  }
  learn_commit(step);
  // Bytes are answered when they are durable; a heartbeat at once.
  if (m.end == m.begin || rules_.acknowledge_before_sync) reply_append(step);
}

void Acceptor::sync_if_needed(Step& step) {
  const bool syncing =
      std::any_of(outstanding_.begin(), outstanding_.end(),
                  [](const auto& effect) { return effect.kind == DiskKind::kSync; });
  // One at a time: what is written meanwhile shares the next.
  if (!unsynced_ || syncing) return;
  disk(step, DiskKind::kSync, SyncEffect{});
  unsynced_ = false;
}

void Acceptor::learn_commit(Step& step) {
  const Lsn commit = std::max(commit_, std::min(told_commit_, flush_));
  if (commit == commit_) return;
  commit_ = commit;
  if (step.observer != nullptr) step.observer->on(CommitLearnt{state_.node, state_.term, commit_});
  const Lsn term_start = state_.history.empty() ? Lsn() : state_.history.last().start;
  if (state_.commit < term_start && commit_ >= term_start) persist(step);
}

void Acceptor::reply_append(Step& step) {
  if (!leader_) return;
  // Behind a persist that learn_commit has asked for, else at once.
  EffectNumber after = 0;
  for (const Outstanding& effect : outstanding_) {
    if (effect.kind == DiskKind::kPersist) after = effect.number;
  }
  const Parked reply{after, *leader_, ReplyKind::kAppend, state_.term};
  if (after == 0) return send(reply, step);
  for (const Parked& parked : parked_) {
    if (parked == reply) return;
  }
  parked_.push_back(reply);
}

// ---- the rest

void Acceptor::on_disconnected(const Disconnected& input) {
  std::erase(greeted_, input.connection);
  std::erase_if(parked_, [&](const Parked& reply) { return reply.to == input.connection; });
  if (leader_ == input.connection) leader_.reset();
}

void Acceptor::on_done(const EffectDone& input, Step& step) {
  VARVE_CHECK_MSG(!outstanding_.empty() && outstanding_.front().number == input.number,
                  "disk effects are reported in their order");
  const DiskKind kind = outstanding_.front().kind;
  outstanding_.erase(outstanding_.begin());
  switch (kind) {
    case DiskKind::kPersist:
    case DiskKind::kTruncate:
    case DiskKind::kWriteVoid:
      break;
    case DiskKind::kWrite:
      VARVE_CHECK_MSG(input.record_end >= record_end_ && input.record_end <= write_,
                      "a complete record ends within what was written");
      record_end_ = input.record_end;
      break;
    case DiskKind::kSync:
      // Writes are reported before the sync that covers them, and none behind it yet.
      flush_ = std::max(flush_, record_end_);
      if (step.observer != nullptr) step.observer->on(LogFlushed{state_.node, state_.term, flush_});
      learn_commit(step);
      sync_if_needed(step);
      reply_append(step);
      break;
  }
  std::vector<Parked> waiting = std::move(parked_);
  parked_.clear();
  for (const Parked& reply : waiting) {
    if (reply.after > input.number) {
      parked_.push_back(reply);
    } else {
      send(reply, step);
    }
  }
}

void Acceptor::send(const Parked& reply, Step& step) {
  const Configuration generation = state_.membership.generation;
  switch (reply.kind) {
    case ReplyKind::kGreeting: {
      AcceptorGreeting m{state_.node, state_.membership, state_.term};
      step.effects.push_back({0, SendEffect{reply.to, AcceptorMessage(std::move(m))}});
      return;
    }
    case ReplyKind::kVote: {
      VoteResponse m;
      m.generation = generation;
      m.term = state_.term;
      // Lost to a newer proposer while it waited: no vote.
      m.granted = reply.term.value != 0 && reply.term == state_.term;
      m.flush = std::max(flush_, state_.timeline_start);
      m.truncate = truncate_;
      m.history = state_.history.up_to(flush_);
      if (m.granted && step.observer != nullptr) {
        step.observer->on(VoteGranted{state_.node, m.term, m.flush, last_log_term()});
      }
      step.effects.push_back({0, SendEffect{reply.to, AcceptorMessage(std::move(m))}});
      return;
    }
    case ReplyKind::kAppend: {
      if (reply.term != state_.term || leader_ != reply.to) return;
      AppendResponse m;
      m.generation = generation;
      m.term = state_.term;
      m.flush = rules_.acknowledge_before_sync ? write_ : flush_;
      m.commit = commit_;
      step.effects.push_back({0, SendEffect{reply.to, AcceptorMessage(m)}});
      return;
    }
  }
}

void Acceptor::on_membership(const SwitchMembership& input, Step& step) {
  if (check_membership(input.membership)) return;
  state_.membership = input.membership;
  persist(step);
}

std::optional<Refusal> Acceptor::check_membership(const Membership& membership) const {
  if (membership.generation <= state_.membership.generation) return Refusal::kOtherGeneration;
  if (!membership.contains(state_.node)) return Refusal::kNotAMember;
  return std::nullopt;
}

void Acceptor::on_bump(const BumpTerm& input, Step& step) {
  if (input.term <= state_.term) return;
  raise_term(input.term);
  persist(step);
}

void Acceptor::raise_term(Term term) {
  VARVE_CHECK(term > state_.term);
  state_.term = term;
  leader_.reset();
  told_commit_ = Lsn();
}

void Acceptor::on_progress(const Progress& input) {
  const Lsn backup = std::max(state_.backup, input.backup);
  const Lsn remote = std::max(state_.remote_consistent, input.remote_consistent);
  if (backup == state_.backup && remote == state_.remote_consistent) return;
  state_.backup = backup;
  state_.remote_consistent = remote;
  progress_unsaved_ = true;
}

bool Acceptor::dirty() const {
  return progress_unsaved_ || state_.commit != commit_ || state_.truncate != truncate_ ||
         state_.flush != flush_;
}

EffectNumber Acceptor::persist(Step& step) {
  // Only what is durable now may be vouched for; what is unsynced at this moment is not in flush_.
  state_.commit = commit_;
  state_.truncate = truncate_;
  state_.flush = flush_;
  progress_unsaved_ = false;
  return disk(step, DiskKind::kPersist, PersistEffect{state_});
}

EffectNumber Acceptor::disk(Step& step, DiskKind kind, decltype(AcceptorEffect::what) what) {
  const EffectNumber number = next_effect_++;
  outstanding_.push_back({number, kind});
  step.effects.push_back({number, std::move(what)});
  return number;
}

void Acceptor::refuse(ConnectionId to, Refusal reason, Step& step) const {
  step.effects.push_back({0, RefuseEffect{to, reason}});
}

bool Acceptor::greeted(ConnectionId connection) const {
  return std::binary_search(greeted_.begin(), greeted_.end(), connection);
}

void AcceptorState::encode(Writer& writer, const View& view) const {
  writer.bytes(id.tenant.bytes);
  writer.bytes(id.timeline.bytes);
  writer.le(view.node(node).value);
  writer.le(membership.generation.value);
  encode_members(writer, membership.members, view);
  encode_members(writer, membership.new_members, view);
  writer.le(server.postgres_version);
  writer.le(server.system_id);
  writer.le(server.segment_size);
  writer.le(term.value);
  encode_history(writer, history);
  for (Lsn lsn : {timeline_start, local_start, commit}) writer.le(lsn.value);
  if (view.vouching()) writer.le(flush.value);
  if (!view.bookkeeping()) return;
  for (Lsn lsn : {backup, truncate, remote_consistent}) writer.le(lsn.value);
}

void Acceptor::encode(Writer& writer, const View& view) const {
  state_.encode(writer, view);
  for (Lsn lsn : {flush_, write_, record_end_, commit_, told_commit_}) writer.le(lsn.value);
  writer.u8(unsynced_);
  if (view.bookkeeping()) {
    writer.le(truncate_.value);
    writer.u8(progress_unsaved_);
  }
  writer.le(leader_ ? view.connection(*leader_).value + 1 : 0);
  std::vector<ConnectionId> greeted;
  for (ConnectionId connection : greeted_) greeted.push_back(view.connection(connection));
  std::sort(greeted.begin(), greeted.end());
  writer.le(static_cast<uint32_t>(greeted.size()));
  for (ConnectionId connection : greeted) writer.le(connection.value);
  // Numbers relative to the next one: two states that differ only in how much has gone by are one.
  writer.le(static_cast<uint32_t>(parked_.size()));
  for (const Parked& reply : parked_) {
    writer.le(next_effect_ - reply.after);
    writer.le(view.connection(reply.to).value);
    writer.u8(static_cast<uint8_t>(reply.kind));
    writer.le(reply.term.value);
  }
  writer.le(static_cast<uint32_t>(outstanding_.size()));
  for (const Outstanding& effect : outstanding_) {
    writer.le(next_effect_ - effect.number);
    writer.u8(static_cast<uint8_t>(effect.kind));
  }
}

}  // namespace varve::consensus
