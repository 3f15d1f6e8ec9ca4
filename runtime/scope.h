// A Scope owns the fibers spawned in it. Nothing is detached: whoever leaves a scope has waited for
// all of them, so a fiber may hold references to what lives longer than its scope.
//
//   Scope scope("fetch layers");
//   for (...) scope.spawn("fetch one", [&] { return fetch(key); });
//   VARVE_TRY(scope.join());
//
// cancel() makes each wait of each fiber inside, and in scopes below, return Cancelled. Deadline,
// class, account and trace are inherited by spawned fibers; but what an object's own scope runs
// outlives the call that happened to make the object or to need a fiber there, so deadline and
// trace of that call end at such a scope. All functions are for fibers of the scheduler that owns
// the scope.
#pragma once

#include <type_traits>
#include <vector>

#include "base/status.h"
#include "runtime/scheduler.h"

namespace varve {

class Scope {
 public:
  enum class OnError : uint8_t {
    kKeepGoing,     // siblings go on; join() tells the first error
    kCancelOthers,  // the first error cancels the scope
  };

  // A scope below the running fiber's own. `name` must outlive it (a literal).
  explicit Scope(const char* name, OnError on_error = OnError::kKeepGoing);
  // A scope below `parent`, for objects that outlive the fiber that makes them: its fibers inherit
  // no deadline and no trace. `parent` must outlive it.
  Scope(const char* name, Scope& parent, OnError on_error = OnError::kKeepGoing);
  // Waits for all fibers (it suspends, unless there are none). Doesn't cancel them: call cancel()
  // first if they never end by themselves.
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  // Starts a fiber; it runs when the caller next waits. `function` returns void or Status. `label`
  // must outlive the fiber (a literal). In a cancelled scope the fiber starts and finds its first
  // wait cancelled.
  template <class F>
  void spawn(const char* label, F&& function) {
    spawn_task(label, Task([this, f = std::forward<F>(function)]() mutable {
                 if constexpr (std::is_void_v<std::invoke_result_t<decltype(f)&>>) {
                   f();
                 } else {
                   record(f());
                 }
               }));
  }

  // Waits until every fiber has ended; the first error that is not Cancelled, or Cancelled if the
  // waiting fiber itself was cancelled (its children are then cancelled too, and still waited for).
  // May be called again.
  Status join();
  // Idempotent, never suspends.
  void cancel();
  bool cancelled() const { return cancelled_; }
  size_t live() const { return live_; }
  const char* name() const { return name_; }

 private:
  friend class Scheduler;
  Scope(const char* name, Scheduler& scheduler);  // the root
  void spawn_task(const char* label, Task task);
  void record(Status status);
  void fiber_ended();
  void wait_all();

  const char* name_;
  Scheduler& scheduler_;
  Scope* parent_;
  OnError on_error_ = OnError::kKeepGoing;
  bool of_an_object_ = false;
  bool cancelled_ = false;
  size_t live_ = 0;
  Status first_error_;
  std::vector<Scope*> children_;
  std::vector<Fiber*> joiners_;
};

// Cancelled if the running fiber's scope is (and it isn't shielded), DeadlineExceeded if its
// deadline has passed, else success. For loops that compute without waiting.
Status check_cancelled();

}  // namespace varve
