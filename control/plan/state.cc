#include "control/plan/state.h"

namespace varve::control {
namespace {

template <class Map, class Key>
auto* find(Map& map, const Key& key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

template <class Map, class Key, class R>
void change_one(Map& map, const Key& key, const R& record, bool remove) {
  if (remove) {
    VARVE_CHECK_MSG(map.erase(key) == 1, "what is removed was never there");
  } else {
    map.insert_or_assign(key, record);
  }
}

struct Applier {
  State& state;
  bool remove;
  void operator()(const Project& r) { change_one(state.projects, r.id, r, remove); }
  void operator()(const Branch& r) { change_one(state.branches, r.id, r, remove); }
  void operator()(const Endpoint& r) {
    change_one(state.endpoints, EndpointKey{r.tenant, r.name}, r, remove);
  }
  void operator()(const Registration& r) { change_one(state.pageservers, r.node, r, remove); }
  void operator()(const Tombstone& r) { change_one(state.tombstones, r.id, r, remove); }
  void operator()(const Operation& r) { change_one(state.operations, r.id, r, remove); }
};

std::string bad_projects(const State& state) {
  std::set<std::string> names;
  for (const auto& [id, project] : state.projects) {
    if (project.phase == ProjectPhase::kDeleting) continue;
    if (!names.insert(project.name).second) return "two projects are called " + project.name;
    if (project.generation == Generation()) return "project " + project.name + " has generation 0";
    if (project.phase == ProjectPhase::kReady && project.segment_size == 0)
      return "project " + project.name + " is ready without a cluster";
  }
  return "";
}

std::string bad_branches(const State& state) {
  std::set<std::pair<TenantId, std::string>> names;
  for (const auto& [id, branch] : state.branches) {
    const Project* project = state.project(id.tenant);
    if (project == nullptr) return "branch " + branch.name + " has no project";
    if (!names.insert({id.tenant, branch.name}).second)
      return "two branches of a project are called " + branch.name;
    if (state.tombstones.contains(id)) return "branch " + branch.name + " is buried";
    if (branch.parent) {
      const Branch* parent = state.branch(TenantTimelineId{id.tenant, *branch.parent});
      if (parent == nullptr) return "branch " + branch.name + " has lost its parent";
      if (!branch.start.valid()) return "branch " + branch.name + " has no beginning";
      if (branch.phase == BranchPhase::kReady && parent->phase != BranchPhase::kReady)
        return "branch " + branch.name + " was ready before its parent";
    }
    if (branch.phase == BranchPhase::kReady && project->phase == ProjectPhase::kMaking)
      return "branch " + branch.name + " was ready before its project";
  }
  return "";
}

std::string bad_endpoints(const State& state) {
  std::set<uint16_t> ports;
  std::set<TenantTimelineId> writers;
  for (const auto& [key, endpoint] : state.endpoints) {
    const TenantTimelineId timeline{endpoint.tenant, endpoint.timeline};
    if (state.branch(timeline) == nullptr) return "endpoint " + endpoint.name + " has no branch";
    if (!ports.insert(endpoint.port).second)
      return "two endpoints have port " + std::to_string(endpoint.port);
    if (endpoint.stopped > endpoint.start || (endpoint.wanted && !endpoint.may_live()))
      return "the starts of endpoint " + endpoint.name + " don't fit";
    if (endpoint.may_live() && !writers.insert(timeline).second)
      return "two endpoints may write to the branch of " + endpoint.name;
  }
  return "";
}

}  // namespace

Failure Failure::of(const Status& status) {
  return {status.code(), status.message(), status.detail().object, status.detail().hint};
}

Status Failure::status() const {
  if (code == Code::kOk) return Status();
  Status status(code, message);
  if (!object.empty()) status = std::move(status).with_object(object);
  if (!hint.empty()) status = std::move(status).with_hint(hint);
  return status;
}

const char* phase_name(ProjectPhase phase) {
  switch (phase) {
    case ProjectPhase::kMaking:
      return "being made";
    case ProjectPhase::kReady:
      return "ready";
    case ProjectPhase::kDeleting:
      return "being deleted";
  }
  VARVE_UNREACHABLE("no such phase");
}

const char* phase_name(BranchPhase phase) {
  switch (phase) {
    case BranchPhase::kMaking:
      return "being made";
    case BranchPhase::kReady:
      return "ready";
  }
  VARVE_UNREACHABLE("no such phase");
}

const Project* State::project(const std::string& name) const {
  for (const auto& [id, project] : projects) {
    if (project.name == name && project.phase != ProjectPhase::kDeleting) return &project;
  }
  return nullptr;
}
const Project* State::project(const TenantId& id) const {
  return find(projects, id);
}
const Branch* State::branch(const TenantId& tenant, const std::string& name) const {
  for (auto i = branches.lower_bound({tenant, {}}); i != branches.end(); ++i) {
    if (i->first.tenant != tenant) break;
    if (i->second.name == name) return &i->second;
  }
  return nullptr;
}
const Branch* State::branch(const TenantTimelineId& id) const {
  return find(branches, id);
}
const Endpoint* State::endpoint(const EndpointKey& key) const {
  return find(endpoints, key);
}
const Operation* State::operation(const OperationId& id) const {
  return find(operations, id);
}

const Endpoint* State::writer_of(const TenantTimelineId& timeline) const {
  for (auto i = endpoints.lower_bound({timeline.tenant, ""}); i != endpoints.end(); ++i) {
    if (i->first.first != timeline.tenant) break;
    if (i->second.timeline == timeline.timeline && i->second.may_live()) return &i->second;
  }
  return nullptr;
}

void Changes::append(Changes other) {
  for (Change& change : other.list_) list_.push_back(std::move(change));
}

void apply(State& state, const Changes& changes, Incarnation writer) {
  for (const Change& change : changes.list()) {
    std::visit(Applier{state, change.remove}, change.record);
  }
  ++state.version;
  state.writer = writer;
}

std::string inconsistency(const State& state) {
  for (const auto check : {bad_projects, bad_branches, bad_endpoints}) {
    std::string bad = check(state);
    if (!bad.empty()) return bad;
  }
  for (const auto& [id, operation] : state.operations) {
    if (!operation.finished && operation.failure.code != Code::kOk)
      return "an operation failed before it was finished";
  }
  return "";
}

}  // namespace varve::control
