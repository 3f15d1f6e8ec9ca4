// Methods about branches.
#include <algorithm>
#include <tuple>
#include <vector>

#include "control/client/methods.h"
#include "control/messages.h"
#include "control/service.h"
#include "proto/control.pb.h"
#include "storage/client/timeline_client.h"

namespace varve::control {
namespace {

TenantShardId unsharded(const TenantId& tenant) {
  return {tenant, 0, 1};
}

}  // namespace

// The position is found before the intent is committed: the intent holds it, so that every call
// that follows may be repeated, and whatever was acknowledged before the request is below it.
Result<std::string> Service::create_branch(const proto::CreateBranchRequest& request) {
  const Asked by = asked(kCreateBranch, request.operation(), request);
  const State& state = shop_.ledger.state();
  VARVE_TRY_ASSIGN(const Operation* known, find_operation(state, by));
  if (known != nullptr) return outcome(by);
  if (request.has_lsn() && request.has_time()) {
    return Status(Code::kInvalid, "a branch begins at a position or at a time, not both");
  }
  VARVE_TRY(check_name(request.name(), "branch"));
  VARVE_TRY_ASSIGN(const Project* project, find_project(state, request.project()));
  const std::string parent_name =
      request.parent().empty() ? std::string(kFirstBranch) : request.parent();
  VARVE_TRY_ASSIGN(const Branch* parent, find_branch(state, *project, parent_name));
  if (state.branch(project->id, request.name()) != nullptr) {
    return Status(Code::kExists, "there is a branch called '" + request.name() + "'")
        .with_object(request.name());
  }
  const Branch of = *parent;
  VARVE_TRY_ASSIGN(const BranchingPoint point, branching_point(request, of));
  NewBranch wish;
  wish.id = {of.id.tenant, new_id<TimelineId>(shop_.world.random, "timeline")};
  wish.name = request.name();
  wish.parent = point.parent;
  wish.start = point.lsn;
  wish.safekeepers = shop_.peers.fleet().safekeeper_nodes();
  if (point.exact) reconciler_.is_exact(wish.id);
  return carry_out(by, [&](const State& newest) { return plan_create_branch(newest, by, wish); });
}

Result<Service::BranchingPoint> Service::branching_point(const proto::CreateBranchRequest& request,
                                                         const Branch& parent) {
  if (request.has_lsn()) return explicit_point(parent, Lsn(request.lsn()));
  if (request.has_time()) return point_in_time(parent, WallTime{request.time()});
  bool exact = false;
  VARVE_TRY_ASSIGN(const Lsn lsn, shop_.settler.settle(parent.id, &exact));
  // A branch that was never written to ends where it begins, and a page edge may stand on its
  // parent's side.
  return BranchingPoint{parent.id.timeline, std::max(lsn, parent.start), exact};
}

Result<Service::BranchingPoint> Service::explicit_point(const Branch& parent, Lsn lsn) {
  const Branch* owner = owner_of(shop_.ledger.state(), parent, lsn);
  if (owner == nullptr || !lsn.valid()) {
    return Status(Code::kBelowCutoff, "the log of '" + parent.name + "' begins later")
        .with_lsn(lsn)
        .with_hint("the earliest position is " + parent.start.to_string());
  }
  const TenantTimelineId id = owner->id;
  // Positions above what is committed may be another record tomorrow.
  const DeadlineGuard limit(shop_.options.call_timeout);
  const auto reached =
      storage::timeline_status(shop_.peers.pageserver(), unsharded(id.tenant), id.timeline, lsn);
  if (reached.is(Code::kDeadlineExceeded)) {
    const auto newest =
        storage::timeline_status(shop_.peers.pageserver(), unsharded(id.tenant), id.timeline);
    const std::string where = newest.ok() ? newest->last_record.to_string() : "earlier";
    return Status(Code::kInvalid, "the log of '" + parent.name + "' ends at " + where +
                                      ", before the position asked for")
        .with_lsn(lsn);
  }
  VARVE_TRY(reached.status());
  return BranchingPoint{id.timeline, lsn, false};
}

// Time is looked up in what storage has digested, so that has to reach "now" first: else a commit
// that was acknowledged before the question could be missed.
Result<Service::BranchingPoint> Service::point_in_time(const Branch& parent, WallTime time) {
  VARVE_TRY_ASSIGN(const Lsn end, shop_.settler.settle(parent.id));
  const DeadlineGuard limit(shop_.options.call_timeout);
  RpcClient& pageserver = shop_.peers.pageserver();
  const Branch* at = &parent;
  TenantTimelineId id = at->id;
  VARVE_TRY(storage::timeline_status(pageserver, unsharded(id.tenant), id.timeline, end).status());
  VARVE_TRY_ASSIGN(const storage::PlaceInTime found,
                   storage::lsn_by_time(pageserver, unsharded(id.tenant), id.timeline, time));
  const Branch* owner = owner_of(shop_.ledger.state(), parent, found.place.lsn);
  if (owner == nullptr) return Status(Code::kBelowCutoff, "the branch begins later");
  return BranchingPoint{owner->id.timeline, found.place.lsn, true};
}

Status Service::list_branches(const proto::ListBranchesRequest& request,
                              proto::ListBranchesResponse& response) {
  const State& state = shop_.ledger.state();
  const Project* project = state.project(request.project());
  if (project == nullptr) return find_project(state, request.project()).status();
  std::vector<const Branch*> branches;
  for (const auto& [id, branch] : state.branches) {
    if (id.tenant == project->id) branches.push_back(&branch);
  }
  std::sort(branches.begin(), branches.end(), [](const Branch* a, const Branch* b) {
    return std::tie(a->created, a->name) < std::tie(b->created, b->name);
  });
  for (const Branch* found : branches) {
    const Branch& branch = *found;
    const TenantTimelineId& id = branch.id;
    proto::Branch* message = response.add_branches();
    put_branch(branch, *message);
    if (branch.phase == BranchPhase::kReady) continue;
    const Job job = branch.parent ? Job{JobKind::kMakeBranch, id, ""}
                                  : Job{JobKind::kMakeProject, {id.tenant, {}}, ""};
    const Status* trouble = reconciler_.trouble(job);
    if (trouble != nullptr) put_failure(Failure::of(*trouble), *message->mutable_failure());
  }
  return Status();
}

}  // namespace varve::control
