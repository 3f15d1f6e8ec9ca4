// What users ask for, as changes of the state: each function says what one commit has to hold so
// that the wish survives a crash, or why it can't be granted. Pure.
//
// A wish that takes more than one commit leaves its operation unfinished, and something in the
// state that says what is still to be done (steps.h); outcomes.h has the commits that finish it.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "control/plan/state.h"

namespace varve::control {

// Who asks for what, and when.
struct Asked {
  OperationId operation;
  uint16_t method = 0;
  uint32_t digest = 0;
  WallTime now;
};

// The operation of this id, or null when it is not known. Invalid when it is known as another
// request, or has no id at all.
Result<const Operation*> find_operation(const State& state, const Asked& asked);

// 1 to 63 lower-case letters, digits, '-' and '_', a letter or digit first: it becomes a part of
// file names and connection strings. Invalid names `what`.
Status check_name(const std::string& name, std::string_view what);

// NotFound with what there is instead, or Unavailable for one that is not ready.
Result<const Project*> find_project(const State& state, const std::string& name);
Result<const Branch*> find_branch(const State& state, const Project& project,
                                  const std::string& name);
Result<const Endpoint*> find_endpoint(const State& state, const Project& project,
                                      const std::string& name);

inline constexpr std::string_view kFirstBranch = "main";

struct NewProject {
  TenantId tenant;
  TimelineId timeline;  // of its first branch
  std::string name;
  uint32_t postgres_version = 0;
  std::set<NodeId> safekeepers;
};
// The project and its branch "main", both being made, under generation 1. Exists for a name that is
// taken.
Result<Changes> plan_create_project(const State& state, const Asked& asked, const NewProject& wish);

// Every branch is buried, every endpoint forgotten; the pageserver is told afterwards. Refused
// while an endpoint's process may live or something is being made. Finishes its operation.
Result<Changes> plan_delete_project(const State& state, const Asked& asked, const std::string& name,
                                    const std::set<NodeId>& keepers);

struct NewBranch {
  TenantTimelineId id;
  std::string name;
  TimelineId parent;
  Lsn start;
  std::set<NodeId> safekeepers;
};
Result<Changes> plan_create_branch(const State& state, const Asked& asked, const NewBranch& wish);

// Refused while it has children or endpoints, and for the project's first. Finishes its operation.
Result<Changes> plan_delete_branch(const State& state, const Asked& asked,
                                   const std::string& project, const std::string& name,
                                   const std::set<NodeId>& keepers);

struct PortRange {
  uint16_t first = 0;
  uint16_t last = 0;
};
// The lowest port that no endpoint has and that is not in `avoided`; Full when there is none.
Result<uint16_t> choose_port(const State& state, PortRange range,
                             const std::set<uint16_t>& avoided);

struct NewEndpoint {
  std::string project;
  std::string branch;
  std::string name;
  uint16_t port = 0;
  std::string response;  // of the operation, which this finishes
  // What its starts count on from: above every start that an endpoint of this name ever had, since
  // those who know an endpoint by its name may have outlived an earlier one.
  uint64_t starts_from = 0;
};
Result<Changes> plan_create_endpoint(const State& state, const Asked& asked,
                                     const NewEndpoint& wish);

// A new start of the endpoint; nothing when it is wanted already. Refused while another endpoint of
// the branch may live: two computes would fence each other for ever.
Result<Changes> plan_start_endpoint(const State& state, const Asked& asked,
                                    const std::string& project, const std::string& name);
// Nothing when it is not wanted any more. A start that is under way ends with Cancelled.
Result<Changes> plan_stop_endpoint(const State& state, const Asked& asked,
                                   const std::string& project, const std::string& name,
                                   bool immediately);
// Refused while its process may live. Finishes its operation.
Result<Changes> plan_delete_endpoint(const State& state, const Asked& asked,
                                     const std::string& project, const std::string& name);

}  // namespace varve::control
