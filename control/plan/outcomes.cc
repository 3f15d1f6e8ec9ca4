#include "control/plan/outcomes.h"

#include <algorithm>

namespace varve::control {
namespace {

// The endpoint, if it is still at this start.
const Endpoint* at_start(const State& state, const EndpointKey& key, uint64_t start) {
  const Endpoint* endpoint = state.endpoint(key);
  return endpoint != nullptr && endpoint->start == start ? endpoint : nullptr;
}

}  // namespace

void forget_old_operations(const State& state, Changes& changes) {
  if (state.operations.size() <= kOperationsKept) return;
  const Operation* oldest = nullptr;
  for (const auto& [id, operation] : state.operations) {
    if (!operation.finished) continue;
    if (oldest == nullptr || operation.sequence < oldest->sequence) oldest = &operation;
  }
  if (oldest != nullptr) changes.remove(*oldest);
}

Changes finish(const State& state, const OperationId& id, const Failure& failure,
               std::string response) {
  Changes changes;
  const Operation* operation = state.operation(id);
  if (operation == nullptr || operation->finished) return changes;
  Operation finished = *operation;
  finished.finished = true;
  finished.failure = failure;
  finished.response = std::move(response);
  changes.put(std::move(finished));
  forget_old_operations(state, changes);
  return changes;
}

Changes superseded(const State& state, const Endpoint& endpoint, std::string_view why) {
  return finish(state, endpoint.operation, {Code::kCancelled, std::string(why), endpoint.name, ""},
                "");
}

Changes plan_register(const State& state, const Registration& registration) {
  Changes changes;
  const auto known = state.pageservers.find(registration.node);
  if (known != state.pageservers.end() && known->second == registration) return changes;
  changes.put(registration);
  for (const auto& [id, project] : state.projects) {
    Project given = project;
    given.generation = project.generation.next();
    changes.put(given);
  }
  return changes;
}

Changes project_again(const State& state, const TenantId& tenant,
                      const std::optional<TimelineId>& timeline,
                      const std::set<NodeId>& safekeepers, const std::set<NodeId>& keepers) {
  Changes changes;
  const Project* project = state.project(tenant);
  if (project == nullptr || project->phase != ProjectPhase::kMaking) return changes;
  Project next = *project;
  next.generation = project->generation.next();
  changes.put(next);
  if (!timeline) return changes;
  for (const auto& [id, branch] : state.branches) {
    if (id.tenant != tenant) continue;
    changes.remove(branch);
    changes.put(Tombstone{id, keepers});
    Branch again = branch;
    again.id.timeline = *timeline;
    again.missing = safekeepers;
    changes.put(again);
  }
  return changes;
}

Changes project_made(const State& state, const TenantId& tenant, Lsn start, uint64_t system_id,
                     uint32_t segment_size, std::string response) {
  Changes changes;
  const Project* project = state.project(tenant);
  if (project == nullptr || project->phase != ProjectPhase::kMaking) return changes;
  Project made = *project;
  made.phase = ProjectPhase::kReady;
  made.system_id = system_id;
  made.segment_size = segment_size;
  changes.put(made);
  for (const auto& [id, branch] : state.branches) {
    if (id.tenant != tenant) continue;
    Branch first = branch;
    first.phase = BranchPhase::kReady;
    first.start = start;
    first.missing.clear();
    changes.put(first);
  }
  changes.append(finish(state, project->operation, {}, std::move(response)));
  return changes;
}

Changes project_failed(const State& state, const TenantId& tenant, const Failure& failure,
                       const std::set<NodeId>& keepers) {
  Changes changes;
  const Project* project = state.project(tenant);
  if (project == nullptr || project->phase != ProjectPhase::kMaking) return changes;
  for (const auto& [id, branch] : state.branches) {
    if (id.tenant != tenant) continue;
    changes.remove(branch);
    changes.put(Tombstone{id, keepers});
  }
  Project deleting = *project;  // the pageserver may hold it
  deleting.phase = ProjectPhase::kDeleting;
  changes.put(deleting);
  changes.append(finish(state, project->operation, failure, ""));
  return changes;
}

Changes give_again(const State& state, const TenantId& tenant) {
  Changes changes;
  const Project* project = state.project(tenant);
  if (project == nullptr || project->phase != ProjectPhase::kDeleting) return changes;
  Project given = *project;
  given.generation = project->generation.next();
  changes.put(given);
  return changes;
}

bool has_timelines_to_delete(const State& state, const TenantId& tenant) {
  for (auto at = state.tombstones.lower_bound({tenant, TimelineId()});
       at != state.tombstones.end() && at->first.tenant == tenant; ++at) {
    for (const NodeId node : at->second.pending) {
      if (state.pageservers.contains(node)) return true;
    }
  }
  return false;
}

Changes project_gone(const State& state, const TenantId& tenant) {
  Changes changes;
  const Project* project = state.project(tenant);
  if (has_timelines_to_delete(state, tenant)) return changes;
  if (project != nullptr && project->phase == ProjectPhase::kDeleting) changes.remove(*project);
  return changes;
}

Changes branch_made(const State& state, const TenantTimelineId& id, Lsn start,
                    const std::set<NodeId>& missing, std::string response) {
  Changes changes;
  const Branch* branch = state.branch(id);
  if (branch == nullptr || branch->phase != BranchPhase::kMaking) return changes;
  Branch made = *branch;
  made.phase = BranchPhase::kReady;
  made.start = start;
  made.missing = missing;
  changes.put(made);
  changes.append(finish(state, branch->operation, {}, std::move(response)));
  return changes;
}

Changes branch_failed(const State& state, const TenantTimelineId& id, const Failure& failure,
                      const std::set<NodeId>& keepers) {
  Changes changes;
  const Branch* branch = state.branch(id);
  if (branch == nullptr || branch->phase != BranchPhase::kMaking) return changes;
  changes.remove(*branch);
  changes.put(Tombstone{id, keepers});
  changes.append(finish(state, branch->operation, failure, ""));
  return changes;
}

Changes branch_completed(const State& state, const TenantTimelineId& id, NodeId safekeeper) {
  Changes changes;
  const Branch* branch = state.branch(id);
  if (branch == nullptr || !branch->missing.contains(safekeeper)) return changes;
  Branch completed = *branch;
  completed.missing.erase(safekeeper);
  changes.put(completed);
  return changes;
}

Changes buried(const State& state, const TenantTimelineId& id, const std::set<NodeId>& keepers) {
  Changes changes;
  const auto found = state.tombstones.find(id);
  if (found == state.tombstones.end()) return changes;
  Tombstone rest = found->second;
  for (const NodeId keeper : keepers) rest.pending.erase(keeper);
  if (rest == found->second) return changes;
  if (rest.pending.empty()) {
    changes.remove(rest);
  } else {
    changes.put(rest);
  }
  return changes;
}

Changes endpoint_runs(const State& state, const EndpointKey& key, uint64_t start,
                      std::string response) {
  const Endpoint* endpoint = at_start(state, key, start);
  if (endpoint == nullptr || !endpoint->wanted) return Changes();
  return finish(state, endpoint->operation, {}, std::move(response));
}

Changes endpoint_failed(const State& state, const EndpointKey& key, uint64_t start,
                        const Failure& failure) {
  Changes changes;
  const Endpoint* endpoint = at_start(state, key, start);
  if (endpoint == nullptr || !endpoint->wanted) return changes;
  Endpoint unwanted = *endpoint;
  unwanted.wanted = false;
  changes.put(unwanted);
  changes.append(finish(state, endpoint->operation, failure, ""));
  return changes;
}

Changes endpoint_is_late(const State& state, const EndpointKey& key, uint64_t start,
                         const Failure& failure) {
  const Endpoint* endpoint = at_start(state, key, start);
  if (endpoint == nullptr || !endpoint->wanted) return Changes();
  return finish(state, endpoint->operation, failure, "");
}

Changes endpoint_stopped(const State& state, const EndpointKey& key, uint64_t start) {
  Changes changes;
  const Endpoint* endpoint = at_start(state, key, start);
  if (endpoint == nullptr || endpoint->wanted || endpoint->stopped >= start) return changes;
  Endpoint stopped = *endpoint;
  stopped.stopped = start;
  changes.put(stopped);
  changes.append(finish(state, endpoint->operation, {}, ""));
  return changes;
}

Changes endpoint_outrun(const State& state, const EndpointKey& key, uint64_t start) {
  Changes changes;
  const Endpoint* endpoint = at_start(state, key, start);
  if (endpoint == nullptr) return changes;
  Endpoint beyond = *endpoint;
  beyond.start = start + 1;
  changes.put(beyond);
  return changes;
}

}  // namespace varve::control
