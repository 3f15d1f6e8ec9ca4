#include "control/plan/intents.h"

#include "control/plan/outcomes.h"

namespace varve::control {
namespace {

Operation begin(const State& state, const Asked& asked) {
  Operation operation;
  operation.id = asked.operation;
  operation.method = asked.method;
  operation.digest = asked.digest;
  operation.sequence = state.version + 1;
  return operation;
}

// An operation that this very commit finishes.
void begin_finished(const State& state, const Asked& asked, std::string response,
                    Changes& changes) {
  Operation operation = begin(state, asked);
  operation.finished = true;
  operation.response = std::move(response);
  changes.put(std::move(operation));
  forget_old_operations(state, changes);
}

void bury(const Branch& branch, const std::set<NodeId>& keepers, Changes& changes) {
  changes.remove(branch);
  changes.put(Tombstone{branch.id, keepers});
}

Status taken(std::string_view what, const std::string& name) {
  return Status(Code::kExists, "there is a " + std::string(what) + " called '" + name + "'")
      .with_object(name);
}

}  // namespace

Result<const Operation*> find_operation(const State& state, const Asked& asked) {
  if (asked.operation.is_zero()) return Status(Code::kInvalid, "the request has no operation id");
  const Operation* known = state.operation(asked.operation);
  if (known != nullptr && (known->method != asked.method || known->digest != asked.digest)) {
    return Status(Code::kInvalid, "this operation id was used for another request")
        .with_hint("draw a new id for each request; repeat one only to ask for a lost answer");
  }
  return known;
}

Status check_name(const std::string& name, std::string_view what) {
  const auto good = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  bool valid = !name.empty() && name.size() <= 63 && good(name.front());
  for (const char c : name) valid = valid && (good(c) || c == '-' || c == '_');
  if (valid) return Status();
  return Status(Code::kInvalid, "'" + name + "' can't be the name of a " + std::string(what))
      .with_hint("1 to 63 lower-case letters, digits, '-' and '_', a letter or digit first");
}

Result<const Project*> find_project(const State& state, const std::string& name) {
  const Project* project = state.project(name);
  if (project == nullptr) {
    return Status(Code::kNotFound, "there is no project called '" + name + "'")
        .with_hint("`varve project list` tells what there is");
  }
  if (project->phase != ProjectPhase::kReady) {
    return Status(Code::kUnavailable, "the project is " + std::string(phase_name(project->phase)))
        .with_object(name);
  }
  return project;
}

Result<const Branch*> find_branch(const State& state, const Project& project,
                                  const std::string& name) {
  const Branch* branch = state.branch(project.id, name);
  if (branch == nullptr) {
    return Status(Code::kNotFound, "project '" + project.name + "' has no branch '" + name + "'")
        .with_hint("`varve branch list` tells what there is");
  }
  if (branch->phase != BranchPhase::kReady) {
    return Status(Code::kUnavailable, "the branch is " + std::string(phase_name(branch->phase)))
        .with_object(name);
  }
  return branch;
}

Result<const Endpoint*> find_endpoint(const State& state, const Project& project,
                                      const std::string& name) {
  const Endpoint* endpoint = state.endpoint({project.id, name});
  if (endpoint != nullptr) return endpoint;
  return Status(Code::kNotFound, "project '" + project.name + "' has no endpoint '" + name + "'")
      .with_hint("`varve endpoint list` tells what there is; `varve endpoint create` makes one");
}

Result<Changes> plan_create_project(const State& state, const Asked& asked,
                                    const NewProject& wish) {
  VARVE_TRY(check_name(wish.name, "project"));
  if (state.project(wish.name) != nullptr) return taken("project", wish.name);
  Changes changes;
  Project project;
  project.id = wish.tenant;
  project.name = wish.name;
  project.postgres_version = wish.postgres_version;
  project.created = asked.now;
  project.generation = Generation(1);
  project.operation = asked.operation;
  changes.put(project);
  Branch branch;
  branch.id = {wish.tenant, wish.timeline};
  branch.name = kFirstBranch;
  branch.created = asked.now;
  branch.missing = wish.safekeepers;
  branch.operation = asked.operation;
  changes.put(branch);
  changes.put(begin(state, asked));
  return changes;
}

Result<Changes> plan_delete_project(const State& state, const Asked& asked, const std::string& name,
                                    const std::set<NodeId>& keepers) {
  VARVE_TRY_ASSIGN(const Project* project, find_project(state, name));
  Changes changes;
  for (const auto& [key, endpoint] : state.endpoints) {
    if (endpoint.tenant != project->id) continue;
    if (endpoint.may_live()) {
      return Status(Code::kRefused, "endpoint '" + endpoint.name + "' is not stopped")
          .with_object(name)
          .with_hint("`varve endpoint stop " + endpoint.name + "` first");
    }
    changes.remove(endpoint);
  }
  for (const auto& [id, branch] : state.branches) {
    if (id.tenant != project->id) continue;
    if (branch.phase != BranchPhase::kReady) {
      return Status(Code::kUnavailable, "branch '" + branch.name + "' is being made")
          .with_object(name);
    }
    bury(branch, keepers, changes);
  }
  Project deleting = *project;
  deleting.phase = ProjectPhase::kDeleting;
  changes.put(deleting);
  begin_finished(state, asked, "", changes);
  return changes;
}

Result<Changes> plan_create_branch(const State& state, const Asked& asked, const NewBranch& wish) {
  VARVE_TRY(check_name(wish.name, "branch"));
  VARVE_CHECK(wish.start.valid());
  if (state.branch(wish.id.tenant, wish.name) != nullptr) return taken("branch", wish.name);
  // The position was settled before this commit; the parent may have gone meanwhile.
  const Branch* parent = state.branch(TenantTimelineId{wish.id.tenant, wish.parent});
  const Project* project = state.project(wish.id.tenant);
  if (parent == nullptr || project == nullptr || project->phase != ProjectPhase::kReady) {
    return Status(Code::kNotFound, "the parent was deleted meanwhile").with_object(wish.name);
  }
  VARVE_CHECK(parent->phase == BranchPhase::kReady);
  Changes changes;
  Branch branch;
  branch.id = wish.id;
  branch.name = wish.name;
  branch.parent = wish.parent;
  branch.start = wish.start;
  branch.created = asked.now;
  branch.missing = wish.safekeepers;
  branch.operation = asked.operation;
  changes.put(branch);
  changes.put(begin(state, asked));
  return changes;
}

Result<Changes> plan_delete_branch(const State& state, const Asked& asked,
                                   const std::string& project_name, const std::string& name,
                                   const std::set<NodeId>& keepers) {
  VARVE_TRY_ASSIGN(const Project* project, find_project(state, project_name));
  VARVE_TRY_ASSIGN(const Branch* branch, find_branch(state, *project, name));
  if (!branch->parent) {
    return Status(Code::kRefused, "it is the project's first branch")
        .with_object(name)
        .with_hint("`varve project delete " + project_name + "` deletes the whole project");
  }
  for (const auto& [id, child] : state.branches) {
    if (id.tenant == project->id && child.parent == branch->id.timeline) {
      return Status(Code::kRefused, "branch '" + child.name + "' was made from it")
          .with_object(name)
          .with_hint("delete that one first");
    }
  }
  Changes changes;
  for (const auto& [key, endpoint] : state.endpoints) {
    if (endpoint.tenant != project->id || endpoint.timeline != branch->id.timeline) continue;
    if (endpoint.may_live()) {
      return Status(Code::kRefused, "endpoint '" + endpoint.name + "' is not stopped")
          .with_object(name)
          .with_hint("`varve endpoint stop " + endpoint.name + "` first");
    }
    changes.remove(endpoint);
  }
  bury(*branch, keepers, changes);
  begin_finished(state, asked, "", changes);
  return changes;
}

Result<uint16_t> choose_port(const State& state, PortRange range,
                             const std::set<uint16_t>& avoided) {
  std::set<uint16_t> used = avoided;
  for (const auto& [key, endpoint] : state.endpoints) used.insert(endpoint.port);
  for (uint32_t port = range.first; port <= range.last; ++port) {
    if (!used.contains(static_cast<uint16_t>(port))) return static_cast<uint16_t>(port);
  }
  return Status(Code::kFull, "no port is left between " + std::to_string(range.first) + " and " +
                                 std::to_string(range.last))
      .with_hint("delete endpoints' branches, or choose another block with `varve up --port`");
}

Result<Changes> plan_create_endpoint(const State& state, const Asked& asked,
                                     const NewEndpoint& wish) {
  VARVE_TRY(check_name(wish.name, "endpoint"));
  VARVE_TRY_ASSIGN(const Project* project, find_project(state, wish.project));
  VARVE_TRY_ASSIGN(const Branch* branch, find_branch(state, *project, wish.branch));
  if (state.endpoint({project->id, wish.name}) != nullptr) return taken("endpoint", wish.name);
  for (const auto& [key, endpoint] : state.endpoints) {
    if (endpoint.port == wish.port) {
      return Status(Code::kUnavailable, "port " + std::to_string(wish.port) + " was given away");
    }
  }
  Changes changes;
  Endpoint endpoint;
  endpoint.tenant = project->id;
  endpoint.name = wish.name;
  endpoint.timeline = branch->id.timeline;
  endpoint.port = wish.port;
  endpoint.start = wish.starts_from;
  endpoint.stopped = wish.starts_from;
  endpoint.operation = asked.operation;
  changes.put(endpoint);
  begin_finished(state, asked, wish.response, changes);
  return changes;
}

Result<Changes> plan_start_endpoint(const State& state, const Asked& asked,
                                    const std::string& project_name, const std::string& name) {
  VARVE_TRY_ASSIGN(const Project* project, find_project(state, project_name));
  VARVE_TRY_ASSIGN(const Endpoint* endpoint, find_endpoint(state, *project, name));
  if (endpoint->wanted) return Changes();
  const Endpoint* writer = state.writer_of({endpoint->tenant, endpoint->timeline});
  if (writer != nullptr && writer != endpoint) {
    return Status(Code::kRefused, "endpoint '" + writer->name + "' of the same branch " +
                                      (writer->wanted ? "runs" : "is not stopped yet"))
        .with_object(name)
        .with_hint("a branch has one writer: stop '" + writer->name + "', or make a branch");
  }
  Changes changes = superseded(state, *endpoint, "the endpoint was started again");
  Endpoint starting = *endpoint;
  ++starting.start;
  starting.wanted = true;
  starting.immediately = false;
  starting.operation = asked.operation;
  changes.put(starting);
  changes.put(begin(state, asked));
  return changes;
}

Result<Changes> plan_stop_endpoint(const State& state, const Asked& asked,
                                   const std::string& project_name, const std::string& name,
                                   bool immediately) {
  VARVE_TRY_ASSIGN(const Project* project, find_project(state, project_name));
  VARVE_TRY_ASSIGN(const Endpoint* endpoint, find_endpoint(state, *project, name));
  if (!endpoint->wanted) return Changes();
  Changes changes = superseded(state, *endpoint, "the endpoint was stopped");
  Endpoint stopping = *endpoint;
  stopping.wanted = false;
  stopping.immediately = immediately;
  stopping.operation = asked.operation;
  changes.put(stopping);
  changes.put(begin(state, asked));
  return changes;
}

Result<Changes> plan_delete_endpoint(const State& state, const Asked& asked,
                                     const std::string& project_name, const std::string& name) {
  VARVE_TRY_ASSIGN(const Project* project, find_project(state, project_name));
  VARVE_TRY_ASSIGN(const Endpoint* endpoint, find_endpoint(state, *project, name));
  if (endpoint->may_live()) {
    return Status(Code::kRefused, "the endpoint is not stopped")
        .with_object(name)
        .with_hint("`varve endpoint stop " + name + "` first");
  }
  Changes changes;
  changes.remove(*endpoint);
  begin_finished(state, asked, "", changes);
  return changes;
}

}  // namespace varve::control
