// What control knows: the state that its store keeps, and what it has learnt of computes since it
// began. The one place where the state changes.
//
// A change is planned on the newest state and committed before anybody sees it; changes happen one
// after the other. Whoever waits for something looks again after every change.
//
// A ledger whose store can't tell what it holds, or was taken over by another life of control, has
// failed for ever: control ends, and its next life reads what there is.
#pragma once

#include <functional>
#include <memory>

#include "control/plan/state.h"
#include "control/plan/steps.h"
#include "control/store/store.h"
#include "runtime/sync.h"
#include "runtime/world.h"

namespace varve::control {

class Ledger {
 public:
  // Reads the store and takes it over: an earlier life's commits are conflicts from now on.
  // `world` and `store` must outlive it. Suspends.
  static Result<std::unique_ptr<Ledger>> open(World& world, Store& store, Incarnation me);
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // The newest state, under one reference for the ledger's lifetime. What it holds is replaced by
  // every change: keep copies, not pointers into it, across anything that suspends.
  const State& state() const { return state_; }
  Computes& computes() { return computes_; }
  const Compute* compute(const EndpointKey& key) const;

  // Commits what `plan` says of the newest state; nothing when it says nothing. Errors are the
  // plan's, or the store's: then nothing of it has happened and the same may be tried again, unless
  // failed(). Suspends; is not cancelled, since a commit has an outcome whether or not somebody
  // waits for it.
  Status change(const std::function<Result<Changes>(const State&)>& plan);

  // Computes have changed: wakes whoever waits.
  void learnt() { changed_.wake_all(); }
  // Suspends until predicate() holds, which is asked now and after each change; the ledger's
  // failure ends it.
  template <class P>
  Status wait_until(P predicate, const char* label, Instant deadline = Instant::never()) {
    while (!predicate()) {
      VARVE_TRY(failed_);
      VARVE_TRY(changed_.wait(label, deadline));
    }
    return Status();
  }
  // Suspends until the next change.
  Status wait_change(const char* label, Instant deadline = Instant::never()) {
    VARVE_TRY(failed_);
    return changed_.wait(label, deadline);
  }
  const Status& failed() const { return failed_; }

 private:
  Ledger(World& world, Store& store, Incarnation me) : world_(world), store_(store), me_(me) {}
  Status commit(const Changes& changes);
  Status find_out(State after, Status why);
  Status fail(Status why);

  World& world_;
  Store& store_;
  Incarnation me_;
  State state_;
  Computes computes_;
  Mutex changing_;
  WaitQueue changed_;
  Status failed_;
};

}  // namespace varve::control
