// The explorer's head: invariants, and the proof that real core and reference agree.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "consensus/core/explorer.h"
#include "consensus/core/message_codec.h"

namespace varve::consensus::explorer {

using model::ProposerModel;

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
