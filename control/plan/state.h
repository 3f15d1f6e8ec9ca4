// What control knows and must not forget: projects, branches, endpoints, who holds which
// generation, and which operations were asked for. Values; a change is a list of records to put or
// to remove, and the same list takes the store and the memory from one version to the next.
//
// Kept are intents and what was given out, never what can be learnt again by looking (where a
// compute listens, whether it runs).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/status.h"
#include "base/time.h"

namespace varve::control {

// Drawn by whoever asks for a change, so that asking again has no second effect.
using OperationId = Id128<struct OperationIdTag>;

// A Status as a value that can be kept and compared.
struct Failure {
  Code code = Code::kOk;
  std::string message;
  std::string object;
  std::string hint;
  bool operator==(const Failure&) const = default;

  static Failure of(const Status& status);
  Status status() const;  // success for kOk
};

enum class ProjectPhase : uint8_t { kMaking = 1, kReady = 2, kDeleting = 3 };
const char* phase_name(ProjectPhase phase);

struct Project {
  TenantId id;
  std::string name;  // unique among those that are not being deleted
  ProjectPhase phase = ProjectPhase::kMaking;
  uint32_t postgres_version = 0;  // numeric form, as 150008
  WallTime created;
  Generation generation;      // the highest that anybody was given; never falls
  uint64_t system_id = 0;     // of its cluster; 0 while it is being made
  uint32_t segment_size = 0;  // of its log, bytes; 0 while it is being made
  OperationId operation;      // that made it
  bool operator==(const Project&) const = default;
  uint32_t major() const { return postgres_version / 10000; }
};

enum class BranchPhase : uint8_t { kMaking = 1, kReady = 2 };
const char* phase_name(BranchPhase phase);

struct Branch {
  TenantTimelineId id;
  std::string name;  // unique in its project
  BranchPhase phase = BranchPhase::kMaking;
  std::optional<TimelineId> parent;  // none: the project's first
  Lsn start;                         // while making: the one asked for; invalid for the first
  WallTime created;
  std::set<NodeId> missing;  // safekeepers that don't have it yet
  OperationId operation;     // that made it
  bool operator==(const Branch&) const = default;
};

// `start` numbers the starts, so that what belongs to an earlier one is known. It is wanted or not;
// `stopped` is the last start that certainly has no process any more.
// Invariant: stopped <= start; wanted implies stopped < start.
struct Endpoint {
  TenantId tenant;
  std::string name;  // unique in its project
  TimelineId timeline;
  uint16_t port = 0;  // of Postgres; unique among all endpoints
  uint64_t start = 0;
  uint64_t stopped = 0;
  bool wanted = false;
  bool immediately = false;  // how it is to be stopped
  OperationId operation;     // the last that changed what is wanted
  bool operator==(const Endpoint&) const = default;

  // Whether a process of it may live: nobody else may write to its branch then.
  bool may_live() const { return stopped < start; }
};

// A pageserver's life, to which the generations of all tenants were given.
struct Registration {
  NodeId node;
  Incarnation incarnation;
  bool operator==(const Registration&) const = default;
};

// A timeline that is gone, and those of its keepers, safekeepers and pageserver, that have not
// confirmed it.
struct Tombstone {
  TenantTimelineId id;
  std::set<NodeId> pending;
  bool operator==(const Tombstone&) const = default;
};

// What was asked for under an id, and how it ended. `digest` tells a repetition from another
// request under the same id.
struct Operation {
  OperationId id;
  uint16_t method = 0;
  uint32_t digest = 0;    // CRC-32C of the request
  uint64_t sequence = 0;  // the version in which it began; the oldest finished ones are forgotten
  bool finished = false;
  Failure failure;       // of a finished one; kOk: it succeeded
  std::string response;  // serialized
  bool operator==(const Operation&) const = default;
};

using EndpointKey = std::pair<TenantId, std::string>;

struct State {
  uint64_t version = 0;  // counts commits
  Incarnation writer;    // of the life of control that made the last one
  std::map<TenantId, Project> projects;
  std::map<TenantTimelineId, Branch> branches;
  std::map<EndpointKey, Endpoint> endpoints;
  std::map<NodeId, Registration> pageservers;
  std::map<TenantTimelineId, Tombstone> tombstones;
  std::map<OperationId, Operation> operations;
  bool operator==(const State&) const = default;

  // Null when there is none. A project that is being deleted has no name any more.
  const Project* project(const std::string& name) const;
  const Project* project(const TenantId& id) const;
  const Branch* branch(const TenantId& tenant, const std::string& name) const;
  const Branch* branch(const TenantTimelineId& id) const;
  const Endpoint* endpoint(const EndpointKey& key) const;
  const Operation* operation(const OperationId& id) const;
  // The endpoint of this branch whose process may live. At most one does, see plan_start_endpoint.
  const Endpoint* writer_of(const TenantTimelineId& timeline) const;
};

using Record = std::variant<Project, Branch, Endpoint, Registration, Tombstone, Operation>;

struct Change {
  Record record;
  bool remove = false;  // then only the record's key counts
  bool operator==(const Change&) const = default;
};

// In the order in which they take effect; together one commit.
class Changes {
 public:
  void put(Record record) { list_.push_back({std::move(record), false}); }
  void remove(Record record) { list_.push_back({std::move(record), true}); }
  void append(Changes other);
  bool empty() const { return list_.empty(); }
  const std::vector<Change>& list() const { return list_; }

 private:
  std::vector<Change> list_;
};

// The next version. What is removed must be there.
void apply(State& state, const Changes& changes, Incarnation writer);

// Empty when `state` keeps what it promises (names and ports are unique, parents exist, at most one
// writer a branch, ...); else a sentence that says what is wrong. For loading and for tests.
std::string inconsistency(const State& state);

}  // namespace varve::control
