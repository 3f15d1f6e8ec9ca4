// The job of an endpoint: what is wanted of it is what runs.
#include "control/compute_token.h"
#include "control/messages.h"
#include "control/plan/outcomes.h"
#include "control/reconciler.h"
#include "proto/host.pb.h"
#include "supervisor/client/methods.h"
#include "wire/rpc_proto.h"

namespace varve::control {

Status Reconciler::endpoint_step(const EndpointKey& key) {
  const Endpoint* found = shop_.ledger.state().endpoint(key);
  if (found == nullptr) return Status();
  const Endpoint endpoint = *found;
  const Compute* compute = shop_.ledger.compute(key);
  switch (next_step(shop_.ledger.state(), key, compute)) {
    case EndpointStep::kNothing:
      return Status();
    case EndpointStep::kAskStart:
      return ask_start(endpoint);
    case EndpointStep::kAwait:
      return await_start(endpoint);
    case EndpointStep::kRuns:
      return shop_.ledger.change([&](const State& state) {
        return endpoint_runs(
            state, key, endpoint.start,
            started_endpoint_response(endpoint, shop_.ledger.compute(key), shop_.peers.fleet()));
      });
    case EndpointStep::kFailed: {
      const Failure failure = compute->failure;
      return shop_.ledger.change(
          [&](const State& state) { return endpoint_failed(state, key, endpoint.start, failure); });
    }
    case EndpointStep::kAskStop:
      return ask_stop(endpoint);
  }
  VARVE_UNREACHABLE("no such step");
}

Status Reconciler::ask_start(const Endpoint& endpoint) {
  const TenantTimelineId timeline{endpoint.tenant, endpoint.timeline};
  const EndpointKey key{endpoint.tenant, endpoint.name};
  // An election that settles the branch must not fence what is started here.
  const MutexGuard lock(shop_.settler.writer_lock(timeline), "an election for this branch");
  VARVE_TRY(lock.status());
  const Endpoint* newest = shop_.ledger.state().endpoint(key);
  if (newest == nullptr || *newest != endpoint) return Status();
  shop_.settler.writer_begins(timeline);
  proto::StartComputeRequest request;
  request.set_tenant(endpoint.tenant.bytes.data(), endpoint.tenant.bytes.size());
  request.set_timeline(endpoint.timeline.bytes.data(), endpoint.timeline.bytes.size());
  request.set_endpoint(endpoint.name);
  request.set_start(endpoint.start);
  request.set_token(shop_.signer.sign(compute_claims(timeline, endpoint.start)));
  const Status status =
      ask_peer(shop_.peers.supervisor(), shop_.options.call_timeout, [&](RpcClient& client) {
        return call<proto::StartComputeResponse>(client, supervisor::kStartCompute, request);
      }).status();
  if (status.ok()) {
    Compute& compute = shop_.ledger.computes()[key];
    compute.asked = endpoint.start;
    compute.heard = now();
    shop_.ledger.learnt();
    return Status();
  }
  if (status.is(Code::kStale)) {
    return shop_.ledger.change(
        [&](const State& state) { return endpoint_outrun(state, key, endpoint.start); });
  }
  if (!is_final(status.code())) return status;
  return shop_.ledger.change([&](const State& state) {
    return endpoint_failed(state, key, endpoint.start, Failure::of(status));
  });
}

Status Reconciler::await_start(const Endpoint& endpoint) {
  const EndpointKey key{endpoint.tenant, endpoint.name};
  const Status waited = shop_.ledger.wait_until(
      [&] {
        const Endpoint* newest = shop_.ledger.state().endpoint(key);
        return newest == nullptr || newest->start != endpoint.start ||
               next_step(shop_.ledger.state(), key, shop_.ledger.compute(key)) !=
                   EndpointStep::kAwait;
      },
      "a compute to run", now() + shop_.options.start_patience);
  if (!waited.is(Code::kDeadlineExceeded)) return waited;
  VARVE_TRY(check_cancelled());
  const Compute* compute = shop_.ledger.compute(key);
  const Failure failure = late_failure(endpoint, compute);
  return shop_.ledger.change(
      [&](const State& state) { return endpoint_is_late(state, key, endpoint.start, failure); });
}

Status Reconciler::ask_stop(const Endpoint& endpoint) {
  const EndpointKey key{endpoint.tenant, endpoint.name};
  proto::StopComputeRequest request;
  request.set_tenant(endpoint.tenant.bytes.data(), endpoint.tenant.bytes.size());
  request.set_endpoint(endpoint.name);
  request.set_start(endpoint.start);
  request.set_immediately(endpoint.immediately);
  // The supervisor kills what does not stop in time, so this ends.
  const Status status =
      ask_peer(shop_.peers.supervisor(), shop_.options.call_timeout * 3, [&](RpcClient& client) {
        return call<proto::StopComputeResponse>(client, supervisor::kStopCompute, request);
      }).status();
  if (status.is(Code::kStale)) {
    return shop_.ledger.change(
        [&](const State& state) { return endpoint_outrun(state, key, endpoint.start); });
  }
  VARVE_TRY(status);
  return shop_.ledger.change(
      [&](const State& state) { return endpoint_stopped(state, key, endpoint.start); });
}

}  // namespace varve::control
