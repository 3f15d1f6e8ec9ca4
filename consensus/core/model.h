// The reference: what the protocol is allowed to do, written to be read, not to run. Test support.
//
// No messages, no disks, no effects: every action happens at once and a crash is just the loss of
// what a proposer knew. It is deliberately dumb: logs are lists of "written in term t" and are
// compared entry by entry, where the real core reasons about histories and positions. The explorer
// checks that the real core, with messages, losses, syncs and crashes between effects, reaches
// exactly these states and no others.
//
// After the idea of TLA+ specifications of the same protocol (static membership): vote, win, cut,
// install, append, acknowledge, commit.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace varve::consensus::model {

inline constexpr int kAcceptors = 3;
inline constexpr int kProposers = 2;
inline constexpr int kMaxTerms = 4;    // terms 0..3
inline constexpr int kMaxEntries = 4;  // in one log

struct Bounds {
  int terms = 2;    // highest term
  int entries = 2;  // longest log
};

// Entry i was written in term entry[i].
struct Log {
  uint8_t length = 0;
  std::array<uint8_t, kMaxEntries> entry{};
  bool operator==(const Log&) const = default;
  void push(uint8_t term) { entry[length++] = term; }
  void cut(int to) {
    for (int i = to; i < kMaxEntries; ++i) entry[i] = 0;
    length = static_cast<uint8_t>(std::min<int>(length, to));
  }
  int common_prefix(const Log& o) const {
    int i = 0;
    while (i < length && i < o.length && entry[i] == o.entry[i]) ++i;
    return i;
  }
};

// start[t] - 1 is where term t began; 0: it is not in this history.
struct History {
  std::array<uint8_t, kMaxTerms> start{};
  bool operator==(const History&) const = default;
  int last_term(int length) const {
    int last = 0;
    for (int t = 0; t < kMaxTerms; ++t) {
      if (start[t] != 0 && start[t] - 1 <= length) last = t;
    }
    return last;
  }
};

struct AcceptorModel {
  uint8_t term = 0;
  History history;
  Log log;
  bool operator==(const AcceptorModel&) const = default;
};

struct ProposerModel {
  enum Kind : uint8_t { kNone, kCampaign, kLeader };
  struct Vote {
    uint8_t given = 0;
    History history;
    Log log;
    bool operator==(const Vote&) const = default;
  };
  Kind kind = kNone;
  uint8_t term = 0;
  History history;
  Log log;
  uint8_t start = 0;
  uint8_t commit = 0;                       // + 1; 0: nothing in this term
  std::array<Vote, kAcceptors> votes{};     // campaign only
  std::array<uint8_t, kAcceptors> acked{};  // + 1; leader only
  bool operator==(const ProposerModel&) const = default;
};

struct State {
  std::array<AcceptorModel, kAcceptors> acceptors{};
  std::array<ProposerModel, kProposers> proposers{};
  Log committed;                          // by anybody, ever
  std::array<uint8_t, kMaxTerms> wins{};  // elections won in each term, ever
  bool operator==(const State&) const = default;
};

// What the real core is compared in: the durable state of acceptors, and of proposers what they
// have become. Sorted, because names don't matter.
inline std::string project(const State& s) {
  std::array<std::string, kAcceptors> acceptors;
  for (int a = 0; a < kAcceptors; ++a) {
    const AcceptorModel& m = s.acceptors[a];
    acceptors[a] += static_cast<char>(m.term);
    acceptors[a].append(reinterpret_cast<const char*>(&m.history), sizeof m.history);
    acceptors[a].append(reinterpret_cast<const char*>(&m.log), sizeof m.log);
  }
  std::array<std::string, kProposers> proposers;
  for (int p = 0; p < kProposers; ++p) {
    const ProposerModel& m = s.proposers[p];
    proposers[p] = {static_cast<char>(m.kind), static_cast<char>(m.term),
                    static_cast<char>(m.start), static_cast<char>(m.commit)};
    proposers[p].append(reinterpret_cast<const char*>(&m.history), sizeof m.history);
    proposers[p].append(reinterpret_cast<const char*>(&m.log), sizeof m.log);
  }
  std::sort(acceptors.begin(), acceptors.end());
  std::sort(proposers.begin(), proposers.end());
  std::string all;
  for (const auto& part : acceptors) all += part;
  for (const auto& part : proposers) all += part;
  all.append(reinterpret_cast<const char*>(&s.committed), sizeof s.committed);
  all.append(reinterpret_cast<const char*>(&s.wins), sizeof s.wins);
  return all;
}

// Every state that one action leads to.
class Successors {
 public:
  Successors(const State& from, Bounds bounds, std::vector<State>& out)
      : from_(from), bounds_(bounds), out_(out) {}

  void generate() {
    for (int p = 0; p < kProposers; ++p) {
      crash(p);
      campaign(p);
      win(p);
      new_entry(p);
      commit(p);
      for (int a = 0; a < kAcceptors; ++a) {
        vote(p, a);
        cut(p, a);
        install(p, a);
        append(p, a);
        acknowledge(p, a);
      }
    }
  }

  static State initial() {
    State s;
    for (AcceptorModel& a : s.acceptors) a.history.start[0] = 1;
    return s;
  }

 private:
  const ProposerModel& proposer(int p) const { return from_.proposers[p]; }
  const AcceptorModel& acceptor(int a) const { return from_.acceptors[a]; }

  // The proposer's process ends; everything it knew is gone.
  void crash(int p) {
    if (proposer(p).kind == ProposerModel::kNone) return;
    State next = from_;
    next.proposers[p] = ProposerModel{};
    out_.push_back(next);
  }

  // It asks two acceptors for their terms and takes the next one.
  void campaign(int p) {
    if (proposer(p).kind != ProposerModel::kNone) return;
    for (int left_out = 0; left_out < kAcceptors; ++left_out) {
      int term = 0;
      for (int a = 0; a < kAcceptors; ++a) {
        if (a != left_out) term = std::max<int>(term, acceptor(a).term);
      }
      if (term + 1 > bounds_.terms) continue;
      State next = from_;
      next.proposers[p].kind = ProposerModel::kCampaign;
      next.proposers[p].term = static_cast<uint8_t>(term + 1);
      out_.push_back(next);
    }
  }

  // An acceptor of a lower term promises, and shows its log.
  void vote(int p, int a) {
    if (proposer(p).kind == ProposerModel::kNone || acceptor(a).term >= proposer(p).term) return;
    State next = from_;
    next.acceptors[a].term = proposer(p).term;
    if (proposer(p).kind == ProposerModel::kCampaign) {
      next.proposers[p].votes[a] = {1, acceptor(a).history, acceptor(a).log};
    }
    out_.push_back(next);
  }

  void win(int p) {
    const ProposerModel& m = proposer(p);
    if (m.kind != ProposerModel::kCampaign) return;
    int votes = 0;
    const ProposerModel::Vote* donor = nullptr;
    const auto rank = [](const ProposerModel::Vote& v) {
      return v.history.last_term(v.log.length) * 100 + v.log.length;
    };
    for (const auto& v : m.votes) {
      if (!v.given) continue;
      ++votes;
      if (donor == nullptr || rank(v) > rank(*donor)) donor = &v;
    }
    if (votes < kAcceptors / 2 + 1) return;
    State next = from_;
    ProposerModel& n = next.proposers[p];
    n.kind = ProposerModel::kLeader;
    n.log = donor->log;
    n.start = donor->log.length;
    for (int t = 0; t < kMaxTerms; ++t) {
      const uint8_t start = donor->history.start[t];
      n.history.start[t] = start != 0 && start - 1 <= donor->log.length ? start : 0;
    }
    n.history.start[m.term] = static_cast<uint8_t>(donor->log.length + 1);
    n.votes = {};
    ++next.wins[m.term];
    out_.push_back(next);
  }

  bool follows(int p, int a) const {
    return proposer(p).kind == ProposerModel::kLeader && acceptor(a).term == proposer(p).term;
  }

  // The part of an acceptor's log that is not the leader's goes. Until then it is of no use to it.
  void cut(int p, int a) {
    if (!follows(p, a)) return;
    const int common = acceptor(a).log.common_prefix(proposer(p).log);
    if (common == acceptor(a).log.length) return;
    State next = from_;
    next.acceptors[a].log.cut(common);
    out_.push_back(next);
  }

  void install(int p, int a) {
    if (!follows(p, a) || acceptor(a).history == proposer(p).history) return;
    if (acceptor(a).log.common_prefix(proposer(p).log) != acceptor(a).log.length) return;
    State next = from_;
    next.acceptors[a].history = proposer(p).history;
    out_.push_back(next);
  }

  bool installed(int p, int a) const {
    return follows(p, a) && acceptor(a).history == proposer(p).history;
  }

  void append(int p, int a) {
    if (!installed(p, a) || acceptor(a).log.length >= proposer(p).log.length) return;
    State next = from_;
    next.acceptors[a].log.push(proposer(p).log.entry[acceptor(a).log.length]);
    out_.push_back(next);
  }

  void acknowledge(int p, int a) {
    if (!installed(p, a)) return;
    const auto acked = static_cast<uint8_t>(acceptor(a).log.length + 1);
    if (proposer(p).acked[a] == acked) return;
    State next = from_;
    next.proposers[p].acked[a] = acked;
    out_.push_back(next);
  }

  void new_entry(int p) {
    const ProposerModel& m = proposer(p);
    if (m.kind != ProposerModel::kLeader || m.log.length >= bounds_.entries) return;
    State next = from_;
    next.proposers[p].log.push(m.term);
    out_.push_back(next);
  }

  // What two acceptors have, if that reaches the beginning of this term.
  void commit(int p) {
    const ProposerModel& m = proposer(p);
    if (m.kind != ProposerModel::kLeader) return;
    std::array<int, kAcceptors> have{};
    for (int a = 0; a < kAcceptors; ++a) have[a] = m.acked[a] > m.start ? m.acked[a] : 0;
    std::sort(have.begin(), have.end());
    const int commit = have[kAcceptors - (kAcceptors / 2 + 1)];
    if (commit <= m.commit) return;
    State next = from_;
    next.proposers[p].commit = static_cast<uint8_t>(commit);
    for (int i = next.committed.length; i < commit - 1; ++i) next.committed.push(m.log.entry[i]);
    out_.push_back(next);
  }

  const State& from_;
  Bounds bounds_;
  std::vector<State>& out_;
};

}  // namespace varve::consensus::model
