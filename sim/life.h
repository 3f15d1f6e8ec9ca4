// One life of one node: from its start to its end by return or crash. What fibers of that life hold
// may outlive it (nobody unwinds them), so a life is kept until the simulation goes, and only
// marked as over.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/ids.h"
#include "runtime/object_store.h"
#include "runtime/world.h"
#include "sim/clock.h"
#include "sim/engine.h"

namespace varve::sim {

struct Life {
  Engine& engine;
  NodeId node;
  std::string name;  // the node's
  uint64_t number;   // 1 for the first life
  bool alive = true;
  bool faulted = false;      // something was injected here, or in what it heard of
  int64_t paused_until = 0;  // global time
  int64_t armed_for = -1;    // global time of the planned look at the timers; -1 = none
  uint64_t turns_at_now = 0;
  int64_t turns_time = 0;

  NodeClock clock;
  std::unique_ptr<SchedulePolicy> policy;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<Random> random;
  std::unique_ptr<Network> network;
  std::unique_ptr<Disk> disk;
  std::unique_ptr<Offload> offload;
  std::unique_ptr<Log> log;
  std::unique_ptr<ObjectStore> objects;
  Metrics metrics;
  std::optional<World> world;

  Life(Engine& e, NodeId id, std::string node_name, uint64_t n, RandomStream clock_random)
      : engine(e), node(id), name(std::move(node_name)), number(n), clock(e.now(), clock_random) {}
};

// What a fiber waits for inside a call of the world. Shared between the fiber and the event that
// completes it; a fiber that leaves early just drops its share.
struct Completion {
  Fiber* waiter = nullptr;
  bool done = false;

  // Marks it done and wakes the fiber, if one still waits.
  void complete(Life& life) {
    done = true;
    if (waiter != nullptr && life.alive) life.scheduler->wake(waiter);
  }
  // Suspends the running fiber until complete(). Cancelled or DeadlineExceeded if that comes first.
  Status wait(Life& life, const char* label) {
    while (!done) {
      waiter = life.scheduler->current_fiber();
      const Wake wake = life.scheduler->park(label);
      waiter = nullptr;
      if (done) break;
      switch (wake) {
        case Wake::kSignalled:
          break;
        case Wake::kCancelled:
          return Status(Code::kCancelled, std::string("cancelled in ") + label);
        case Wake::kDeadline:
          return Status(Code::kDeadlineExceeded, std::string("deadline passed in ") + label);
      }
    }
    return Status();
  }
};

// Runs `work` as an event of `life` after `delay` and returns what it returned. A fiber that leaves
// early leaves the event behind: it happens all the same.
template <class T>
Result<T> perform(Life& life, const char* label, Duration delay, std::function<Result<T>()> work) {
  VARVE_TRY(check_cancelled());
  struct State {
    Completion completion;
    std::unique_ptr<Result<T>> result;
  };
  auto state = std::make_shared<State>();
  life.engine.after(delay, &life, [state, &life, work = std::move(work)] {
    state->result.reset(new Result<T>(work()));
    state->completion.complete(life);
  });
  VARVE_TRY(state->completion.wait(life, label));
  return std::move(*state->result);
}

// For calls that have nothing but a status to tell.
inline Status perform_status(Life& life, const char* label, Duration delay,
                             std::function<Status()> work) {
  return perform<bool>(life, label, delay,
                       [work = std::move(work)]() -> Result<bool> {
                         VARVE_TRY(work());
                         return true;
                       })
      .status();
}

}  // namespace varve::sim
