// The proposer in the world: connections to the members, the bytes behind the core's decisions.
//
//   ProposerDriver driver(world, config, credentials, options, scope);
//   VARVE_TRY_ASSIGN(const WonElection won, driver.elect());     // L is won.start
//   VARVE_TRY(driver.wait_committed(won.start));                // laggards are fed, L is committed
//   ... base backup at L; forge [L, E) ...
//   VARVE_TRY(driver.append(bytes));                             // complete records, from L on
//   VARVE_TRY(driver.wait_committed(E));
//   driver.stop(why);
//
// A driver wins at most one election. Before it has won it tries again, with a new core, when a
// vote was refused; once it has won, a higher term, another membership or stop() closes it for
// ever: closed() holds why, every wait returns it, and the commit position never moves again (the
// gate of a compute rests on this).
//
// Bytes below the term's start come from the donor and, when that fails, from any member that has
// acknowledged them; never from here. Bytes from the start on come from memory, and once they have
// been let go there, from a member too. Only what is not committed yet has to be in memory, and
// append() waits rather than hold more.
//
// With a spare delay, a quorum is sent everything at once, the others a moment later (front.h).
#pragma once

#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "consensus/client/connection.h"
#include "consensus/common/wal_tail.h"
#include "consensus/core/proposer.h"
#include "runtime/world.h"

namespace varve::consensus {

struct ProposerOptions {
  Duration reconnect_pause = Duration::millis(200);
  Duration silence = Duration::seconds(10);
  Duration heartbeat = Duration::seconds(1);
  Duration commit_notice = Duration::millis(1);
  Duration spare_delay = Duration::millis(0);
  uint64_t memory_bytes = 32 << 20;

  template <class V>
  static void describe(V&& v) {
    v(&ProposerOptions::reconnect_pause,
      OptionInfo{"proposer_reconnect_pause", "ms", 1, 60000,
                 "longest pause before a lost safekeeper is tried again; drawn, so that computes "
                 "don't queue up"});
    v(&ProposerOptions::silence,
      OptionInfo{"proposer_silence", "ms", 100, 600000,
                 "a safekeeper that says nothing for so long is connected anew"});
    v(&ProposerOptions::heartbeat,
      OptionInfo{"proposer_heartbeat", "ms", 10, 60000,
                 "an idle proposer says so this often; must be below the silence limit"});
    v(&ProposerOptions::commit_notice,
      OptionInfo{"proposer_commit_notice", "ms", 0, 1000,
                 "how long a newer commit position waits for WAL to travel with; readers of "
                 "committed WAL lag by so much when nothing else is written"});
    v(&ProposerOptions::spare_delay,
      OptionInfo{"proposer_spare_delay", "ms", 0, 1000,
                 "how long WAL for members that a quorum can do without waits for more; also how "
                 "long a commit waits for a slow member before another one is asked"});
    v(&ProposerOptions::memory_bytes,
      OptionInfo{"proposer_memory", "bytes", 256 << 10, 1 << 30,
                 "WAL kept for safekeepers that lag; half of it bounds what is not committed yet"});
  }
};

class ProposerDriver {
 public:
  // Starts connecting at once, in fibers below `parent`. All references must outlive it.
  ProposerDriver(World& world, ProposerConfig config, Credentials credentials,
                 const ProposerOptions& options, Scope& parent,
                 ProtocolObserver* observer = nullptr);
  // Invariant: stop() has returned.
  ~ProposerDriver();
  ProposerDriver(const ProposerDriver&) = delete;
  ProposerDriver& operator=(const ProposerDriver&) = delete;

  // Waits until the election is won (bounded by the fiber's deadline). Why it was closed,
  // otherwise.
  Result<WonElection> elect();
  // Takes over WAL that begins at available(): whole extents of checked records. Waits while more
  // than half of the memory is uncommitted. Invariant: elected.
  Status append(Bytes wal);
  Lsn available() const { return core_->available(); }

  // The quorum's position in this term; zero until it has reached the term's start.
  Watch<Lsn>& committed() { return commit_; }
  Status wait_committed(Lsn lsn);
  // Sends every member a message now, so that they learn the commit position.
  void heartbeat();

  // The latest moment at which a quorum is known to have stood in this term; the smallest Instant
  // while none has. A reply counts from when what it answers was sent, so nobody else had won an
  // election before that moment. What a lease is made of. Never suspends.
  Instant confirmed() const;

  // Success while it lives; then, for ever, why not.
  const Status& closed() const { return closed_; }
  // Waits for the end and returns why.
  Status wait_closed();
  // What keeps it from winning its election or, afterwards, from a quorum that holds its log up to
  // `lsn`: the members that are missing, each with its address and why. Success when a quorum is
  // with it, or when nothing is known yet. Never suspends.
  Status trouble(Lsn lsn) const;
  // The newest feedback of storage that came with an acknowledgement.
  const std::optional<PageserverFeedback>& feedback() const { return feedback_; }
  const Proposer& core() const { return *core_; }

  // Closes it for ever with `why`, ends its fibers and waits for them. Idempotent. Suspends.
  void stop(Status why);

 private:
  // An append on its way to a member.
  struct Sent {
    Instant at;
    Lsn end;
    bool data = false;
  };
  struct Peer {
    Member member;
    std::deque<ProposerMessage> outbox;
    WaitQueue work;
    std::unique_ptr<PushConnection> connection;
    Scope* conversation = nullptr;  // while connected
    std::unique_ptr<LogStream> feed;
    size_t failures = 0;  // of feeds, to try another holder
    bool gone = false;    // no member any more
    Status lost;          // why the last conversation ended; success while one goes on well
    std::deque<Sent> unanswered;
    Instant confirmed{std::numeric_limits<int64_t>::min()};
    Duration pace;         // how long an answer takes, smoothed
    bool in_front = true;  // is sent WAL at once (front.h)
    // When the oldest of what is held back from it became known; unset while nothing is.
    std::optional<Instant> held_since;
  };

  void connect_to(const Membership& membership);
  Status peer_fiber(Peer& peer);
  Status converse(Peer& peer);
  Status read_fiber(Peer& peer);
  Status write_fiber(Peer& peer);
  Result<bool> hold(Peer& peer);
  Duration patience(const Peer& peer) const;
  void choose_front();
  Status heartbeat_fiber();
  Result<std::vector<Bytes>> fetch(Peer& peer, Lsn begin, Lsn end);
  Result<std::vector<Bytes>> fetch_from_members(Peer& peer, Lsn begin, Lsn end);
  Status pause();
  void confirm(Peer& peer, const AppendResponse& response);

  void step(const ProposerInput& input);
  void on_effect(ProposerEffect& effect);
  void on_closed(const Closed& effect);
  void begin_again();
  void wake_all();
  Peer* find(NodeId node);

  World& world_;
  ProposerConfig config_;
  Credentials credentials_;
  const ProposerOptions& options_;
  ProtocolObserver* observer_;
  std::optional<Proposer> core_;
  std::map<uint64_t, std::unique_ptr<Peer>> peers_;
  WalTail memory_;
  bool sparing_ = false;  // somebody is not in the front
  std::optional<WonElection> won_;
  WaitQueue changed_;
  Watch<Lsn> commit_{Lsn()};
  std::optional<PageserverFeedback> feedback_;
  Status closed_;
  Scope scope_;
};

}  // namespace varve::consensus
