#include "control/plan/steps.h"

#include "control/plan/outcomes.h"

namespace varve::control {
namespace {

bool operation_is_open(const State& state, const OperationId& id) {
  const Operation* operation = state.operation(id);
  return operation != nullptr && !operation->finished;
}

}  // namespace

const char* job_name(JobKind kind) {
  switch (kind) {
    case JobKind::kMakeProject:
      return "make project";
    case JobKind::kForgetProject:
      return "forget project";
    case JobKind::kMakeBranch:
      return "make branch";
    case JobKind::kCompleteBranch:
      return "complete branch";
    case JobKind::kBury:
      return "bury timeline";
    case JobKind::kEndpoint:
      return "endpoint";
  }
  VARVE_UNREACHABLE("no such job");
}

std::vector<Job> open_jobs(const State& state, const Computes& computes) {
  std::vector<Job> jobs;
  for (const auto& [id, project] : state.projects) {
    if (project.phase == ProjectPhase::kMaking)
      jobs.push_back({JobKind::kMakeProject, {id, {}}, ""});
    if (project.phase == ProjectPhase::kDeleting && !has_timelines_to_delete(state, id))
      jobs.push_back({JobKind::kForgetProject, {id, {}}, ""});
  }
  for (const auto& [id, branch] : state.branches) {
    if (branch.phase == BranchPhase::kMaking) {
      // The first one is made with its project.
      if (branch.parent) jobs.push_back({JobKind::kMakeBranch, id, ""});
    } else if (!branch.missing.empty()) {
      jobs.push_back({JobKind::kCompleteBranch, id, ""});
    }
  }
  for (const auto& [id, tombstone] : state.tombstones) jobs.push_back({JobKind::kBury, id, ""});
  for (const auto& [key, endpoint] : state.endpoints) {
    const auto compute = computes.find(key);
    if (next_step(state, key, compute == computes.end() ? nullptr : &compute->second) !=
        EndpointStep::kNothing) {
      jobs.push_back({JobKind::kEndpoint, {key.first, {}}, key.second});
    }
  }
  return jobs;
}

EndpointStep next_step(const State& state, const EndpointKey& key, const Compute* compute) {
  const Endpoint* endpoint = state.endpoint(key);
  if (endpoint == nullptr) return EndpointStep::kNothing;
  if (!endpoint->wanted) {
    return endpoint->may_live() ? EndpointStep::kAskStop : EndpointStep::kNothing;
  }
  if (compute == nullptr || compute->asked != endpoint->start) return EndpointStep::kAskStart;
  if (!operation_is_open(state, endpoint->operation)) return EndpointStep::kNothing;
  if (compute->start != endpoint->start) return EndpointStep::kAwait;
  switch (compute->state) {
    case ComputeState::kRunning:
      return EndpointStep::kRuns;
    case ComputeState::kFailed:
      return is_final(compute->failure.code) ? EndpointStep::kFailed : EndpointStep::kAwait;
    case ComputeState::kUnknown:
    case ComputeState::kStarting:
    case ComputeState::kStopping:
      return EndpointStep::kAwait;
  }
  VARVE_UNREACHABLE("no such state of a compute");
}

bool is_final(Code code) {
  switch (code) {
    case Code::kExists:  // its port
    case Code::kCorrupt:
    case Code::kUnsupported:
    case Code::kInvalid:
    case Code::kRefused:
      return true;
    case Code::kOk:
    case Code::kCancelled:
    case Code::kDeadlineExceeded:
    case Code::kUnavailable:
    case Code::kStale:  // another election won; its next life wins a later one
    case Code::kBelowCutoff:
    case Code::kNotFound:
    case Code::kFull:
    case Code::kInternal:
      return false;
  }
  VARVE_UNREACHABLE("no such code");
}

Verdict take_report(const State& state, Computes& computes, const Report& report, Instant now) {
  const EndpointKey key{report.timeline.tenant, report.endpoint};
  const Endpoint* endpoint = state.endpoint(key);
  if (endpoint == nullptr || endpoint->timeline != report.timeline.timeline || !endpoint->wanted ||
      endpoint->start != report.start) {
    return {.stop = true};
  }
  Compute& compute = computes[key];
  if (compute.start != report.start) {
    const uint64_t asked = compute.asked;
    compute = Compute();
    compute.asked = asked;
    compute.start = report.start;
    compute.incarnation = report.incarnation;
  } else if (compute.incarnation != report.incarnation) {
    // The supervisor runs one process of a start at a time, so this is a later one; unless it is
    // the late word of one that has ended.
    if (compute.ended.contains(report.incarnation)) return {.stop = true};
    compute.ended.insert(compute.incarnation);
    compute.incarnation = report.incarnation;
  }
  compute.heard = now;
  const Compute before = compute;
  compute.state = report.state;
  compute.host = report.host;
  compute.rpc_port = report.rpc_port;
  compute.failure = report.failure;
  compute.phase = report.phase;
  compute.lives = report.lives;
  return {.changed = compute != before};
}

bool doubt_silent(const State& state, Computes& computes, Instant now, Duration limit) {
  bool any = false;
  for (auto& [key, compute] : computes) {
    const Endpoint* endpoint = state.endpoint(key);
    if (endpoint == nullptr || !endpoint->wanted || compute.asked != endpoint->start) continue;
    if (now - compute.heard < limit) continue;
    compute.asked = 0;
    any = true;
  }
  return any;
}

const Branch* owner_of(const State& state, const Branch& branch, Lsn lsn) {
  const Branch* owner = &branch;
  while (lsn < owner->start) {
    if (!owner->parent) return nullptr;
    owner = state.branch(TenantTimelineId{owner->id.tenant, *owner->parent});
    VARVE_CHECK_MSG(owner != nullptr, "a branch has lost its parent");
  }
  return owner;
}

Failure late_failure(const Endpoint& endpoint, const Compute* compute) {
  Failure failure;
  failure.code = Code::kDeadlineExceeded;
  failure.message = "the endpoint does not run yet";
  if (compute != nullptr && compute->start == endpoint.start) {
    if (!compute->phase.empty()) failure.message += " (" + compute->phase + ")";
    if (compute->failure.code != Code::kOk)
      failure.message += "; it says: " + compute->failure.status().to_string();
  }
  failure.object = endpoint.name;
  failure.hint = "it goes on trying; `varve endpoint list` tells how it fares";
  return failure;
}

}  // namespace varve::control
