#include "sim/pairs.h"

#include <algorithm>
#include <cstring>

namespace varve::sim {

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kGood:
      return "good";
    case Verdict::kViolation:
      return "violation";
    case Verdict::kDeath:
      return "death";
    case Verdict::kMismatch:
      return "determinism mismatch";
  }
  return "?";
}

// Written by a child, read by its parent.
struct PairRunner::Report {
  bool finished;
  uint64_t events;
  uint64_t hash;
  int64_t simulated;
  uint64_t faults[kFaultKinds];
  uint64_t sites;
  char failure[8192];
};

namespace {

constexpr size_t kSides = 2;

constexpr size_t kTableAlignment = 4096;

size_t reports_size(size_t report) {
  return (kSides * report + kTableAlignment - 1) / kTableAlignment * kTableAlignment;
}

// The first line, without the numbers that differ from seed to seed.
std::string signature_of(const std::string& text) {
  std::string line = text.substr(0, std::min(text.find('\n'), size_t{200}));
  std::string result;
  for (const char c : line) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit) {
      result += c;
    } else if (result.empty() || result.back() != '#') {
      result += '#';
    }
  }
  return result;
}

uint64_t sites_reached(const Scenario& scenario, const Simulation& simulation) {
  uint64_t bits = 0;
  for (size_t i = 0; i < scenario.sites.size(); ++i) {
    if (simulation.was_reached(scenario.sites[i])) bits |= uint64_t{1} << i;
  }
  return bits;
}

}  // namespace

PairRunner::PairRunner(PairOptions options)
    : options_(options),
      memory_(reports_size(sizeof(Report)) + kSides * options.table_events * sizeof(TraceEvent)) {}
PairRunner::~PairRunner() = default;

PairRunner::Report* PairRunner::report(int side) const {
  return static_cast<Report*>(memory_.data()) + side;
}

std::span<TraceEvent> PairRunner::table(int side) const {
  auto* start = static_cast<uint8_t*>(memory_.data()) + reports_size(sizeof(Report));
  return {reinterpret_cast<TraceEvent*>(start) + static_cast<size_t>(side) * options_.table_events,
          options_.table_events};
}

void PairRunner::execute(const Scenario& scenario, uint64_t seed, int side) const {
  SimulationOptions options;
  options.trace_table = table(side);
  options.keep_log = Severity::kWarning;
  // Never destroyed: the process ends, and with it all that the run abandoned.
  auto& simulation = *new Simulation(seed, options);
  scenario.run(simulation);
  Report& r = *report(side);
  r.events = simulation.trace().count();
  r.hash = simulation.trace().hash();
  r.simulated = simulation.elapsed().nanoseconds;
  std::copy(simulation.faults().all().begin(), simulation.faults().all().end(), r.faults);
  r.sites = sites_reached(scenario, simulation);
  if (simulation.failure())
    std::strncpy(r.failure, simulation.failure()->c_str(), sizeof r.failure - 1);
  r.finished = true;
}

PairResult PairRunner::run(const Scenario& scenario, uint64_t seed) {
  VARVE_CHECK(scenario.sites.size() <= 64);
  const int sides = options_.single ? 1 : 2;
  port::Child children[kSides];
  port::ChildOutcome outcomes[kSides];
  for (int side = 0; side < sides; ++side) {
    *report(side) = Report{};
    children[side] = port::start_child([&] { execute(scenario, seed, side); },
                                       port::perturbation(side), options_.processor_time);
  }
  for (int side = 0; side < sides; ++side) outcomes[side] = port::wait_for(children[side]);
  if (options_.single) {
    *report(1) = *report(0);
    outcomes[1] = outcomes[0];
  }
  return judge(scenario, seed, outcomes);
}

PairResult PairRunner::judge(const Scenario& scenario, uint64_t seed,
                             const port::ChildOutcome (&outcomes)[2]) const {
  const Report& r = *report(0);
  PairResult result;
  result.events = r.events;
  result.hash = r.hash;
  result.simulated = Duration::nanos(r.simulated);
  result.sites = r.sites;
  std::copy(std::begin(r.faults), std::end(r.faults), result.faults.begin());
  const std::string where = scenario.name + ", seed " + std::to_string(seed) + ": ";
  for (int side = 0; side < 2; ++side) {
    if (outcomes[side].good) continue;
    result.verdict = Verdict::kDeath;
    // What a check printed tells more than the signal; a sanitizer says it in its first lines.
    const std::string& output = outcomes[side].output;
    result.signature = outcomes[side].death + ": " + signature_of(output);
    result.detail = where + outcomes[side].death + "\n" + output;
    return result;
  }
  if (!options_.single && (r.hash != report(1)->hash || r.events != report(1)->events)) {
    result.verdict = Verdict::kMismatch;
    result.signature = "executions differ";
    result.detail = where + "two executions differ\n" + first_difference();
    return result;
  }
  if (r.failure[0] != '\0') {
    result.verdict = Verdict::kViolation;
    result.signature = signature_of(r.failure);
    result.detail = where + r.failure;
  }
  return result;
}

std::string PairRunner::first_difference() const {
  const size_t common = std::min({report(0)->events, report(1)->events, options_.table_events});
  const auto a = table(0);
  const auto b = table(1);
  size_t index = 0;
  while (index < common && a[index].hash_after == b[index].hash_after) ++index;
  std::string text;
  if (index > 0) text += "last equal:  " + to_string(a[index - 1], index - 1) + "\n";
  const auto tell = [&](int side, std::span<TraceEvent> events) {
    const bool there = index < report(side)->events && index < events.size();
    text += side == 0 ? "execution A: " : "execution B: ";
    text += there ? to_string(events[index], index) : "nothing at event " + std::to_string(index);
    text += '\n';
  };
  tell(0, a);
  tell(1, b);
  return text;
}

std::string run_here(const Scenario& scenario, uint64_t seed, bool print_log) {
  SimulationOptions options;
  options.print_log = print_log;
  Simulation simulation(seed, options);
  scenario.run(simulation);
  return simulation.failure().value_or("");
}

}  // namespace varve::sim
