// One timeline of a safekeeper, alive: the acceptor, its log, and the fibers that carry out what it
// decides.
//
// Everything goes through step(): it runs the acceptor without suspending and sorts the effects
// into messages, which leave at once, and disk effects, which one fiber carries out in order. That
// fiber joins all writes in front of a sync, and the sync, into one durable write: with a proposer
// that streams, each turn of the disk carries what arrived during the last one.
//
// A disk error ends this life of the timeline: every connection is refused with the error, and
// after a pause it is loaded again from disk, like after a crash. A timeline whose files contradict
// each other stays unserved, with the reason, while others go on.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "consensus/common/wal_tail.h"
#include "consensus/core/acceptor.h"
#include "consensus/core/message_codec.h"
#include "consensus/safekeeper/missing_prefix.h"
#include "consensus/safekeeper/options.h"
#include "consensus/safekeeper/segment_log.h"
#include "runtime/world.h"
#include "wal/decoder.h"

namespace varve::consensus {

// Replies to one proposer connection. Bounded by itself: of two waiting acknowledgements the later
// stands for both, and the protocol allows one other reply in flight.
class ReplyQueue {
 public:
  void push(AcceptorMessage message);
  // Nothing more comes; receive() tells why once it is drained.
  void close(Status why);
  // Suspends while empty.
  Result<AcceptorMessage> receive();

 private:
  std::deque<AcceptorMessage> messages_;
  std::optional<Status> closed_;
  WaitQueue ready_;
};

// What a sender tells about whoever reads from it.
struct ReaderFeedback {
  HotStandbyFeedback standby;
  std::optional<PageserverFeedback> pageserver;
};

struct TimelineStatus {
  AcceptorState state;  // as decided, durable or about to be
  Lsn flush;
  Lsn commit;
  Term last_log_term;
  size_t proposers = 0;
  size_t readers = 0;
};

class Timeline {
 public:
  // Loads it from `directory` and starts its fibers below `parent`. Suspends for a scan of the log
  // from its persisted commit position. Corrupt and NotFound name the file. `observer` may be null.
  static Result<std::unique_ptr<Timeline>> load(World& world, const SafekeeperOptions& options,
                                                std::string directory, Scope& parent,
                                                ProtocolObserver* observer);
  // Makes `directory` of a new timeline, durable but for its own name; the caller renames it to its
  // place. `prefix` is the WAL from the segment's beginning up to state.timeline_start; when empty,
  // the first page gets a header of its own, the rest is zero and it is noted that it is missing,
  // and whose log it is.
  static Status create(Disk& disk, const std::string& directory, const AcceptorState& state,
                       Bytes prefix, std::optional<TimelineId> parent = {});

  // Invariant: stop() has returned.
  ~Timeline();
  // Ends its fibers, closes all connections with `why` and waits for the disk. Suspends.
  void stop(Status why);

  // --- proposers

  // A new conversation; `replies` must outlive close_proposer().
  ConnectionId open_proposer(ReplyQueue& replies);
  void close_proposer(ConnectionId connection);
  // One message with its frame. Suspends while too much WAL is queued. The error closes the
  // connection.
  Status receive(ConnectionId from, const DecodedProposerMessage& message, const Bytes& frame);

  // --- readers

  const Watch<Lsn>& flushed() const { return flush_; }
  Watch<Lsn>& flushed() { return flush_; }
  Watch<Lsn>& committed() { return commit_; }
  Term term() const { return core_->term(); }
  // [begin, begin + length), from memory if it is new enough. Invariant: the caller stays below
  // flush.
  Result<std::vector<Bytes>> read(Lsn begin, uint64_t length);
  // First position that can be read.
  Lsn readable_from() const {
    return missing_prefix_ ? std::max(log_->oldest(), start_position()) : log_->oldest();
  }
  // Where the timeline begins; in front of it lies the parent's log.
  Lsn start_position() const { return core_->state().timeline_start; }
  uint64_t open_reader();
  void close_reader(uint64_t reader);
  void feedback(uint64_t reader, const ReaderFeedback& feedback);

  // --- what lies in front

  // Set while the WAL in front of the start is not here.
  const std::optional<MissingPrefix>& missing_prefix() const { return missing_prefix_; }
  // Takes a piece of it, in any order; durable after success. Suspends.
  Status write_prefix(Lsn begin, Bytes wal);
  // All of it was written: from now on it can be read. Suspends.
  Status finish_prefix();

  // --- control

  // Installs it durably. Stale when it is not newer, Invalid when it lacks this node.
  Status switch_membership(const Membership& membership);
  Status bump_term(Term term);
  TimelineStatus status() const;
  // Success while it serves, else why not.
  const Status& failure() const { return failure_; }
  // Waits for the end of this life; Cancelled when the waiter is.
  Status wait_failed();
  const TenantTimelineId& id() const { return core_->state().id; }
  const ServerInfo& server() const { return core_->state().server; }

 private:
  struct QueuedEffect {
    AcceptorEffect effect;
    Bytes wal;       // of a write
    Lsn record_end;  // of a write
  };

  Timeline(World& world, const SafekeeperOptions& options, std::string directory, Scope& parent,
           ProtocolObserver* observer);
  Status start();
  Status find_missing_prefix();
  uint64_t wanted_segment() const;
  Result<Lsn> scan(const AcceptorState& state);
  void reset_decoder(Lsn boundary);
  Result<Lsn> decode(Lsn begin, std::span<const uint8_t> bytes);

  EffectNumber step(const AcceptorInput& input, const Bytes& wal = {}, Lsn record_end = Lsn());
  void send(const SendEffect& effect);
  void publish();
  Status wait_done(EffectNumber number);

  Status disk_fiber();
  Status carry_out_writes();
  Status carry_out(const AcceptorEffect& effect);
  void effect_done(Lsn record_end);
  Status prepare_fiber();
  Status save_fiber();
  void fail(Status why);

  World& world_;
  const SafekeeperOptions& options_;
  std::string directory_;
  ProtocolObserver* observer_;
  std::optional<Acceptor> core_;
  std::unique_ptr<SegmentLog> log_;
  std::optional<MissingPrefix> missing_prefix_;
  std::unique_ptr<wal::Decoder> decoder_;
  WalTail tail_;

  std::deque<QueuedEffect> queue_;
  uint64_t queued_bytes_ = 0;
  EffectNumber done_ = 0;
  WaitQueue work_;
  WaitQueue progress_;
  WaitQueue room_;
  WaitQueue written_;

  std::map<uint64_t, ReplyQueue*> proposers_;
  std::map<uint64_t, ReaderFeedback> readers_;
  uint64_t next_connection_ = 1;
  uint64_t next_reader_ = 1;
  Watch<Lsn> flush_{Lsn()};
  Watch<Lsn> commit_{Lsn()};
  Status failure_;
  Scope scope_;
};

}  // namespace varve::consensus
