// Jobs of branches: making one, and bringing it to safekeepers that were away.
#include <algorithm>
#include <iterator>

#include "control/messages.h"
#include "control/plan/outcomes.h"
#include "control/reconciler.h"
#include "storage/client/timeline_client.h"

namespace varve::control {
namespace {

consensus::NewTimeline new_timeline(const Fleet& fleet, const Project& project,
                                    const Branch& branch, Lsn start) {
  consensus::NewTimeline timeline;
  timeline.id = branch.id;
  timeline.membership = fleet.membership();
  timeline.server = {project.postgres_version, project.system_id, project.segment_size};
  timeline.start = start;
  timeline.parent = branch.parent;
  return timeline;
}

// An error that the same call meets again.
bool is_final_for_branch(const Status& status) {
  return is_final(status.code()) || status.is(Code::kBelowCutoff);
}

}  // namespace

// Repeated with the same id and the same position, both of which are in the intent: so every call
// may be repeated too, and what is there already counts.
Status Reconciler::make_branch(const TenantTimelineId& id) {
  const Branch* branch = shop_.ledger.state().branch(id);
  const Project* project = shop_.ledger.state().project(id.tenant);
  if (branch == nullptr || project == nullptr) return Status();
  const Project of = *project;
  const Branch making = *branch;
  const Fleet& fleet = shop_.peers.fleet();
  const auto give_up = [&](const Status& why) {
    shop_.world.log.warning("branch_failed", "it can't be made",
                            {{"timeline", id.timeline}, {"why", why}});
    return shop_.ledger.change([&](const State& state) {
      return branch_failed(state, id, Failure::of(why), fleet.keepers());
    });
  };

  Result<storage::LogPlace> place = Status(Code::kInternal, "not asked");
  const auto ask_pageserver = [&] {
    place = ask_peer(shop_.peers.pageserver(), shop_.options.call_timeout, [&](RpcClient& client) {
      return storage::branch_timeline(client, {id.tenant, 0, 1}, of.generation, id.timeline,
                                      *making.parent, making.start);
    });
  };
  Creation creation;
  const auto ask_safekeepers = [&](Lsn start) {
    creation = create_on_safekeepers(shop_, new_timeline(fleet, of, making, start), making.missing,
                                     shop_.options.member_grace);
  };
  if (exact_.erase(id) != 0) {
    Scope scope("make a branch");
    scope.spawn("branch at the pageserver", ask_pageserver);
    ask_safekeepers(making.start);
    scope.join().ignore("it has left its answer");
  } else {
    ask_pageserver();
    if (place.ok()) ask_safekeepers(place->lsn);
  }
  if (!place.ok()) {
    return is_final_for_branch(place.status()) ? give_up(place.status()) : place.status();
  }
  const Lsn start = place->lsn;
  if (creation.start != start) {
    return give_up(Status(Code::kInternal, "storage knows no record's end where the log ended")
                       .with_lsn(creation.start));
  }
  if (creation.have.size() < consensus::quorum_size(fleet.safekeepers.size())) {
    return is_final_for_branch(creation.failure) ? give_up(creation.failure) : creation.failure;
  }
  return shop_.ledger.change([&](const State& state) -> Result<Changes> {
    Branch ready = making;
    ready.phase = BranchPhase::kReady;
    ready.start = start;
    ready.missing.clear();
    std::set_difference(making.missing.begin(), making.missing.end(), creation.have.begin(),
                        creation.have.end(), std::inserter(ready.missing, ready.missing.end()));
    return branch_made(state, id, start, ready.missing, branch_response(ready));
  });
}

Status Reconciler::complete_branch(const TenantTimelineId& id) {
  const Branch* found = shop_.ledger.state().branch(id);
  const Project* project = shop_.ledger.state().project(id.tenant);
  if (found == nullptr || project == nullptr) return Status();
  // A copy: while safekeepers are asked, other changes replace what the ledger points to.
  const Branch branch = *found;
  const Creation creation = create_on_safekeepers(
      shop_, new_timeline(shop_.peers.fleet(), *project, branch, branch.start), branch.missing,
      shop_.options.call_timeout);
  for (const NodeId node : creation.have) {
    VARVE_TRY(
        shop_.ledger.change([&](const State& state) { return branch_completed(state, id, node); }));
  }
  return creation.failure;
}

}  // namespace varve::control
