#include "control/reconciler.h"

#include <algorithm>

#include "control/plan/outcomes.h"
#include "storage/client/timeline_client.h"

namespace varve::control {

Status Reconciler::run() {
  Scope scope("control's jobs");
  scope.spawn("watch computes", [this] { return watch_computes(); });
  Status end;
  while (end.ok()) {
    for (const Job& job : open_jobs(shop_.ledger.state(), shop_.ledger.computes())) {
      if (!running_.insert(job).second) continue;
      scope.spawn(job_name(job.kind), [this, job] { run_job(job); });
    }
    end = shop_.ledger.wait_change("something to do");
  }
  scope.cancel();
  scope.join().ignore("cancelled");
  return end;
}

Status Reconciler::watch_computes() {
  for (;;) {
    VARVE_TRY(sleep_for(shop_.options.compute_silence / 4));
    if (doubt_silent(shop_.ledger.state(), shop_.ledger.computes(), now(),
                     shop_.options.compute_silence)) {
      shop_.ledger.learnt();
    }
  }
}

const Status* Reconciler::trouble(const Job& job) const {
  const auto found = troubles_.find(job);
  return found == troubles_.end() ? nullptr : &found->second;
}

bool Reconciler::is_open(const Job& job) const {
  const std::vector<Job> open = open_jobs(shop_.ledger.state(), shop_.ledger.computes());
  return std::find(open.begin(), open.end(), job) != open.end();
}

void Reconciler::run_job(const Job& job) {
  Backoff backoff({shop_.options.retry_first, shop_.options.retry_maximum, Duration::seconds(1)});
  while (is_open(job)) {
    const Status status = step(job);
    if (!check_cancelled().ok() || !shop_.ledger.failed().ok()) break;
    if (status.ok()) {
      troubles_.erase(job);
      continue;
    }
    note_trouble(job, status);
    backoff.failed(now(), shop_.world.random.below(UINT64_MAX, "retry of a job"));
    if (!sleep_for(backoff.wait(now())).ok()) break;
  }
  troubles_.erase(job);
  running_.erase(job);
  // It may have been opened again between its last step and now.
  shop_.ledger.learnt();
}

void Reconciler::note_trouble(const Job& job, const Status& why) {
  Status& known = troubles_[job];
  const bool news = known.code() != why.code() || known.message() != why.message();
  known = why;
  if (!news) return;
  std::vector<Field> fields = {{"job", job_name(job.kind)}, {"tenant", job.id.tenant}};
  if (!job.id.timeline.is_zero()) fields.emplace_back("timeline", job.id.timeline);
  if (!job.endpoint.empty()) fields.emplace_back("endpoint", job.endpoint);
  fields.emplace_back("why", why);
  shop_.world.log.warning("job_failed", "trying again", std::move(fields));
  shop_.ledger.learnt();
}

Status Reconciler::step(const Job& job) {
  switch (job.kind) {
    case JobKind::kMakeProject:
      return make_project(job.id.tenant);
    case JobKind::kForgetProject:
      return forget_project(job.id.tenant);
    case JobKind::kMakeBranch:
      return make_branch(job.id);
    case JobKind::kCompleteBranch:
      return complete_branch(job.id);
    case JobKind::kBury:
      return bury(job.id);
    case JobKind::kEndpoint:
      return endpoint_step(job.endpoint_key());
  }
  VARVE_UNREACHABLE("no such job");
}

// Its branches are deleted first, by jobs of their own.
Status Reconciler::bury_at_pageserver(const TenantTimelineId& id) {
  for (;;) {
    const Project* project = shop_.ledger.state().project(id.tenant);
    if (project == nullptr) return Status();  // nobody was ever given it
    const Generation generation = project->generation;
    const bool deleting = project->phase == ProjectPhase::kDeleting;
    const Status deleted =
        ask_peer(shop_.peers.pageserver(), shop_.options.call_timeout, [&](RpcClient& client) {
          return storage::delete_timeline(client, {id.tenant, 0, 1}, generation, id.timeline);
        });
    if (deleted.is(Code::kNotFound) && deleting) {
      // It does not have the tenant: no attempt at the project came so far in its life.
      VARVE_TRY(attach_to_delete(id.tenant));
      continue;
    }
    if (!deleted.is(Code::kRefused)) return deleted;
    const auto& stones = shop_.ledger.state().tombstones;
    const NodeId node = shop_.peers.fleet().pageserver;
    const bool others = std::any_of(stones.begin(), stones.end(), [&](const auto& stone) {
      return stone.first.tenant == id.tenant && stone.first != id &&
             stone.second.pending.contains(node);
    });
    if (!others) return deleted;
    VARVE_TRY(shop_.ledger.wait_change("branches of a timeline to be deleted"));
  }
}

// Under a generation of its own: each is sent once.
Status Reconciler::attach_to_delete(const TenantId& tenant) {
  Generation generation;
  VARVE_TRY(shop_.ledger.change([&](const State& state) {
    Changes changes = give_again(state, tenant);
    if (!changes.empty()) generation = state.project(tenant)->generation.next();
    return changes;
  }));
  if (generation == Generation()) return Status();  // it is gone
  return ask_peer(shop_.peers.pageserver(), shop_.options.call_timeout,
                  [&](RpcClient& client) {
                    return storage::attach_tenant(client, {tenant, 0, 1}, generation);
                  })
      .status();
}

// One commit for all that have confirmed: a deletion is nobody's wait, and the next branch is
// somebody's.
Status Reconciler::bury(const TenantTimelineId& id) {
  const auto found = shop_.ledger.state().tombstones.find(id);
  if (found == shop_.ledger.state().tombstones.end()) return Status();
  const std::set<NodeId> pending = found->second.pending;
  std::set<NodeId> confirmed;
  Scope scope("bury a timeline");
  for (const NodeId node : pending) {
    scope.spawn("bury", [this, &confirmed, id, node]() -> Status {
      if (node == shop_.peers.fleet().pageserver) {
        VARVE_TRY(bury_at_pageserver(id));
      } else {
        VARVE_TRY(
            ask_peer(shop_.peers.safekeeper(node), shop_.options.call_timeout,
                     [&](RpcClient& client) { return consensus::delete_timeline(client, id); }));
      }
      confirmed.insert(node);
      return Status();
    });
  }
  const Status all = scope.join();
  VARVE_TRY(shop_.ledger.change([&](const State& state) { return buried(state, id, confirmed); }));
  return all;
}

Creation create_on_safekeepers(const Workshop& shop, const consensus::NewTimeline& timeline,
                               const std::set<NodeId>& nodes, Duration grace) {
  Creation creation;
  creation.start = timeline.start;
  const size_t members = shop.peers.fleet().safekeepers.size();
  const size_t had = members - nodes.size();  // by an earlier attempt
  size_t answers = 0;
  WaitQueue answered;
  Scope scope("create on safekeepers");
  for (const NodeId node : nodes) {
    scope.spawn("create on a safekeeper", [&, node] {
      Status status =
          ask_peer(shop.peers.safekeeper(node), shop.options.call_timeout,
                   [&](RpcClient& client) { return consensus::create_timeline(client, timeline); });
      if (status.ok()) {
        creation.have.insert(node);
      } else if (creation.failure.ok() || is_final(status.code())) {
        creation.failure = std::move(status);
      }
      ++answers;
      answered.wake_all();
    });
  }
  Instant deadline = Instant::never();
  while (answers < nodes.size()) {
    if (had + creation.have.size() >= consensus::quorum_size(members) &&
        deadline == Instant::never()) {
      deadline = now() + grace;
    }
    if (!answered.wait("a safekeeper's answer", deadline).ok()) break;
  }
  scope.cancel();
  scope.join().ignore("each has left its answer");
  if (creation.failure.ok() && creation.have.size() < nodes.size()) {
    creation.failure = Status(Code::kUnavailable, "a safekeeper did not answer in time");
  }
  return creation;
}

}  // namespace varve::control
