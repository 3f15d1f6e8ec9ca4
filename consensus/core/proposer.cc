#include "consensus/core/proposer.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "consensus/core/state_encoding.h"

namespace varve::consensus {

using Link = MemberState::Link;

const char* close_reason_message(CloseReason reason) {
  switch (reason) {
    case CloseReason::kHigherTerm:
      return "another compute of this timeline has been elected or is asking";
    case CloseReason::kVoteRefused:
      return "a vote was refused: somebody else asked for the same term";
    case CloseReason::kOtherGeneration:
      return "the membership changed under a running proposer";
    case CloseReason::kNoStart:
      return "no safekeeper knows where the log of this timeline begins";
    case CloseReason::kStopped:
      return "stopped by its owner";
  }
  VARVE_UNREACHABLE("no such reason");
}

Proposer::Proposer(ProposerConfig config, Rules rules) : config_(std::move(config)), rules_(rules) {
  VARVE_CHECK_MSG(!config_.membership.members.empty(), "a proposer needs members");
  for (const Member& member : config_.membership.all()) {
    members_.emplace_back();
    members_.back().member = member;
  }
}

void Proposer::step(const ProposerInput& input, std::vector<ProposerEffect>& effects,
                    ProtocolObserver* observer) {
  Step step{effects, observer};
  if (phase_ == ProposerPhase::kClosed) return;
  if (const auto* connected = std::get_if<MemberConnected>(&input)) {
    on_connected(connected->node, step);
  } else if (const auto* gone = std::get_if<MemberDisconnected>(&input)) {
    if (MemberState* member = find(gone->node)) offline(*member);
  } else if (const auto* in = std::get_if<MemberMessage>(&input)) {
    MemberState* member = find(in->from);
    if (member == nullptr || member->link == Link::kOffline) return;
    if (const auto* greeting = std::get_if<AcceptorGreeting>(&in->message)) {
      on_greeting(*member, *greeting, step);
    } else if (const auto* vote = std::get_if<VoteResponse>(&in->message)) {
      on_vote(*member, *vote, step);
    } else if (const auto* response = std::get_if<AppendResponse>(&in->message)) {
      on_append_response(*member, *response, step);
    }
  } else if (const auto* wal = std::get_if<WalAvailable>(&input)) {
    VARVE_CHECK_MSG(phase_ == ProposerPhase::kElected && wal->end >= available_,
                    "WAL is appended by an elected proposer, and only forward");
    available_ = wal->end;
  } else if (std::holds_alternative<Heartbeat>(input)) {
    for (MemberState& member : members_) member.owed |= member.link == Link::kStreaming;
  } else if (std::holds_alternative<StopProposer>(input)) {
    close(CloseReason::kStopped, Term(), step);
  }
}

void Proposer::on_connected(NodeId node, Step& step) {
  MemberState* member = find(node);
  if (member == nullptr) return;
  member->link = Link::kGreeting;
  ProposerGreeting greeting{config_.id, config_.membership, config_.server};
  step.effects.push_back(SendToMember{node, ProposerMessage(std::move(greeting))});
}

// ---- greetings

void Proposer::on_greeting(MemberState& member, const AcceptorGreeting& m, Step& step) {
  if (member.link != Link::kGreeting) return drop(member, "greeting out of turn", step);
  if (m.node != member.member.node)
    return drop(member, "another node answers at its address", step);
  if (m.membership.generation != config_.membership.generation) {
    // It would have adopted ours if ours were newer.
    if (m.membership.generation < config_.membership.generation) {
      return drop(member, "it did not adopt the membership", step);
    }
    if (phase_ != ProposerPhase::kCollecting) {
      return close(CloseReason::kOtherGeneration, Term(), step);
    }
    return adopt(m.membership, step);
  }
  member.link = Link::kIdle;
  switch (phase_) {
    case ProposerPhase::kCollecting:
      member.greeted = m.term;
      if (quorum([](const MemberState& s) { return s.greeted.has_value(); })) campaign(step);
      return;
    case ProposerPhase::kCampaign:
    case ProposerPhase::kElected:
      if (m.term > term_) return close(CloseReason::kHigherTerm, m.term, step);
      return request_vote(member, step);
    case ProposerPhase::kClosed:
      return;
  }
}

void Proposer::adopt(const Membership& membership, Step& step) {
  config_.membership = membership;
  // Everybody is greeted again, with the membership that all share now.
  std::vector<MemberState> fresh;
  for (const Member& member : membership.all()) {
    fresh.emplace_back();
    fresh.back().member = member;
  }
  for (MemberState& member : members_) {
    if (member.link != Link::kOffline) drop(member, "the membership changed", step);
  }
  members_ = std::move(fresh);
  step.effects.push_back(MembershipAdopted{membership});
}

// ---- votes

void Proposer::campaign(Step& step) {
  Term highest;
  for (const MemberState& member : members_) {
    if (member.greeted) highest = std::max(highest, *member.greeted);
  }
  term_ = highest.next();
  phase_ = ProposerPhase::kCampaign;
  for (MemberState& member : members_) {
    if (member.link == Link::kIdle) request_vote(member, step);
  }
}

void Proposer::request_vote(MemberState& member, Step& step) {
  member.link = Link::kVoting;
  VoteRequest request{config_.membership.generation, term_};
  step.effects.push_back(SendToMember{member.member.node, ProposerMessage(request)});
}

void Proposer::on_vote(MemberState& member, const VoteResponse& m, Step& step) {
  if (member.link != Link::kVoting) return drop(member, "vote out of turn", step);
  if (m.generation != config_.membership.generation) {
    return close(CloseReason::kOtherGeneration, Term(), step);
  }
  if (m.term > term_) return close(CloseReason::kHigherTerm, m.term, step);
  if (m.term < term_) return drop(member, "it answers in an older term than was asked for", step);
  const MemberState::Vote vote{m.flush, m.truncate, m.history};
  if (phase_ == ProposerPhase::kElected) {
    // The vote is not needed any more, only what the member holds.
    return elect(member, vote, step);
  }
  if (m.granted) {
    member.granted = vote;
  } else if (!member.granted) {
    return close(CloseReason::kVoteRefused, Term(), step);
  }
  member.link = Link::kWaiting;
  if (quorum([](const MemberState& s) { return s.granted.has_value(); })) win(step);
}

void Proposer::win(Step& step) {
  const MemberState* donor = nullptr;
  const auto rank = [](const MemberState& s) {
    return std::tuple(s.granted->history.last_term(s.granted->flush), s.granted->flush);
  };
  for (const MemberState& member : members_) {
    if (!member.granted) continue;
    truncate_ = std::max(truncate_, member.granted->truncate);
    if (donor == nullptr || rank(member) > rank(*donor)) donor = &member;
  }
  const Lsn start = donor->granted->flush;
  if (!start.valid() || donor->granted->history.empty()) {
    return close(CloseReason::kNoStart, Term(), step);
  }
  phase_ = ProposerPhase::kElected;
  donor_ = donor->member.node;
  term_start_ = start;
  available_ = start;
  history_ = donor->granted->history.extended(term_, start);
  step.effects.push_back(WonElection{term_, start, donor_});
  if (step.observer != nullptr) step.observer->on(ProposerWon{term_, start, donor_, history_});
  for (MemberState& member : members_) {
    const auto vote = std::exchange(member.granted, std::nullopt);
    if (member.link == Link::kWaiting) elect(member, *vote, step);
  }
}

void Proposer::elect(MemberState& member, const MemberState::Vote& vote, Step& step) {
  std::optional<Lsn> start = highest_common_point(history_, vote.history, vote.flush);
  if (start && rules_.no_divergence_cut) start = vote.flush;
  if (!start || *start > vote.flush)
    return drop(member, "its history contradicts the quorum's", step);
  member.link = Link::kStreaming;
  member.sent = *start;
  member.sent_commit = Lsn();
  member.owed = true;
  if (*start < member.flush) {
    if (step.observer != nullptr) {
      step.observer->on(AcknowledgementShrank{member.member.node, term_, member.flush, *start});
    }
    member.flush = *start;
  }
  ProposerElected elected{config_.membership.generation, term_, *start, history_};
  step.effects.push_back(SendToMember{member.member.node, ProposerMessage(std::move(elected))});
}

// ---- appends

bool Proposer::has_append(NodeId node) const {
  const MemberState* member = find(node);
  if (phase_ != ProposerPhase::kElected || member == nullptr) return false;
  if (member->link != Link::kStreaming) return false;
  return member->owed || member->sent < available_ || member->sent_commit < commit_;
}

bool Proposer::only_commit_is_new(NodeId node) const {
  if (!has_append(node)) return false;
  const MemberState& member = *find(node);
  return !member.owed && member.sent == available_;
}

bool Proposer::owes(NodeId node) const {
  const MemberState* member = find(node);
  return member != nullptr && member->owed;
}

uint64_t Proposer::unsent(NodeId node) const {
  const MemberState* member = find(node);
  return member == nullptr || member->sent >= available_ ? 0 : available_ - member->sent;
}

std::optional<AppendRequest> Proposer::next_append(NodeId node, uint64_t limit) {
  VARVE_CHECK(limit > 0 && limit <= kMaxAppendBytes);
  if (!has_append(node)) return std::nullopt;
  MemberState& member = *find(node);
  Lsn end = std::min(available_, member.sent + limit);
  if (member.sent < term_start_) end = std::min(end, term_start_);
  AppendRequest request{config_.membership.generation, term_, member.sent, end, commit_, truncate_};
  member.sent = end;
  member.sent_commit = commit_;
  member.owed = false;
  return request;
}

AppendSource Proposer::source_of(NodeId to, Lsn begin) const {
  AppendSource source;
  source.local = begin >= term_start_;
  if (source.local) return source;
  source.holders.push_back(donor_);
  for (const MemberState& member : members_) {
    const NodeId node = member.member.node;
    if (node != donor_ && node != to && member.flush >= term_start_) source.holders.push_back(node);
  }
  std::erase(source.holders, to);
  return source;
}

void Proposer::on_append_response(MemberState& member, const AppendResponse& m, Step& step) {
  if (m.term > term_) return close(CloseReason::kHigherTerm, m.term, step);
  if (member.link != Link::kStreaming || m.term < term_) {
    return drop(member, "append reply out of turn", step);
  }
  if (m.generation != config_.membership.generation) {
    return close(CloseReason::kOtherGeneration, Term(), step);
  }
  if (m.flush > member.sent) return drop(member, "it acknowledges what it was not sent", step);
  if (m.flush < member.flush && step.observer != nullptr) {
    step.observer->on(AcknowledgementShrank{member.member.node, term_, member.flush, m.flush});
  }
  member.flush = m.flush;
  member.commit = std::max(member.commit, m.commit);
  recompute_commit(step);
}

Lsn Proposer::counted(const MemberState& member) const {
  if (rules_.commit_by_counting) return member.flush;
  return member.flush >= term_start_ ? member.flush : Lsn();
}

void Proposer::recompute_commit(Step& step) {
  const Lsn commit = [&] {
    if (rules_.quorum_off_by_one) {
      Lsn best;
      for (const MemberState& member : members_) best = std::max(best, counted(member));
      return best;
    }
    return config_.membership.quorum_position([&](NodeId node) { return counted(*find(node)); });
  }();
  if (commit > commit_) {
    commit_ = commit;
    step.effects.push_back(Committed{commit_});
    if (step.observer != nullptr) step.observer->on(CommitAdvanced{term_, commit_});
  }
  Lsn everywhere = commit_;
  for (const MemberState& member : members_) everywhere = std::min(everywhere, member.flush);
  truncate_ = std::max(truncate_, everywhere);
}

// ---- the rest

void Proposer::close(CloseReason reason, Term term, Step& step) {
  phase_ = ProposerPhase::kClosed;
  step.effects.push_back(Closed{reason, term});
}

void Proposer::offline(MemberState& member) {
  member.link = Link::kOffline;
  member.sent = Lsn();
  member.sent_commit = Lsn();
  member.owed = false;
}

void Proposer::drop(MemberState& member, const char* why, Step& step) {
  offline(member);
  step.effects.push_back(DropMember{member.member.node, why});
}

bool Proposer::quorum(bool (*holds)(const MemberState&)) const {
  if (rules_.quorum_off_by_one) return std::any_of(members_.begin(), members_.end(), holds);
  return config_.membership.has_quorum([&](NodeId node) { return holds(*find(node)); });
}

MemberState* Proposer::find(NodeId node) {
  for (MemberState& member : members_) {
    if (member.member.node == node) return &member;
  }
  return nullptr;
}

const MemberState* Proposer::find(NodeId node) const {
  return const_cast<Proposer*>(this)->find(node);
}

void Proposer::encode(Writer& writer, const View& view) const {
  writer.le(config_.membership.generation.value);
  writer.u8(static_cast<uint8_t>(phase_));
  writer.le(term_.value);
  encode_history(writer, history_);
  for (Lsn lsn : {term_start_, available_, commit_}) writer.le(lsn.value);
  if (view.bookkeeping()) {
    writer.le(truncate_.value);
    writer.le(view.node(donor_).value);
  }
  std::vector<const MemberState*> ordered;
  for (const MemberState& s : members_) ordered.push_back(&s);
  std::sort(ordered.begin(), ordered.end(), [&](const MemberState* a, const MemberState* b) {
    return view.node(a->member.node) < view.node(b->member.node);
  });
  for (const MemberState* s : ordered) {
    writer.le(view.node(s->member.node).value);
    writer.u8(static_cast<uint8_t>(s->link));
    writer.le(s->greeted ? s->greeted->value + 1 : 0);
    writer.u8(s->granted.has_value());
    if (s->granted) {
      writer.le(s->granted->flush.value);
      if (view.bookkeeping()) writer.le(s->granted->truncate.value);
      encode_history(writer, s->granted->history);
    }
    for (Lsn lsn : {s->sent, s->flush, s->sent_commit}) writer.le(lsn.value);
    if (view.bookkeeping()) writer.le(s->commit.value);
    writer.u8(s->owed);
  }
}

}  // namespace varve::consensus
