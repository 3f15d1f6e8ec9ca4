// Every state that the real core can reach in a small world, by brute force. Test support.
//
// The world: two proposers, three acceptors with disks, and connections between each two. Actions:
// a proposer connects, sends an append, writes an entry, restarts; a message arrives; the oldest
// disk effect of an acceptor is carried out; a connection breaks with all that is on its way; an
// acceptor crashes between two effects, keeping any prefix of what it wrote but did not sync, and
// starts again.
//
// What makes it affordable is that the cores are regular values: each distinct acceptor and
// proposer is interned once, a world is a dozen numbers, and each step of the real code runs once
// per distinct (value, input) and is remembered. States that differ by the names of nodes, or only
// in what no decision depends on (View::bookkeeping), count as one.
//
// Reductions; each loses only interleavings that commute with what is kept:
//   - a greeting and its reply are one action, and a proposer collects the terms of two acceptors
//     in one (terms only rise, so asking earlier is possible too);
//   - an append is pulled when it arrives: what it says depends on the proposer alone, which may as
//     well wait; votes and elected do wait on their way;
//   - with one connection at a time, a conversation is one action (whole_conversations), which may
//     stop behind each of its steps: while it lasts nobody else talks to anybody, and what can
//     happen meanwhile (others restart, an entry is written) may as well happen before or after;
//   - of two acknowledgements on their way the later stands for both; the first may have arrived
//     before;
//   - a proposer that closed starts again at once.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "consensus/core/acceptor.h"
#include "consensus/core/message_codec.h"
#include "consensus/core/model.h"
#include "consensus/core/proposer.h"

namespace varve::consensus::explorer {

inline constexpr int kAcceptors = model::kAcceptors;
inline constexpr int kProposers = model::kProposers;
inline constexpr Lsn kBase{0x1000};
inline constexpr uint64_t kEntry = 8;

struct ExplorerOptions {
  model::Bounds bounds;
  Rules rules;
  // false: a delivered message's effects run to the end, or to a crash
  bool separate_disk_steps = true;
  bool replies_wait = true;    // false: a reply arrives at once, or is lost with its connection
  bool commit_travels = true;  // false: acceptors are never told what is committed
  bool vouching = true;        // false: states that differ only in AcceptorState::flush are one
  bool connections_break = true;
  // at most so many are up at once; to have another, one breaks
  int connections = kProposers * kAcceptors;
  // one at a time, and each from its first to its last message in one action; needs messages and
  // disk effects that don't wait
  bool whole_conversations = false;
  bool acceptors_crash = true;
  uint64_t max_states = 50'000'000;
  bool stop_at_violation = true;
};

struct Hash128 {
  uint64_t a = 0;
  uint64_t b = 0;
  bool operator==(const Hash128&) const = default;
};
struct Hash128Hasher {
  size_t operator()(const Hash128& h) const { return h.a; }
};

struct Result {
  uint64_t states = 0;
  uint64_t transitions = 0;
  size_t acceptor_values = 0;
  size_t proposer_values = 0;
  uint64_t real_steps = 0;  // of the real code; the rest were remembered
  bool exhausted = false;
  std::string violation;           // empty: none
  std::vector<std::string> trace;  // of the violation, from the beginning
  std::unordered_map<Hash128, model::State, Hash128Hasher> projected;
};

Hash128 hash_of(const void* data, size_t size);
inline Hash128 hash_of(const std::string& bytes) {
  return hash_of(bytes.data(), bytes.size());
}

// Interned values: equal encodings get equal numbers.
template <class T>
struct Pool {
  std::unordered_map<std::string, uint32_t> numbers;
  std::deque<T> values;  // references stay good
  uint32_t intern(std::string key, T value) {
    const auto [it, fresh] =
        numbers.try_emplace(std::move(key), static_cast<uint32_t>(values.size()));
    if (fresh) values.push_back(std::move(value));
    return it->second;
  }
};

struct ProposerFrame {
  ProposerMessage message;
  std::vector<uint8_t> wal;  // one term per entry
};

// What is on its way on one connection: at most one message each way, as number of its frame + 1.
struct Link {
  uint16_t up = 0;
  uint16_t to_acceptor = 0;  // a vote request or elected
  uint16_t to_proposer = 0;
  bool operator==(const Link&) const = default;
};

struct PendingDisk {
  AcceptorEffect effect;
  std::vector<uint8_t> wal;
};

struct AcceptorNode {
  Acceptor core;
  AcceptorState disk;            // the control file
  std::vector<uint8_t> durable;  // entries that survive any crash
  std::vector<uint8_t> written;  // durable and what the page cache holds behind it
  std::vector<PendingDisk> pending;
};

struct AcceptorOutcome {
  uint32_t acceptor = 0;
  bool crashed = false;                         // its connections are gone
  std::vector<std::pair<int, uint32_t>> sends;  // proposer, frame
  std::vector<int> refused;                     // proposers
};

struct ProposerOutcome {
  uint32_t proposer = 0;
  bool closed = false;
  std::vector<std::pair<int, uint32_t>> sends;  // acceptor, frame
  std::vector<int> dropped;                     // acceptors
  bool won = false;
  Lsn committed;
};

inline constexpr int kRenamings = 12;  // six orders of acceptors, two of proposers

struct World {
  std::array<uint32_t, kAcceptors> acceptors{};
  std::array<uint32_t, kProposers> proposers{};
  uint32_t past = 0;
  std::array<std::array<Link, kAcceptors>, kProposers> links{};
};

enum class ActionKind : uint8_t {
  kStart,
  kCampaign,
  kConnect,
  kRequestArrives,
  kReplyArrives,
  kAppend,
  kWrite,
  kRestart,
  kBreak,
  kDisk,
  kCrash,
};
struct Action {
  ActionKind kind = ActionKind::kStart;
  int8_t p = -1;
  int8_t a = -1;
};

class Explorer {
 public:
  explicit Explorer(ExplorerOptions setup) : setup_(setup) {}
  Result run();

 private:
  struct Past {
    model::Log committed;
    std::array<uint8_t, model::kMaxTerms> wins{};
    uint8_t conflict = 0;
  };
  // What a conversation has made of those that it concerns.
  struct Talked {
    uint32_t proposer;
    uint32_t acceptor;
    uint32_t past;
    bool operator==(const Talked&) const = default;
  };
  // One that is being found out.
  struct Talk {
    int p;
    int a;
    std::set<std::array<uint32_t, 5>> seen;
    std::vector<World> open;  // may go on
    std::vector<Talked> ended;
  };
  struct Summary {  // what invariants and projection need of one acceptor
    model::AcceptorModel model;
    int last_term = 0;
    const char* broken = nullptr;
  };

  // Values
  uint32_t intern(AcceptorNode node);
  uint32_t intern(Proposer proposer);
  uint32_t intern(const Past& past);
  uint32_t intern(ProposerFrame frame);
  uint32_t intern(AcceptorMessage message);

  // Steps of the real code, remembered
  const std::vector<AcceptorOutcome>& acceptor_message(uint32_t acceptor, int p, uint32_t frame);
  const std::vector<AcceptorOutcome>& acceptor_disk(uint32_t acceptor);
  const std::vector<AcceptorOutcome>& acceptor_crash(uint32_t acceptor);
  uint32_t acceptor_disconnected(uint32_t acceptor, int p);
  const ProposerOutcome& proposer_connected(uint32_t proposer, int a);
  const ProposerOutcome& proposer_message(uint32_t proposer, int a, uint32_t frame);
  // The proposer after, and the frame; no frame when there is nothing (new) to send.
  const ProposerOutcome& proposer_pull(uint32_t proposer, int a, uint64_t entries);
  uint32_t proposer_disconnected(uint32_t proposer, int a);
  uint32_t proposer_writes(uint32_t proposer);
  void take(AcceptorNode& node, std::vector<AcceptorEffect>& effects,
            const std::vector<uint8_t>& wal, AcceptorOutcome& outcome);
  void one_disk_step(AcceptorNode& node, AcceptorOutcome& outcome);
  void crash_outcomes(const AcceptorNode& node, std::vector<AcceptorOutcome>& outcomes);
  std::vector<AcceptorOutcome> settle(AcceptorNode node, AcceptorOutcome outcome);
  ProposerOutcome finish(Proposer proposer, const std::vector<ProposerEffect>& effects);

  // Actions on worlds
  void successors(const World& w);
  void campaign(const World& w, int p);
  void connect(World& w, int p, int a);
  int connections_up(const World& w) const;
  bool answers(const World& w, int a) const;
  void append(const World& w, int p, int a, uint64_t entries);
  void request_arrives(const World& w, int p, int a);
  void reply_arrives(const World& w, int p, int a);
  void restart_proposer(World w, int p);
  void break_link(World& w, int p, int a);
  void acceptor_acts(const World& w, int a);
  void apply(World w, int a, const AcceptorOutcome& outcome, Action action);
  void apply(World& w, int p, const ProposerOutcome& outcome);
  void remember_past(World& w, const Proposer& core, const ProposerOutcome& outcome);
  void emit(const World& w, Action action);
  const std::vector<Talked>& conversation(const World& w, int p, int a);
  void goes_on(const World& w);
  void converse(const World& w, int p, int a);
  void emit_with_replies(World w, int a, Action action);

  // Judgement
  Hash128 canonical(const World& w) const;
  void check(const World& w);
  Summary summarize(const AcceptorNode& node) const;
  model::State project(const World& w) const;
  void violate(const std::string& what);
  ProposerConfig config() const;

  ExplorerOptions setup_;
  Result result_;
  Pool<AcceptorNode> acceptors_;
  Pool<Proposer> proposers_;
  Pool<Past> pasts_;
  Pool<ProposerFrame> proposer_frames_;
  Pool<AcceptorMessage> acceptor_frames_;
  Pool<char> renamed_;
  // By number of the value: its name under each renaming; what judgement needs.
  std::vector<std::array<uint32_t, kRenamings>> acceptor_names_;
  std::vector<std::array<uint32_t, kRenamings>> proposer_names_;
  std::vector<Summary> summaries_;
  uint32_t fresh_proposer_ = 0;

  std::unordered_map<uint64_t, std::vector<AcceptorOutcome>> message_memo_;
  std::unordered_map<uint64_t, std::vector<AcceptorOutcome>> disk_memo_;
  std::unordered_map<uint64_t, std::vector<AcceptorOutcome>> crash_memo_;
  std::unordered_map<uint64_t, uint32_t> gone_memo_;
  std::unordered_map<uint64_t, ProposerOutcome> connected_memo_;
  std::unordered_map<uint64_t, ProposerOutcome> proposer_memo_;
  std::unordered_map<uint64_t, ProposerOutcome> pull_memo_;
  std::unordered_map<uint64_t, uint32_t> proposer_gone_memo_;
  std::unordered_map<uint64_t, uint32_t> write_memo_;
  std::unordered_map<uint64_t, std::vector<Talked>> conversation_memo_;
  Talk* talk_ = nullptr;

  std::unordered_set<Hash128, Hash128Hasher> visited_;
  struct Visited {
    World world;
    uint32_t parent;
    Action action;
  };
  std::vector<Visited> queue_;
  uint32_t current_ = 0;
};

}  // namespace varve::consensus::explorer
