// The explorer's head: actions on worlds, invariants, and the proof that real core and reference
// agree.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "consensus/core/explorer.h"
#include "consensus/core/message_codec.h"

namespace varve::consensus::explorer {

using model::ProposerModel;

// ---- actions

void Explorer::emit(const World& w, Action action) {
  if (talk_ != nullptr) return goes_on(w);
  ++result_.transitions;
  if (!visited_.insert(canonical(w)).second) return;
  queue_.push_back({w, current_, action});
  check(w);
}

// All that can become of proposer, acceptor and the past in one conversation. It depends on them
// alone, so it is found out once.
const std::vector<Explorer::Talked>& Explorer::conversation(const World& w, int p, int a) {
  const uint32_t proposer = w.proposers[static_cast<size_t>(p)];
  const uint32_t acceptor = w.acceptors[static_cast<size_t>(a)];
  VARVE_CHECK(proposer < 1u << 24 && acceptor < 1u << 16 && w.past < 1u << 20);
  const uint64_t key = uint64_t{w.past} << 43 | uint64_t{proposer} << 19 | uint64_t{acceptor} << 3 |
                       static_cast<uint64_t>(p * 4 + a);
  const auto found = conversation_memo_.find(key);
  if (found != conversation_memo_.end()) return found->second;
  Talk talk{p, a, {}, {}, {}};
  talk_ = &talk;
  World next = w;
  connect(next, p, a);
  const Action action{ActionKind::kConnect, static_cast<int8_t>(p), static_cast<int8_t>(a)};
  emit(next, action);
  while (!talk.open.empty()) {
    const World at = talk.open.back();
    talk.open.pop_back();
    World ended = at;
    break_link(ended, p, a);
    emit(ended, action);
    if (at.links[static_cast<size_t>(p)][static_cast<size_t>(a)].to_acceptor != 0) {
      request_arrives(at, p, a);
    } else {
      append(at, p, a, 1);
      append(at, p, a, 2);
    }
  }
  talk_ = nullptr;
  std::erase(talk.ended, Talked{proposer, acceptor, w.past});
  return conversation_memo_.emplace(key, std::move(talk.ended)).first->second;
}

void Explorer::goes_on(const World& w) {
  const auto p = static_cast<size_t>(talk_->p);
  const auto a = static_cast<size_t>(talk_->a);
  const Link& link = w.links[p][a];
  if (!talk_->seen.insert({w.proposers[p], w.acceptors[a], w.past, link.up, link.to_acceptor})
           .second) {
    return;
  }
  if (link.up != 0) {
    talk_->open.push_back(w);
  } else {
    talk_->ended.push_back({w.proposers[p], w.acceptors[a], w.past});
  }
}

void Explorer::converse(const World& w, int p, int a) {
  for (const Talked& talked : conversation(w, p, a)) {
    World next = w;
    next.proposers[static_cast<size_t>(p)] = talked.proposer;
    next.acceptors[static_cast<size_t>(a)] = talked.acceptor;
    next.past = talked.past;
    emit(next, {ActionKind::kConnect, static_cast<int8_t>(p), static_cast<int8_t>(a)});
  }
}

void Explorer::break_link(World& w, int p, int a) {
  const auto pi = static_cast<size_t>(p);
  const auto ai = static_cast<size_t>(a);
  if (w.links[pi][ai].up == 0) return;
  w.acceptors[ai] = acceptor_disconnected(w.acceptors[ai], p);
  w.proposers[pi] = proposer_disconnected(w.proposers[pi], a);
  w.links[pi][ai] = Link{};
}

void Explorer::apply(World w, int a, const AcceptorOutcome& outcome, Action action) {
  const auto ai = static_cast<size_t>(a);
  w.acceptors[ai] = outcome.acceptor;
  if (outcome.crashed) {
    for (size_t p = 0; p < kProposers; ++p) {
      if (w.links[p][ai].up == 0) continue;
      w.proposers[p] = proposer_disconnected(w.proposers[p], a);
      w.links[p][ai] = Link{};
    }
    return emit(w, {ActionKind::kCrash, action.p, action.a});
  }
  for (const auto& [p, frame] : outcome.sends) {
    Link& link = w.links[static_cast<size_t>(p)][ai];
    VARVE_CHECK(link.up != 0 && frame + 1 < 65536);
    // Only an acknowledgement overtakes, and only another one.
    VARVE_CHECK(link.to_proposer == 0 ||
                (acceptor_frames_.values[frame].index() == 2 &&
                 acceptor_frames_.values[link.to_proposer - 1u].index() == 2));
    link.to_proposer = static_cast<uint16_t>(frame + 1);
  }
  for (int p : outcome.refused) break_link(w, p, a);
  if (setup_.replies_wait) return emit(w, action);
  emit_with_replies(w, a, action);
}

void Explorer::emit_with_replies(World w, int a, Action action) {
  World lost = w;
  bool replied = false;
  for (size_t p = 0; p < kProposers; ++p) {
    const uint16_t frame = w.links[p][static_cast<size_t>(a)].to_proposer;
    if (frame == 0) continue;
    replied = true;
    w.links[p][static_cast<size_t>(a)].to_proposer = 0;
    apply(w, static_cast<int>(p), proposer_message(w.proposers[p], a, frame - 1u));
    break_link(lost, static_cast<int>(p), a);
  }
  emit(w, action);
  if (replied && setup_.connections_break) emit(lost, {ActionKind::kBreak, action.p, action.a});
}

void Explorer::apply(World& w, int p, const ProposerOutcome& outcome) {
  const auto pi = static_cast<size_t>(p);
  w.proposers[pi] = outcome.proposer;
  if (outcome.closed) {
    for (int a = 0; a < kAcceptors; ++a) break_link(w, p, a);
    w.proposers[pi] = fresh_proposer_;
    return;
  }
  for (const auto& [a, frame] : outcome.sends) {
    Link& link = w.links[pi][static_cast<size_t>(a)];
    VARVE_CHECK(link.up != 0 && link.to_acceptor == 0 && frame + 1 < 65536);
    link.to_acceptor = static_cast<uint16_t>(frame + 1);
  }
  for (int a : outcome.dropped) {
    const auto ai = static_cast<size_t>(a);
    if (w.links[pi][ai].up == 0) continue;
    w.acceptors[ai] = acceptor_disconnected(w.acceptors[ai], p);
    w.links[pi][ai] = Link{};
  }
  remember_past(w, proposers_.values[outcome.proposer], outcome);
}

void Explorer::remember_past(World& w, const Proposer& core, const ProposerOutcome& outcome) {
  if (!outcome.won && !outcome.committed.valid()) return;
  Past past = pasts_.values[w.past];
  if (outcome.won) ++past.wins[core.term().value];
  const uint64_t length = outcome.committed.valid() ? (outcome.committed - kBase) / kEntry : 0;
  for (uint64_t i = 0; i < length; ++i) {
    const auto term = static_cast<uint8_t>(core.history().term_at(kBase + kEntry * i).value);
    if (i >= past.committed.length) {
      past.committed.push(term);
    } else if (past.committed.entry[i] != term) {
      past.conflict = 1;
    }
  }
  w.past = intern(past);
}

// Connection, greeting and its reply.
void Explorer::connect(World& w, int p, int a) {
  const auto pi = static_cast<size_t>(p);
  const auto ai = static_cast<size_t>(a);
  const ProposerOutcome greeting = proposer_connected(w.proposers[pi], a);
  w.proposers[pi] = greeting.proposer;
  const auto outcomes = acceptor_message(w.acceptors[ai], p, greeting.sends.at(0).second);
  VARVE_CHECK(outcomes.size() == 1 && outcomes[0].sends.size() == 1);
  w.acceptors[ai] = outcomes[0].acceptor;
  w.links[pi][ai] = Link{1, 0, 0};
  apply(w, p, proposer_message(w.proposers[pi], a, outcomes[0].sends[0].second));
}

int Explorer::connections_up(const World& w) const {
  int up = 0;
  for (const auto& links : w.links) {
    for (const Link& link : links) up += link.up;
  }
  return up;
}

// A greeting is answered once the disk is done with what came before: it arrives then.
bool Explorer::answers(const World& w, int a) const {
  return acceptors_.values[w.acceptors[static_cast<size_t>(a)]].pending.empty();
}

void Explorer::campaign(const World& w, int p) {
  if (connections_up(w) + std::min(2, setup_.connections) > setup_.connections) return;
  for (int left_out = 0; left_out < kAcceptors; ++left_out) {
    World next = w;
    bool both = true;
    for (int a = 0; a < kAcceptors; ++a) {
      if (a == left_out) continue;
      both = both && answers(w, a);
      if (both) connect(next, p, a);
    }
    if (!both) continue;
    const Proposer& core = proposers_.values[next.proposers[static_cast<size_t>(p)]];
    VARVE_CHECK(core.phase() == ProposerPhase::kCampaign);
    if (core.term().value > static_cast<uint64_t>(setup_.bounds.terms)) continue;
    const Action action{ActionKind::kCampaign, static_cast<int8_t>(p), -1};
    if (setup_.connections > 1) {
      emit(next, action);
      continue;
    }
    if (setup_.whole_conversations) {
      for (int a = 0; a < kAcceptors; ++a) break_link(next, p, a);
      emit(next, action);
      continue;
    }
    for (int kept = 0; kept < kAcceptors; ++kept) {
      if (kept == left_out) continue;
      World one = next;
      for (int a = 0; a < kAcceptors; ++a) {
        if (a != kept) break_link(one, p, a);
      }
      emit(one, action);
    }
  }
}

void Explorer::request_arrives(const World& w, int p, int a) {
  World next = w;
  Link& link = next.links[static_cast<size_t>(p)][static_cast<size_t>(a)];
  const uint32_t frame = link.to_acceptor - 1u;
  link.to_acceptor = 0;
  for (const auto& outcome : acceptor_message(w.acceptors[static_cast<size_t>(a)], p, frame)) {
    apply(next, a, outcome,
          {ActionKind::kRequestArrives, static_cast<int8_t>(p), static_cast<int8_t>(a)});
  }
}

void Explorer::append(const World& w, int p, int a, uint64_t entries) {
  const ProposerOutcome& pulled = proposer_pull(w.proposers[static_cast<size_t>(p)], a, entries);
  if (pulled.sends.empty()) return;
  World next = w;
  next.proposers[static_cast<size_t>(p)] = pulled.proposer;
  const uint32_t frame = pulled.sends[0].second;
  for (const auto& outcome : acceptor_message(w.acceptors[static_cast<size_t>(a)], p, frame)) {
    apply(next, a, outcome, {ActionKind::kAppend, static_cast<int8_t>(p), static_cast<int8_t>(a)});
  }
}

void Explorer::reply_arrives(const World& w, int p, int a) {
  World next = w;
  Link& link = next.links[static_cast<size_t>(p)][static_cast<size_t>(a)];
  const uint32_t frame = link.to_proposer - 1u;
  link.to_proposer = 0;
  apply(next, p, proposer_message(w.proposers[static_cast<size_t>(p)], a, frame));
  emit(next, {ActionKind::kReplyArrives, static_cast<int8_t>(p), static_cast<int8_t>(a)});
}

void Explorer::restart_proposer(World w, int p) {
  for (int a = 0; a < kAcceptors; ++a) break_link(w, p, a);
  w.proposers[static_cast<size_t>(p)] = fresh_proposer_;
  emit(w, {ActionKind::kRestart, static_cast<int8_t>(p), -1});
}

void Explorer::acceptor_acts(const World& w, int a) {
  const uint32_t acceptor = w.acceptors[static_cast<size_t>(a)];
  if (!acceptors_.values[acceptor].pending.empty()) {
    for (const auto& outcome : acceptor_disk(acceptor)) {
      apply(w, a, outcome, {ActionKind::kDisk, -1, static_cast<int8_t>(a)});
    }
  }
  if (!setup_.acceptors_crash) return;
  for (const auto& outcome : acceptor_crash(acceptor)) {
    apply(w, a, outcome, {ActionKind::kCrash, -1, static_cast<int8_t>(a)});
  }
}

void Explorer::successors(const World& w) {
  const Lsn last = kBase + kEntry * static_cast<uint64_t>(setup_.bounds.entries);
  for (int p = 0; p < kProposers; ++p) {
    const auto pi = static_cast<size_t>(p);
    const Proposer& core = proposers_.values[w.proposers[pi]];
    if (core.phase() == ProposerPhase::kCollecting) {
      campaign(w, p);
      continue;
    }
    restart_proposer(w, p);
    if (core.phase() == ProposerPhase::kElected && core.available() < last) {
      World next = w;
      next.proposers[pi] = proposer_writes(w.proposers[pi]);
      emit(next, {ActionKind::kWrite, static_cast<int8_t>(p), -1});
    }
    for (int a = 0; a < kAcceptors; ++a) {
      if (setup_.whole_conversations) {
        converse(w, p, a);
        continue;
      }
      const Link link = w.links[pi][static_cast<size_t>(a)];
      const Action action{ActionKind::kConnect, static_cast<int8_t>(p), static_cast<int8_t>(a)};
      if (link.up == 0) {
        if (connections_up(w) >= setup_.connections || !answers(w, a)) continue;
        World next = w;
        connect(next, p, a);
        emit(next, action);
        continue;
      }
      if (setup_.connections_break) {
        World next = w;
        break_link(next, p, a);
        emit(next, {ActionKind::kBreak, action.p, action.a});
      }
      if (link.to_proposer != 0) reply_arrives(w, p, a);
      if (link.to_acceptor != 0) {
        request_arrives(w, p, a);
        continue;
      }
      append(w, p, a, 1);
      append(w, p, a, 2);
    }
  }
  for (int a = 0; a < kAcceptors; ++a) acceptor_acts(w, a);
}

// ---- judgement

void Explorer::violate(const std::string& what) {
  if (!result_.violation.empty()) return;
  result_.violation = what;
  for (uint32_t at = static_cast<uint32_t>(queue_.size()) - 1; at != 0; at = queue_[at].parent) {
    const Action action = queue_[at].action;
    static constexpr const char* kNames[] = {
        "start", "campaign",          "connect", "request arrives", "reply arrives", "append",
        "write", "proposer restarts", "break",   "disk effect",     "crash"};
    std::string text = kNames[static_cast<size_t>(action.kind)];
    if (action.p >= 0) text += ", proposer " + std::to_string(action.p);
    if (action.a >= 0) text += ", acceptor " + std::to_string(action.a);
    result_.trace.insert(result_.trace.begin(), text);
  }
}

Explorer::Summary Explorer::summarize(const AcceptorNode& node) const {
  Summary s;
  s.model.term = static_cast<uint8_t>(node.disk.term.value);
  for (const TermStart& entry : node.disk.history.entries()) {
    s.model.history.start[entry.term.value] =
        static_cast<uint8_t>((entry.start - kBase) / kEntry + 1);
  }
  const Lsn end = kBase + kEntry * node.durable.size();
  for (size_t i = 0; i < node.durable.size(); ++i) {
    s.model.log.push(node.durable[i]);
    if (i > 0 && node.durable[i] < node.durable[i - 1]) s.broken = "LogIsMonotonic";
    if (node.disk.history.term_at(kBase + kEntry * i).value != node.durable[i]) {
      s.broken = "a durable history does not tell the term of a durable entry";
    }
  }
  s.last_term = static_cast<int>(node.disk.history.last_term(end).value);
  // While a cut is on its way the core is already where it will be.
  const bool cutting =
      std::any_of(node.pending.begin(), node.pending.end(), [](const auto& pending) {
        return std::holds_alternative<TruncateEffect>(pending.effect.what);
      });
  if (!cutting && node.core.flush() > end) s.broken = "flush is above what is durable";
  return s;
}

void Explorer::check(const World& w) {
  const Past& past = pasts_.values[w.past];
  if (past.conflict != 0) return violate("LogSafety: one position was committed with two contents");
  for (uint8_t wins : past.wins) {
    if (wins > 1) return violate("ElectionSafetyFull: a term was won twice");
  }
  const Proposer& p0 = proposers_.values[w.proposers[0]];
  const Proposer& p1 = proposers_.values[w.proposers[1]];
  if (p0.phase() == ProposerPhase::kElected && p1.phase() == ProposerPhase::kElected &&
      p0.term() == p1.term()) {
    return violate("ElectionSafety: two leaders of one term");
  }
  for (uint32_t acceptor : w.acceptors) {
    if (summaries_[acceptor].broken != nullptr) return violate(summaries_[acceptor].broken);
    const Lsn commit = acceptors_.values[acceptor].core.commit();
    if (commit > kBase + kEntry * past.committed.length) {
      return violate("an acceptor believes in a commit that no proposer made");
    }
  }
  // CommittedNotLost: whatever quorum elects the next proposer, its donor has all that was ever
  // committed.
  for (size_t left_out = 0; left_out < kAcceptors; ++left_out) {
    const Summary* donor = nullptr;
    const auto rank = [](const Summary& s) { return s.last_term * 100 + s.model.log.length; };
    for (size_t a = 0; a < kAcceptors; ++a) {
      if (a == left_out) continue;
      const Summary& s = summaries_[w.acceptors[a]];
      if (donor == nullptr || rank(s) > rank(*donor)) donor = &s;
    }
    if (donor->model.log.common_prefix(past.committed) != past.committed.length) {
      return violate(
          "CommittedNotLost: a quorum could elect a proposer that lacks a committed entry");
    }
  }
  const model::State state = project(w);
  result_.projected.try_emplace(hash_of(model::project(state)), state);
}

model::State Explorer::project(const World& w) const {
  model::State state;
  for (size_t a = 0; a < kAcceptors; ++a) state.acceptors[a] = summaries_[w.acceptors[a]].model;
  for (size_t p = 0; p < kProposers; ++p) {
    const Proposer& core = proposers_.values[w.proposers[p]];
    ProposerModel& m = state.proposers[p];
    if (core.phase() == ProposerPhase::kCampaign) {
      m.kind = ProposerModel::kCampaign;
      m.term = static_cast<uint8_t>(core.term().value);
    } else if (core.phase() == ProposerPhase::kElected) {
      m.kind = ProposerModel::kLeader;
      m.term = static_cast<uint8_t>(core.term().value);
      m.start = static_cast<uint8_t>((core.term_start() - kBase) / kEntry);
      if (core.commit().valid())
        m.commit = static_cast<uint8_t>((core.commit() - kBase) / kEntry + 1);
      for (const TermStart& entry : core.history().entries()) {
        m.history.start[entry.term.value] =
            static_cast<uint8_t>((entry.start - kBase) / kEntry + 1);
      }
      for (Lsn at = kBase; at < core.available(); at = at + kEntry) {
        m.log.push(static_cast<uint8_t>(core.history().term_at(at).value));
      }
    }
  }
  const Past& past = pasts_.values[w.past];
  state.committed = past.committed;
  state.wins = past.wins;
  return state;
}

Result Explorer::run() {
  VARVE_CHECK(!setup_.whole_conversations || (setup_.connections == 1 && setup_.connections_break &&
                                              !setup_.replies_wait && !setup_.separate_disk_steps));
  World start;
  const ProposerConfig c = config();
  for (size_t a = 0; a < kAcceptors; ++a) {
    const AcceptorState disk =
        AcceptorState::create({}, NodeId(a + 1), c.membership, c.server, kBase);
    start.acceptors[a] =
        intern(AcceptorNode{Acceptor(disk, kBase, setup_.rules), disk, {}, {}, {}});
  }
  fresh_proposer_ = intern(Proposer(c, setup_.rules));
  start.proposers = {fresh_proposer_, fresh_proposer_};
  start.past = intern(Past{});
  emit(start, {});
  for (; current_ < queue_.size(); ++current_) {
    if (!result_.violation.empty() && setup_.stop_at_violation) break;
    if (queue_.size() > setup_.max_states) break;
    const World w = queue_[current_].world;
    successors(w);
  }
  result_.exhausted = current_ == queue_.size();
  result_.states = queue_.size();
  result_.acceptor_values = acceptors_.values.size();
  result_.proposer_values = proposers_.values.size();
  return std::move(result_);
}

namespace {

struct Reached {
  std::unordered_map<Hash128, model::State, Hash128Hasher> projected;
  uint64_t states = 0;
};

Reached reach_model(model::Bounds bounds) {
  const auto full = [](const model::State& s) {
    return std::string(reinterpret_cast<const char*>(&s), sizeof s);
  };
  Reached reached;
  std::unordered_set<Hash128, Hash128Hasher> visited;
  std::vector<model::State> queue = {model::Successors::initial()};
  visited.insert(hash_of(full(queue[0])));
  std::vector<model::State> next;
  for (size_t i = 0; i < queue.size(); ++i) {
    const model::State state = queue[i];
    reached.projected.try_emplace(hash_of(model::project(state)), state);
    next.clear();
    model::Successors(state, bounds, next).generate();
    for (const model::State& s : next) {
      if (visited.insert(hash_of(full(s))).second) queue.push_back(s);
    }
  }
  reached.states = queue.size();
  return reached;
}

std::string show(const model::State& s) {
  std::string text;
  const auto log = [&](const model::Log& l) {
    text += "[";
    for (int i = 0; i < l.length; ++i) text += std::to_string(l.entry[static_cast<size_t>(i)]);
    text += "]";
  };
  const auto history = [&](const model::History& h) {
    text += "{";
    for (size_t t = 0; t < h.start.size(); ++t) {
      if (h.start[t] != 0) text += std::to_string(t) + "@" + std::to_string(h.start[t] - 1) + " ";
    }
    text += "}";
  };
  for (const auto& a : s.acceptors) {
    text += " A(t" + std::to_string(a.term) + " ";
    history(a.history);
    log(a.log);
    text += ")";
  }
  for (const auto& p : s.proposers) {
    text += " P(" + std::to_string(p.kind) + " t" + std::to_string(p.term) + " c" +
            std::to_string(p.commit) + " ";
    history(p.history);
    log(p.log);
    text += ")";
  }
  text += " committed ";
  log(s.committed);
  text +=
      " wins " + std::to_string(s.wins[1]) + std::to_string(s.wins[2]) + std::to_string(s.wins[3]);
  return text;
}

void report(const char* name, const Result& r) {
  std::printf(
      "%s: %llu states, %llu transitions, %zu acceptor values, %zu proposer values, "
      "%llu real steps%s\n",
      name, static_cast<unsigned long long>(r.states),
      static_cast<unsigned long long>(r.transitions), r.acceptor_values, r.proposer_values,
      static_cast<unsigned long long>(r.real_steps), r.exhausted ? "" : " (stopped)");
}

void expect_equal(const Result& real, const Reached& reference) {
  std::printf("projected: %zu, reference: %zu of %llu states\n", real.projected.size(),
              reference.projected.size(), static_cast<unsigned long long>(reference.states));
  int shown = 0;
  for (const auto& [hash, state] : real.projected) {
    if (reference.projected.contains(hash)) continue;
    ADD_FAILURE() << "the real core reaches what the reference does not:" << show(state);
    if (++shown == 5) break;
  }
  shown = 0;
  for (const auto& [hash, state] : reference.projected) {
    if (real.projected.contains(hash)) continue;
    ADD_FAILURE() << "the reference reaches what the real core does not:" << show(state);
    if (++shown == 5) break;
  }
  EXPECT_EQ(real.projected.size(), reference.projected.size());
}

void explain(const Result& r) {
  if (r.violation.empty()) return;
  std::printf("violation: %s\n", r.violation.c_str());
  for (const auto& step : r.trace) std::printf("  %s\n", step.c_str());
}

// Disk effects run to their end or to a crash, replies arrive or are lost, one connection at a
// time.
ExplorerOptions plain(model::Bounds bounds) {
  ExplorerOptions options;
  options.bounds = bounds;
  options.separate_disk_steps = false;
  options.replies_wait = false;
  options.whole_conversations = true;
  options.commit_travels = false;
  options.vouching = false;
  options.connections = 1;
  return options;
}

void expect_exactly_the_reference(const char* name, const ExplorerOptions& options) {
  const Result real = Explorer(options).run();
  report(name, real);
  explain(real);
  EXPECT_EQ(real.violation, "");
  EXPECT_TRUE(real.exhausted);
  expect_equal(real, reach_model(options.bounds));
}

TEST(Explorer, OneTermTwoEntriesReachExactlyTheReference) {
  expect_exactly_the_reference("1 term, 2 entries", plain({1, 2}));
}

TEST(Explorer, TwoTermsOneEntryReachExactlyTheReference) {
  expect_exactly_the_reference("2 terms, 1 entry", plain({2, 1}));
}

// Every disk effect is a step of its own, so that messages meet an acceptor in the middle of its
// work.
TEST(Explorer, MessagesBetweenDiskEffectsReachExactlyTheReference) {
  ExplorerOptions options = plain({1, 1});
  options.separate_disk_steps = true;
  options.whole_conversations = false;
  expect_exactly_the_reference("1 term, 1 entry, disk effects apart", options);
}

// The rest of the world at its richest: acknowledgements wait on their way, commit positions
// travel, both proposers hold connections to one acceptor. Too large to exhaust within CI: what is
// seen must be allowed.
TEST(Explorer, ARicherWorldStaysWithinTheReference) {
  ExplorerOptions options;
  options.bounds = {2, 2};
  options.connections = 3;
  options.max_states = 400'000;
  const Result real = Explorer(options).run();
  report("2 terms, 2 entries, everything apart", real);
  explain(real);
  EXPECT_EQ(real.violation, "");
  const Reached reference = reach_model(options.bounds);
  for (const auto& [hash, state] : real.projected) {
    ASSERT_TRUE(reference.projected.contains(hash)) << show(state);
  }
}

TEST(Explorer, TwoTermsTwoEntriesReachExactlyTheReference) {
  expect_exactly_the_reference("2 terms, 2 entries", plain({2, 2}));
}

void expect_found(const char* name, ExplorerOptions options) {
  options.max_states = 2'000'000;
  const Result result = Explorer(options).run();
  std::printf("%s: %s after %llu states, %zu steps\n", name, result.violation.c_str(),
              static_cast<unsigned long long>(result.states), result.trace.size());
  EXPECT_NE(result.violation, "") << name << " was not found";
}

// Message by message: a conversation that goes on behind what is broken breaks the core itself,
// where the invariants should name what is.
ExplorerOptions stepwise(model::Bounds bounds) {
  ExplorerOptions options = plain(bounds);
  options.whole_conversations = false;
  return options;
}

TEST(Explorer, FindsPlantedBugs) {
  ExplorerOptions options = stepwise({2, 1});
  options.rules.quorum_off_by_one = true;
  expect_found("quorum off by one", options);

  options = stepwise({1, 1});
  options.separate_disk_steps = true;
  options.rules.vote_before_durable = true;
  expect_found("vote before its term is durable", options);

  options = stepwise({1, 1});
  options.separate_disk_steps = true;
  options.rules.acknowledge_before_sync = true;
  expect_found("acknowledgement before the sync", options);

  options = stepwise({2, 2});
  options.rules.no_divergence_cut = true;
  expect_found("no cut where histories part", options);
}

}  // namespace
}  // namespace varve::consensus::explorer
