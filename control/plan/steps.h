// What is to be done: which jobs a state leaves open, and what comes next in each. Pure.
//
// A job is one thing of the state (a project, a branch, an endpoint, a tombstone) that is not as it
// should be. Whoever executes runs at most one fiber for each job and asks again after every step,
// so that a job continues correctly whatever the state became meanwhile.
#pragma once

#include <compare>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/plan/state.h"

namespace varve::control {

enum class JobKind : uint8_t {
  kMakeProject,
  kForgetProject,  // the pageserver lets the tenant go
  kMakeBranch,
  kCompleteBranch,  // safekeepers that were away when it was made
  kBury,
  kEndpoint,
};
const char* job_name(JobKind kind);

struct Job {
  JobKind kind;
  TenantTimelineId id;   // timeline: of branches and tombstones
  std::string endpoint;  // of kEndpoint
  auto operator<=>(const Job&) const = default;
  EndpointKey endpoint_key() const { return {id.tenant, endpoint}; }
};

// What was learnt of an endpoint's process in this life of control.
enum class ComputeState : uint8_t { kUnknown, kStarting, kRunning, kStopping, kFailed };

struct Compute {
  uint64_t asked = 0;  // the supervisor was told to run this start
  Instant heard;       // when it was told that, or the process last spoke
  uint64_t start = 0;  // of what follows
  Incarnation incarnation;
  std::set<Incarnation> ended;  // earlier processes of the same start: one begins after another
  ComputeState state = ComputeState::kUnknown;
  std::string host;  // where it answers calls
  uint16_t rpc_port = 0;
  Failure failure;    // of its last life
  std::string phase;  // of a start
  uint64_t lives = 0;
  bool operator==(const Compute&) const = default;
};
using Computes = std::map<EndpointKey, Compute>;

// In a stable order. An endpoint's job is open until the supervisor was asked, in this life of
// control, for what is wanted, and the operation that wanted it is finished.
std::vector<Job> open_jobs(const State& state, const Computes& computes);

enum class EndpointStep : uint8_t {
  kNothing,
  kAskStart,
  kAwait,   // a report, or the end of patience
  kRuns,    // finish its operation
  kFailed,  // for good; finish its operation, and stop it
  kAskStop,
};
// `compute` is null when nothing is known.
EndpointStep next_step(const State& state, const EndpointKey& key, const Compute* compute);
// Whether a start that failed so would fail so again.
bool is_final(Code code);

// What is told to who waited for a start for too long. `compute` is null when nothing is known.
Failure late_failure(const Endpoint& endpoint, const Compute* compute);

// What a compute tells of itself. `start` is proven by its token.
struct Report {
  TenantTimelineId timeline;
  std::string endpoint;
  uint64_t start = 0;
  Incarnation incarnation;
  ComputeState state = ComputeState::kUnknown;
  std::string host;
  uint16_t rpc_port = 0;
  Failure failure;
  std::string phase;
  uint64_t lives = 0;
};
struct Verdict {
  bool stop = false;     // nobody wants it, or a newer one exists: it should end
  bool changed = false;  // somebody may have waited for it
};
// Takes the report into `computes`, if it is the newest of a process that is wanted.
Verdict take_report(const State& state, Computes& computes, const Report& report, Instant now);

// Endpoints that are wanted and were not heard of for `limit`: their supervisor may have begun a
// new life and not know of them. Asking it again does no harm to one that runs. Forgets that it was
// asked; whether there was any.
bool doubt_silent(const State& state, Computes& computes, Instant now, Duration limit);

// The branch whose log holds `lsn`, seen from `branch`: itself, or the ancestor that it was before
// its beginning. Null when it lies before the beginning of everything.
const Branch* owner_of(const State& state, const Branch& branch, Lsn lsn);

}  // namespace varve::control
