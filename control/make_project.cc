// Jobs of projects: making one, and letting one go.
#include "control/messages.h"
#include "control/plan/outcomes.h"
#include "control/reconciler.h"
#include "storage/client/import_client.h"
#include "storage/client/timeline_client.h"

namespace varve::control {
namespace {

TenantShardId unsharded(const TenantId& tenant) {
  return {tenant, 0, 1};
}

const Branch* first_branch(const State& state, const TenantId& tenant) {
  return state.branch(tenant, std::string(kFirstBranch));
}

}  // namespace

Status Reconciler::make_project(const TenantId& tenant) {
  const Status status = attempt_project(tenant);
  // Another attempt, with new ids, would meet it again.
  if (!is_final(status.code()) || status.is(Code::kExists)) return status;
  shop_.world.log.warning("project_failed", "it can't be made",
                          {{"tenant", tenant}, {"why", status}});
  return shop_.ledger.change([&](const State& state) {
    return project_failed(state, tenant, Failure::of(status), shop_.peers.fleet().keepers());
  });
}

// From the beginning each time: an import is of one cluster, and an attempt makes its own. So what
// an earlier one has left lies under a timeline that is not used again.
Status Reconciler::attempt_project(const TenantId& tenant) {
  const Project* found = shop_.ledger.state().project(tenant);
  if (found == nullptr) return Status();
  const std::string name = found->name;
  const uint32_t version = found->postgres_version;
  // Before anything is taken: while nobody is there, attempts would leave nothing but tombstones.
  RpcClient& pageserver = shop_.peers.pageserver();
  VARVE_TRY(ask_peer(pageserver, shop_.options.call_timeout, [](RpcClient& client) {
              return client.peer();
            }).status());
  shop_.world.log.info("project_cluster", "making a database cluster",
                       {{"project", name}, {"postgres", version}});
  VARVE_TRY_ASSIGN(const std::unique_ptr<storage::FileSource> files, shop_.clusters.make(version));
  found = shop_.ledger.state().project(tenant);
  // A pageserver's life that began meanwhile was given a later generation than the intent's.
  const bool fresh = fresh_.erase(tenant) != 0 && found->generation == Generation(1);
  if (!fresh) {
    std::optional<TimelineId> timeline;
    if (!untouched_.contains(tenant)) {
      timeline = new_id<TimelineId>(shop_.world.random, "timeline");
    }
    VARVE_TRY(shop_.ledger.change([&](const State& state) {
      return project_again(state, tenant, timeline, shop_.peers.fleet().safekeeper_nodes(),
                           shop_.peers.fleet().keepers());
    }));
    if (timeline) untouched_.insert(tenant);
  }
  const State& state = shop_.ledger.state();
  const Project* project = state.project(tenant);
  const Branch* branch = first_branch(state, tenant);
  VARVE_CHECK_MSG(project != nullptr && branch != nullptr, "a project lost its first branch");
  const Generation generation = project->generation;
  const TenantTimelineId id = branch->id;
  // Once, whatever comes of it: a generation is sent to one life of a pageserver at most.
  VARVE_TRY(ask_peer(pageserver, shop_.options.call_timeout, [&](RpcClient& client) {
              return storage::attach_tenant(client, unsharded(tenant), generation);
            }).status());
  untouched_.erase(tenant);
  shop_.world.log.info("project_import", "sending it to the pageserver",
                       {{"project", name}, {"generation", generation}});
  VARVE_TRY_ASSIGN(const storage::ImportedTimeline imported,
                   ask_peer(pageserver, shop_.options.import_timeout, [&](RpcClient& client) {
                     return storage::import_timeline(client, unsharded(tenant), generation,
                                                     id.timeline, *files);
                   }));
  consensus::NewTimeline timeline;
  timeline.id = id;
  timeline.membership = shop_.peers.fleet().membership();
  timeline.server = {version, imported.system_id, imported.segment_size};
  timeline.start = imported.lsn;
  timeline.prefix = {imported.log_prefix};
  const std::set<NodeId> nodes = shop_.peers.fleet().safekeeper_nodes();
  // On all of them: nobody keeps the log in front of the start for one that comes later.
  const Creation creation =
      create_on_safekeepers(shop_, timeline, nodes, shop_.options.call_timeout);
  if (creation.have != nodes) return creation.failure;
  VARVE_TRY(shop_.ledger.change([&](const State& newest) -> Result<Changes> {
    const Project* made = newest.project(tenant);
    const Branch* first = first_branch(newest, tenant);
    if (made == nullptr || first == nullptr) return Changes();
    Branch ready = *first;
    ready.phase = BranchPhase::kReady;
    ready.start = imported.lsn;
    return project_made(newest, tenant, imported.lsn, imported.system_id, imported.segment_size,
                        project_response(*made, ready));
  }));
  shop_.world.log.info("project_made", "ready", {{"project", name}, {"lsn", imported.lsn}});
  return Status();
}

Status Reconciler::forget_project(const TenantId& tenant) {
  const Project* project = shop_.ledger.state().project(tenant);
  if (project == nullptr) return Status();
  const Generation generation = project->generation;
  VARVE_TRY(ask_peer(shop_.peers.pageserver(), shop_.options.call_timeout, [&](RpcClient& client) {
    return storage::detach_tenant(client, unsharded(tenant), generation);
  }));
  return shop_.ledger.change([&](const State& state) { return project_gone(state, tenant); });
}

}  // namespace varve::control
