// The core that disk, network and object store share: global time, the queue of what will happen,
// the labelled streams of choices, the trace and the counters.
//
// Everything runs on one thread. The queue is ordered by (time, sequence), so two events of one
// instant happen in the order in which they were planned. An event may belong to a life: it is
// dropped when that life is over, and put off while its node is paused.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "base/status.h"
#include "runtime/scheduler.h"
#include "sim/faults.h"
#include "sim/trace.h"

namespace varve::sim {

struct Life;

class Engine {
 public:
  Engine(uint64_t seed, std::span<TraceEvent> trace_table) : seed_(seed), trace_(trace_table) {}

  // --- Time and what will happen ---
  const int64_t& now() const { return now_; }
  // `life` may be null: then the event happens whatever dies meanwhile.
  void after(Duration delay, Life* life, Task task);
  // Takes the next event and runs it; false when there is none or it lies after `limit`. Time then
  // stands at the event, else at `limit`.
  bool step(int64_t limit);
  size_t planned() const { return queue_.size(); }

  // --- Choices ---
  uint64_t seed() const { return seed_; }
  // The stream called `label`; made at first use, the same afterwards.
  RandomStream& random(std::string_view label);
  // A duration around `mean`: between half and one and a half of it.
  Duration around(Duration mean, RandomStream& random);

  // --- Records ---
  void record(const Life* life, EventKind kind, uint64_t detail, uint64_t size = 0,
              uint32_t payload = 0);
  void record_node(NodeId node, EventKind kind, uint64_t detail, uint64_t size = 0,
                   uint32_t payload = 0) {
    trace_.add(now_, node, kind, detail, size, payload);
  }
  const Trace& trace() const { return trace_; }
  // A fault changed an outcome for `life` (null: for nobody in particular).
  void fault(FaultKind kind, Life* life = nullptr);
  const FaultCounts& faults() const { return faults_; }

  // --- Verdict ---
  // The run has failed; the first reason counts.
  void violation(std::string reason);
  const std::optional<std::string>& violation() const { return violation_; }

  // The plan in force; healing replaces it.
  FaultPlan plan;

  // Set by Simulation: ends a life from inside an event (a failed sync does).
  std::function<void(Life&, bool power_cut)> end_life;

 private:
  struct Planned {
    int64_t time;
    uint64_t sequence;
    Life* life;
    Task task;
  };
  static bool later(const Planned& a, const Planned& b) {
    return a.time != b.time ? a.time > b.time : a.sequence > b.sequence;
  }
  void push(int64_t time, Life* life, Task task);

  uint64_t seed_;
  int64_t now_ = 0;
  uint64_t sequence_ = 0;
  uint64_t events_at_now_ = 0;
  std::vector<Planned> queue_;  // a heap
  std::map<std::string, RandomStream, std::less<>> streams_;
  Trace trace_;
  FaultCounts faults_;
  std::optional<std::string> violation_;
};

}  // namespace varve::sim
