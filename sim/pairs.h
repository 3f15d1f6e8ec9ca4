// One seed, two executions that differ in everything that must not matter, compared event by event.
//
// Both run in forked children: other fill bytes in fresh memory, other addresses, another
// environment. A program whose behaviour depends on what it never wrote, on the order of addresses
// or on the machine around it comes to a point where the two do different things; the first such
// event is named. A child that crashes or runs away is a reported failure and takes nothing else
// with it.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "sim/port/child.h"
#include "sim/world.h"

namespace varve::sim {

// What a seed turns into a run. `run` sets up nodes, drives time and checks; it reports by
// Simulation::violation and returns early when run_until() or run_for() say that the run has
// failed.
struct Scenario {
  std::string name;
  std::function<void(Simulation&)> run;
  // Names given to Simulation::reached() that a campaign should have come by at least once; at
  // most 64.
  std::vector<std::string> sites;
};

enum class Verdict : uint8_t {
  kGood,
  kViolation,  // the run contradicted an oracle or got stuck
  kDeath,      // an execution crashed, was killed or ran away
  kMismatch,   // the two executions differ: a determinism leak
};
const char* verdict_name(Verdict verdict);

struct PairResult {
  Verdict verdict = Verdict::kGood;
  std::string signature;  // one line, equal for equal failures as far as can be told
  std::string detail;     // all there is to tell, for people
  uint64_t events = 0;
  Duration simulated;
  std::array<uint64_t, kFaultKinds> faults{};
  uint64_t sites = 0;  // bit i: scenario.sites[i] was reached
  uint64_t hash = 0;
};

struct PairOptions {
  bool single = false;  // one execution only
  Duration processor_time = Duration::seconds(60);
  size_t table_events = 1 << 18;  // events past that are compared by their hash only
};

// Keeps the shared memory between pairs. Not for use from a fiber.
class PairRunner {
 public:
  explicit PairRunner(PairOptions options = {});
  ~PairRunner();
  PairResult run(const Scenario& scenario, uint64_t seed);

 private:
  struct Report;
  Report* report(int side) const;
  std::span<TraceEvent> table(int side) const;
  void execute(const Scenario& scenario, uint64_t seed, int side) const;
  PairResult judge(const Scenario& scenario, uint64_t seed,
                   const port::ChildOutcome (&outcomes)[2]) const;
  std::string first_difference() const;

  PairOptions options_;
  port::SharedMemory memory_;
};

// The run in this process, with its log lines on stderr. Empty if it was good.
std::string run_here(const Scenario& scenario, uint64_t seed, bool print_log);

}  // namespace varve::sim
