// "Now" of a branch: a position at or above everything that was acknowledged before the question.
//
// Three ways, by who writes to the branch:
//   - a compute that runs is asked: it knows what it has acknowledged;
//   - a compute that should run and can't be asked (it begins a new life, it can't be reached): the
//     end of the newest log of a quorum is at or above it, and is "now" once it is committed;
//   - nobody, for certain: control elects and commits the log's end itself. Never otherwise, since
//     an election fences whoever writes. What it found stays "now" until an endpoint is started.
#pragma once

#include <map>
#include <memory>

#include "control/elector.h"
#include "control/ledger.h"
#include "control/options.h"
#include "control/peers.h"
#include "runtime/sync.h"

namespace varve::control {

class Settler {
 public:
  Settler(Ledger& ledger, Peers& peers, Elector& elector, const ControlOptions& options)
      : ledger_(ledger), peers_(peers), elector_(elector), options_(options) {}

  // Invariant: the branch is ready. `exact` (may be null) becomes whether the position is certainly
  // a record's end. Suspends; Unavailable after options.settle_timeout.
  Result<Lsn> settle(const TenantTimelineId& timeline, bool* exact = nullptr);

  // Held while an election for the branch or the start of a writer is under way, so that neither
  // fences the other. Lives as long as this.
  Mutex& writer_lock(const TenantTimelineId& timeline);
  // A writer begins: what was settled without one counts no more. Invariant: the lock is held.
  void writer_begins(const TenantTimelineId& timeline) { settled_.erase(timeline); }

 private:
  Result<Lsn> ask_compute(const TenantTimelineId& timeline, const Endpoint& writer);
  Result<Lsn> elect(const TenantTimelineId& timeline);
  Result<Lsn> quorum_end(const TenantTimelineId& timeline);
  Result<bool> quorum_has_committed(const TenantTimelineId& timeline, Lsn lsn);

  Ledger& ledger_;
  Peers& peers_;
  Elector& elector_;
  const ControlOptions& options_;
  std::map<TenantTimelineId, std::unique_ptr<Mutex>> locks_;
  std::map<TenantTimelineId, Lsn> settled_;
};

}  // namespace varve::control
