// What an agent needs of the rest of Varve, as it sees it: a log that a quorum agrees on, and the
// pages that storage makes of it.
//
// Interfaces, so that the agent runs against the real clients (proposer_log.h over
// consensus/proposer, storage's client) and against models. All calls may suspend unless said
// otherwise; all waits obey the fiber's deadline and cancellation.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/status.h"
#include "base/time.h"
#include "compute/agent/manifest.h"

namespace varve::compute {

// An election that was won.
struct WonTerm {
  Term term;
  Lsn start;  // L: end of the quorum's log; this term's own bytes begin here
};

struct CommitPosition {
  Term term;  // of the appends that were acknowledged
  Lsn lsn;    // the quorum holds everything below; invalid until it has reached the term's start
};

// The log of one timeline, for one life of one agent. It wins at most one election, ever: once it
// is closed nothing opens it again and committed() does not move.
class LogService {
 public:
  virtual ~LogService() = default;

  // Wins an election or says why not. At most once.
  virtual Result<WonTerm> elect() = 0;
  // Takes complete, checked records over, behind what was appended before (at first: from L on).
  // Success says nothing of a quorum. The bytes of a position are given once and never changed.
  virtual Status append(Bytes wal) = 0;
  // Never suspends.
  virtual CommitPosition committed() const = 0;
  // Suspends until the quorum holds more than `lsn`. Laggards are fed meanwhile, below L by the
  // donor: an agent has no bytes there.
  virtual Result<CommitPosition> wait_beyond(Lsn lsn) = 0;
  // Sends every member the commit position now. Never suspends.
  virtual void announce() = 0;
  // The latest moment (of the monotonic clock) at which a quorum is known to have stood in the term
  // of this life: before it nobody else had won an election. Never suspends.
  virtual Instant confirmed() const = 0;
  // How far storage has told to have read; invalid if it has not told. Never suspends.
  virtual Lsn ingested() const = 0;
  // Committed bytes as the members hold them, for ranges below what this life appended.
  virtual Result<Bytes> read(LsnRange range) = 0;
  // What elect() or wait_beyond(lsn) is waiting for, for people; success when nothing is known.
  // Never suspends.
  virtual Status trouble(Lsn lsn) const {
    (void)lsn;
    return Status();
  }
  // Suspends until the log is closed for this life: Stale when a newer term exists.
  virtual Status wait_closed() = 0;
  // Closes it. Idempotent.
  virtual void stop(Status why) = 0;
};

struct PageQuery {
  std::vector<PageKey> keys;  // not empty
  // The version wanted is the newest at or below `at`. Storage may answer as soon as it has read
  // up to `not_modified_since`, because who asks knows that no page of `keys` changed between the
  // two.
  Lsn at;
  Lsn not_modified_since;
  Term term;  // of who asks: storage refuses (Stale) what is older than the newest it has seen
};

struct ServedPage {
  PageKey key;       // echoed
  Bytes page;        // kBlockSize bytes
  uint32_t crc = 0;  // CRC-32C of `page`, made where the page was made
};

class PageService {
 public:
  virtual ~PageService() = default;

  // Waits until storage has read up to `at` and describes the timeline exactly there. It says in
  // Manifest::ingested how far it had read; anything but `at` means that somebody else is writing.
  virtual Result<Manifest> manifest(Lsn at) = 0;
  // What manifest() is waiting for, for people; success when nothing is known. Never suspends.
  virtual Status trouble() const { return Status(); }
  // One page per key, in order. Corrupt, Unsupported or NotFound for a page that can't be rebuilt;
  // Unavailable or DeadlineExceeded when asking again may help.
  virtual Result<std::vector<ServedPage>> pages(const PageQuery& query) = 0;
};

}  // namespace varve::compute
