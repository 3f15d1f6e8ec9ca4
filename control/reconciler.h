// Does what is to be done: runs a fiber for each open job (plan/steps.h) until the state says that
// it is not open any more. The one place that changes other processes' state.
//
// A step that fails is tried again after a pause; what is final ends in a commit that says so.
// Nothing here belongs to a request: who asked may leave, and the job goes on.
#pragma once

#include <map>
#include <set>

#include "base/backoff.h"
#include "consensus/client/safekeeper_client.h"
#include "control/cluster_source.h"
#include "control/ledger.h"
#include "control/options.h"
#include "control/peers.h"
#include "control/settler.h"
#include "wire/token.h"

namespace varve::control {

// What the jobs work with.
struct Workshop {
  World& world;
  Ledger& ledger;
  Peers& peers;
  Settler& settler;
  ClusterSource& clusters;
  const TokenSigner& signer;  // of computes' tokens
  const ControlOptions& options;
};

class Reconciler {
 public:
  explicit Reconciler(const Workshop& workshop) : shop_(workshop) {}

  // Works until the running fiber's scope is cancelled or the ledger has failed; returns why, after
  // every job has been left. Once.
  Status run();

  // The first attempt at a project may use the generation and the timeline of its intent: nothing
  // was done under them. Before its commit.
  void is_fresh(const TenantId& tenant) {
    fresh_.insert(tenant);
    untouched_.insert(tenant);
  }
  // The position in this branch's intent is certainly a record's end, so that everybody can be told
  // at once. Before its commit.
  void is_exact(const TenantTimelineId& id) { exact_.insert(id); }
  // Why the job did not succeed so far, or null.
  const Status* trouble(const Job& job) const;

 private:
  void run_job(const Job& job);
  Status watch_computes();
  bool is_open(const Job& job) const;
  Status step(const Job& job);
  void note_trouble(const Job& job, const Status& why);

  Status make_project(const TenantId& tenant);
  Status attempt_project(const TenantId& tenant);
  Status forget_project(const TenantId& tenant);
  Status make_branch(const TenantTimelineId& id);
  Status complete_branch(const TenantTimelineId& id);
  Status bury(const TenantTimelineId& id);
  Status bury_at_pageserver(const TenantTimelineId& id);
  Status attach_to_delete(const TenantId& tenant);
  Status endpoint_step(const EndpointKey& key);
  Status ask_start(const Endpoint& endpoint);
  Status ask_stop(const Endpoint& endpoint);
  Status await_start(const Endpoint& endpoint);

  Workshop shop_;
  std::set<Job> running_;
  std::map<Job, Status> troubles_;
  std::set<TenantId> fresh_;      // projects whose generation was not sent to anybody
  std::set<TenantId> untouched_;  // projects whose timeline was not sent to anybody
  std::set<TenantTimelineId> exact_;
};

// Creates the timeline on the safekeepers of `nodes` in parallel; the ones that have it. Returns
// when all have answered, or a quorum of the fleet has it and the rest let `grace` pass. The first
// final error of any, if no quorum has it. Suspends.
struct Creation {
  Lsn start;  // as it was asked for
  std::set<NodeId> have;
  Status failure;  // of one that has it not
};
Creation create_on_safekeepers(const Workshop& shop, const consensus::NewTimeline& timeline,
                               const std::set<NodeId>& nodes, Duration grace);

}  // namespace varve::control
