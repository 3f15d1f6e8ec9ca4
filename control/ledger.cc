#include "control/ledger.h"

namespace varve::control {
namespace {

// A store that can't be read for so long is given up; the next life begins with a fresh handle.
constexpr int kReadAttempts = 10;
constexpr Duration kReadPause = Duration::millis(100);

}  // namespace

Result<std::unique_ptr<Ledger>> Ledger::open(World& world, Store& store, Incarnation me) {
  VARVE_CHECK(me.value != 0);
  std::unique_ptr<Ledger> ledger(new Ledger(world, store, me));
  VARVE_TRY_ASSIGN(ledger->state_, store.load());
  const std::string bad = inconsistency(ledger->state_);
  if (!bad.empty()) return Status(Code::kCorrupt, "control's store: " + bad);
  VARVE_TRY(ledger->commit(Changes()));
  return ledger;
}

const Compute* Ledger::compute(const EndpointKey& key) const {
  const auto found = computes_.find(key);
  return found == computes_.end() ? nullptr : &found->second;
}

Status Ledger::change(const std::function<Result<Changes>(const State&)>& plan) {
  const Shield shield;
  const MutexGuard guard(changing_, "another change of control's state");
  VARVE_TRY(guard.status());
  VARVE_TRY(failed_);
  VARVE_TRY_ASSIGN(const Changes changes, plan(state_));
  if (changes.empty()) return Status();
  return commit(changes);
}

Status Ledger::commit(const Changes& changes) {
  State after = state_;
  apply(after, changes, me_);
  const std::string bad = inconsistency(after);
  VARVE_CHECK_MSG(bad.empty(), bad.c_str());
  Committed committed = store_.commit(state_.version, me_, changes);
  switch (committed.outcome) {
    case CommitOutcome::kDone:
      state_ = std::move(after);
      changed_.wake_all();
      return Status();
    case CommitOutcome::kConflict:
      return fail(Status(Code::kStale, "another control process has taken the store over"));
    case CommitOutcome::kUnknown:
      return find_out(std::move(after), std::move(committed.why));
  }
  VARVE_UNREACHABLE("no such outcome");
}

Status Ledger::find_out(State after, Status why) {
  world_.log.warning("commit_unknown", "reading the store again", {{"why", why}});
  Status last;
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    Result<State> found = store_.load();
    if (found.ok()) {
      if (*found == after) {
        state_ = std::move(after);
        changed_.wake_all();
        return Status();
      }
      if (*found == state_) return why;
      return fail(Status(Code::kStale, "another control process has taken the store over"));
    }
    last = found.status();
    if (!sleep_for(kReadPause).ok()) break;
  }
  return fail(std::move(last).with_context("control's store can't be read any more"));
}

Status Ledger::fail(Status why) {
  failed_ = std::move(why);
  changed_.wake_all();
  return failed_;
}

}  // namespace varve::control
