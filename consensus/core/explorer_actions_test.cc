// The explorer's feet: what can happen next in a world.
#include "consensus/core/explorer.h"

namespace varve::consensus::explorer {

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

}  // namespace varve::consensus::explorer
