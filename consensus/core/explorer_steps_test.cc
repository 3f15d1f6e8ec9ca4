// The explorer's hands: interned values and remembered steps of the real cores.
#include "consensus/core/explorer.h"

#include <algorithm>

#include "base/random.h"

namespace varve::consensus::explorer {
namespace {

std::string text_of(const Writer& writer) {
  const auto span = writer.span();
  return {reinterpret_cast<const char*>(span.data()), span.size()};
}

uint64_t pair_key(uint32_t a, uint32_t b) {
  return uint64_t{a} << 32 | b;
}

template <class Map, class Key, class Make>
auto& remember(Map& memo, Key key, uint64_t& count, Make make) {
  const auto found = memo.find(key);
  if (found != memo.end()) return found->second;
  ++count;
  auto value = make();
  return memo.emplace(key, std::move(value)).first->second;
}

}  // namespace

Hash128 hash_of(const void* data, size_t size) {
  const auto* bytes = static_cast<const char*>(data);
  Hash128 hash{0x9E3779B97F4A7C15ull, 0xC2B2AE3D27D4EB4Full};
  for (size_t i = 0; i < size; i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + i, std::min<size_t>(8, size - i));
    hash.a = mix64(hash.a ^ word);
    hash.b = mix64(hash.b + word * 0x9FB21C651E98DF25ull);
  }
  hash.a = mix64(hash.a ^ size);
  return hash;
}

namespace {

// Renaming r of twelve: acceptors by one of six permutations, proposers swapped or not.
constexpr int kPermutations[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

size_t new_acceptor(int renaming, size_t a) {
  return static_cast<size_t>(kPermutations[renaming / 2][a]);
}
size_t new_proposer(int renaming, size_t p) {
  return renaming % 2 == 0 ? p : 1 - p;
}

class Permuted : public View {
 public:
  Permuted(int renaming, bool vouching) : renaming_(renaming), vouching_(vouching) {}
  NodeId node(NodeId node) const override {
    return node.value == 0 ? node : NodeId(new_acceptor(renaming_, node.value - 1) + 1);
  }
  ConnectionId connection(ConnectionId connection) const override {
    return {new_proposer(renaming_, connection.value)};
  }
  bool bookkeeping() const override { return false; }
  bool vouching() const override { return vouching_; }

 private:
  int renaming_;
  bool vouching_;
};

std::string encoded(const AcceptorNode& node, int renaming, bool vouching) {
  const Permuted view(renaming, vouching);
  Writer writer;
  node.core.encode(writer, view);
  node.disk.encode(writer, view);
  writer.le(static_cast<uint8_t>(node.durable.size()));
  writer.bytes(node.written);
  writer.u8(0xFF);
  for (const PendingDisk& pending : node.pending) {
    writer.u8(static_cast<uint8_t>(pending.effect.what.index()));
    if (const auto* persist = std::get_if<PersistEffect>(&pending.effect.what)) {
      persist->state.encode(writer, view);
    } else if (const auto* cut = std::get_if<TruncateEffect>(&pending.effect.what)) {
      writer.le(cut->at.value);
    }
    writer.bytes(pending.wal);
  }
  return text_of(writer);
}

std::string encoded(const Proposer& proposer, int renaming) {
  Writer writer;
  proposer.encode(writer, Permuted(renaming, true));
  return text_of(writer);
}

}  // namespace

uint32_t Explorer::intern(AcceptorNode node) {
  std::string key = encoded(node, 0, setup_.vouching);
  const uint32_t number = acceptors_.intern(std::move(key), std::move(node));
  if (number == acceptor_names_.size()) {
    const AcceptorNode& value = acceptors_.values[number];
    auto& names = acceptor_names_.emplace_back();
    for (int r = 0; r < kRenamings; ++r) {
      names[static_cast<size_t>(r)] = renamed_.intern("a" + encoded(value, r, setup_.vouching), 0);
    }
    summaries_.push_back(summarize(value));
  }
  return number;
}

uint32_t Explorer::intern(Proposer proposer) {
  std::string key = encoded(proposer, 0);
  const uint32_t number = proposers_.intern(std::move(key), std::move(proposer));
  if (number == proposer_names_.size()) {
    auto& names = proposer_names_.emplace_back();
    for (int r = 0; r < kRenamings; ++r) {
      names[static_cast<size_t>(r)] =
          renamed_.intern("p" + encoded(proposers_.values[number], r), 0);
    }
  }
  return number;
}

uint32_t Explorer::intern(const Past& past) {
  std::string key(reinterpret_cast<const char*>(&past), sizeof past);
  return pasts_.intern(std::move(key), past);
}

// What no decision depends on is left out of messages too.
uint32_t Explorer::intern(ProposerFrame frame) {
  if (auto* append = std::get_if<AppendRequest>(&frame.message)) {
    append->truncate = Lsn();
    if (!setup_.commit_travels) append->commit = Lsn();
  }
  const auto bytes = encode(frame.message);
  std::string key(bytes.begin(), bytes.end());
  key.append(frame.wal.begin(), frame.wal.end());
  return proposer_frames_.intern(std::move(key), std::move(frame));
}

uint32_t Explorer::intern(AcceptorMessage message) {
  if (auto* vote = std::get_if<VoteResponse>(&message)) vote->truncate = Lsn();
  if (auto* response = std::get_if<AppendResponse>(&message)) response->commit = Lsn();
  const auto bytes = encode(message);
  return acceptor_frames_.intern(std::string(bytes.begin(), bytes.end()), std::move(message));
}

// ---- acceptors

// Sorts out what a step of the core asked for: messages leave, disk effects queue up.
void Explorer::take(AcceptorNode& node, std::vector<AcceptorEffect>& effects,
                    const std::vector<uint8_t>& wal, AcceptorOutcome& outcome) {
  for (AcceptorEffect& effect : effects) {
    if (const auto* send = std::get_if<SendEffect>(&effect.what)) {
      outcome.sends.emplace_back(static_cast<int>(send->to.value), intern(send->message));
    } else if (const auto* refuse = std::get_if<RefuseEffect>(&effect.what)) {
      outcome.refused.push_back(static_cast<int>(refuse->to.value));
    } else {
      const bool write = std::holds_alternative<WriteEffect>(effect.what);
      node.pending.push_back({std::move(effect), write ? wal : std::vector<uint8_t>{}});
    }
  }
  effects.clear();
}

void Explorer::one_disk_step(AcceptorNode& node, AcceptorOutcome& outcome) {
  const PendingDisk pending = std::move(node.pending.front());
  node.pending.erase(node.pending.begin());
  if (const auto* persist = std::get_if<PersistEffect>(&pending.effect.what)) {
    node.disk = persist->state;
  } else if (const auto* cut = std::get_if<TruncateEffect>(&pending.effect.what)) {
    const size_t length = (cut->at - kBase) / kEntry;
    if (node.durable.size() > length) node.durable.resize(length);
    if (node.written.size() > length) node.written.resize(length);
  } else if (const auto* write = std::get_if<WriteEffect>(&pending.effect.what)) {
    VARVE_CHECK(write->begin == kBase + kEntry * node.written.size());
    node.written.insert(node.written.end(), pending.wal.begin(), pending.wal.end());
  } else {
    node.durable = node.written;
  }
  std::vector<AcceptorEffect> effects;
  node.core.step(EffectDone{pending.effect.number, kBase + kEntry * node.written.size()}, effects);
  take(node, effects, {}, outcome);
}

// A crash keeps the control file, what was synced, and any prefix of what was written behind it.
void Explorer::crash_outcomes(const AcceptorNode& node, std::vector<AcceptorOutcome>& outcomes) {
  for (size_t kept = node.durable.size(); kept <= node.written.size(); ++kept) {
    const std::vector<uint8_t> log(node.written.begin(),
                                   node.written.begin() + static_cast<long>(kept));
    const Lsn flush = kBase + kEntry * kept;
    if (flush < node.disk.flush || flush < node.disk.commit) {
      violate("a restarted acceptor holds less than its control file vouches for");
      continue;
    }
    AcceptorNode fresh{Acceptor(node.disk, flush, setup_.rules), node.disk, log, log, {}};
    AcceptorOutcome outcome;
    outcome.crashed = true;
    outcome.acceptor = intern(std::move(fresh));
    outcomes.push_back(std::move(outcome));
  }
}

// Without separate disk steps: all effects run, or a crash comes between two of them.
std::vector<AcceptorOutcome> Explorer::settle(AcceptorNode node, AcceptorOutcome outcome) {
  std::vector<AcceptorOutcome> outcomes;
  if (!setup_.separate_disk_steps) {
    while (!node.pending.empty()) {
      if (setup_.acceptors_crash) crash_outcomes(node, outcomes);
      one_disk_step(node, outcome);
    }
  }
  outcome.acceptor = intern(std::move(node));
  outcomes.push_back(std::move(outcome));
  return outcomes;
}

const std::vector<AcceptorOutcome>& Explorer::acceptor_message(uint32_t acceptor, int p,
                                                               uint32_t frame) {
  const uint64_t key = pair_key(acceptor, frame * kProposers + static_cast<uint32_t>(p));
  return remember(message_memo_, key, result_.real_steps, [&] {
    AcceptorNode node = acceptors_.values[acceptor];
    const ProposerFrame input = proposer_frames_.values[frame];
    std::vector<AcceptorEffect> effects;
    AcceptorOutcome outcome;
    node.core.step(MessageIn{ConnectionId{static_cast<uint64_t>(p)}, input.message}, effects);
    take(node, effects, input.wal, outcome);
    return settle(std::move(node), std::move(outcome));
  });
}

const std::vector<AcceptorOutcome>& Explorer::acceptor_disk(uint32_t acceptor) {
  return remember(disk_memo_, uint64_t{acceptor}, result_.real_steps, [&] {
    AcceptorNode node = acceptors_.values[acceptor];
    AcceptorOutcome outcome;
    one_disk_step(node, outcome);
    outcome.acceptor = intern(std::move(node));
    return std::vector<AcceptorOutcome>{std::move(outcome)};
  });
}

const std::vector<AcceptorOutcome>& Explorer::acceptor_crash(uint32_t acceptor) {
  return remember(crash_memo_, uint64_t{acceptor}, result_.real_steps, [&] {
    std::vector<AcceptorOutcome> outcomes;
    const AcceptorNode node = acceptors_.values[acceptor];
    crash_outcomes(node, outcomes);
    return outcomes;
  });
}

uint32_t Explorer::acceptor_disconnected(uint32_t acceptor, int p) {
  return remember(gone_memo_, pair_key(acceptor, static_cast<uint32_t>(p)), result_.real_steps,
                  [&] {
                    AcceptorNode node = acceptors_.values[acceptor];
                    std::vector<AcceptorEffect> effects;
                    node.core.step(Disconnected{ConnectionId{static_cast<uint64_t>(p)}}, effects);
                    VARVE_CHECK(effects.empty());
                    return intern(std::move(node));
                  });
}

// ---- proposers

ProposerConfig Explorer::config() const {
  ProposerConfig config;
  config.membership.generation = Configuration(1);
  for (int a = 0; a < kAcceptors; ++a) {
    config.membership.members.push_back({NodeId(static_cast<uint64_t>(a) + 1), "", 0});
  }
  config.server = {150000, 1, 1 << 24};
  return config;
}

ProposerOutcome Explorer::finish(Proposer proposer, const std::vector<ProposerEffect>& effects) {
  ProposerOutcome outcome;
  for (const ProposerEffect& effect : effects) {
    if (const auto* send = std::get_if<SendToMember>(&effect)) {
      outcome.sends.emplace_back(static_cast<int>(send->to.value) - 1,
                                 intern(ProposerFrame{send->message, {}}));
    } else if (const auto* drop = std::get_if<DropMember>(&effect)) {
      outcome.dropped.push_back(static_cast<int>(drop->node.value) - 1);
    } else if (std::holds_alternative<WonElection>(effect)) {
      outcome.won = true;
    } else if (const auto* committed = std::get_if<Committed>(&effect)) {
      outcome.committed = committed->lsn;
    } else if (std::holds_alternative<Closed>(effect)) {
      outcome.closed = true;
    }
  }
  outcome.proposer = intern(std::move(proposer));
  return outcome;
}

const ProposerOutcome& Explorer::proposer_connected(uint32_t proposer, int a) {
  const uint64_t key = pair_key(proposer, static_cast<uint32_t>(a));
  return remember(connected_memo_, key, result_.real_steps, [&] {
    Proposer core = proposers_.values[proposer];
    std::vector<ProposerEffect> effects;
    core.step(MemberConnected{NodeId(static_cast<uint64_t>(a) + 1)}, effects);
    return finish(std::move(core), effects);
  });
}

const ProposerOutcome& Explorer::proposer_message(uint32_t proposer, int a, uint32_t frame) {
  const uint64_t key = pair_key(proposer, frame * kAcceptors + static_cast<uint32_t>(a));
  return remember(proposer_memo_, key, result_.real_steps, [&] {
    Proposer core = proposers_.values[proposer];
    std::vector<ProposerEffect> effects;
    const NodeId node(static_cast<uint64_t>(a) + 1);
    core.step(MemberMessage{node, acceptor_frames_.values[frame]}, effects);
    return finish(std::move(core), effects);
  });
}

const ProposerOutcome& Explorer::proposer_pull(uint32_t proposer, int a, uint64_t entries) {
  const uint64_t key =
      pair_key(proposer, static_cast<uint32_t>(entries) * kAcceptors + static_cast<uint32_t>(a));
  return remember(pull_memo_, key, result_.real_steps, [&] {
    Proposer core = proposers_.values[proposer];
    ProposerOutcome outcome;
    const auto append = core.next_append(NodeId(static_cast<uint64_t>(a) + 1), entries * kEntry);
    if (!append || (entries > 1 && append->end - append->begin < entries * kEntry)) return outcome;
    ProposerFrame frame{*append, {}};
    for (Lsn at = append->begin; at < append->end; at = at + kEntry) {
      frame.wal.push_back(static_cast<uint8_t>(core.history().term_at(at).value));
    }
    outcome.sends.emplace_back(a, intern(std::move(frame)));
    outcome.proposer = intern(std::move(core));
    return outcome;
  });
}

uint32_t Explorer::proposer_disconnected(uint32_t proposer, int a) {
  const uint64_t key = pair_key(proposer, static_cast<uint32_t>(a));
  return remember(proposer_gone_memo_, key, result_.real_steps, [&] {
    Proposer core = proposers_.values[proposer];
    std::vector<ProposerEffect> effects;
    core.step(MemberDisconnected{NodeId(static_cast<uint64_t>(a) + 1)}, effects);
    VARVE_CHECK(effects.empty());
    return intern(std::move(core));
  });
}

uint32_t Explorer::proposer_writes(uint32_t proposer) {
  return remember(write_memo_, uint64_t{proposer}, result_.real_steps, [&] {
    Proposer core = proposers_.values[proposer];
    std::vector<ProposerEffect> effects;
    core.step(WalAvailable{core.available() + kEntry}, effects);
    return intern(std::move(core));
  });
}

// The least of its names.
Hash128 Explorer::canonical(const World& w) const {
  using Names = std::array<uint32_t, kAcceptors + kProposers>;
  World best;
  Names least{};
  const bool links = connections_up(w) > 0;
  for (int r = 0; r < kRenamings; ++r) {
    const auto name = static_cast<size_t>(r);
    Names names;
    for (size_t a = 0; a < kAcceptors; ++a) {
      names[new_acceptor(r, a)] = acceptor_names_[w.acceptors[a]][name];
    }
    for (size_t p = 0; p < kProposers; ++p) {
      names[kAcceptors + new_proposer(r, p)] = proposer_names_[w.proposers[p]][name];
    }
    if (r > 0 && least < names) continue;
    World named;
    named.past = w.past;
    std::copy_n(names.begin(), kAcceptors, named.acceptors.begin());
    std::copy_n(names.begin() + kAcceptors, kProposers, named.proposers.begin());
    for (size_t p = 0; links && p < kProposers; ++p) {
      for (size_t a = 0; a < kAcceptors; ++a) {
        named.links[new_proposer(r, p)][new_acceptor(r, a)] = w.links[p][a];
      }
    }
    const bool less = r == 0 || names < least || std::memcmp(&named, &best, sizeof best) < 0;
    if (less) best = named;
    least = names;
  }
  static_assert(std::has_unique_object_representations_v<World>);
  return hash_of(&best, sizeof best);
}

}  // namespace varve::consensus::explorer
