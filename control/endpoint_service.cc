// Methods about endpoints.
#include "control/client/methods.h"
#include "control/messages.h"
#include "control/service.h"
#include "proto/control.pb.h"
#include "proto/host.pb.h"
#include "supervisor/client/methods.h"
#include "wire/rpc_proto.h"

namespace varve::control {
namespace {

std::vector<Endpoint> removed_endpoints(const Changes& changes) {
  std::vector<Endpoint> removed;
  for (const Change& change : changes.list()) {
    const auto* endpoint = std::get_if<Endpoint>(&change.record);
    if (endpoint != nullptr && change.remove) removed.push_back(*endpoint);
  }
  return removed;
}

}  // namespace

// Endpoints run on this machine, so whether a port is free can be tried here.
bool Service::port_is_free(uint16_t port) {
  return shop_.world.network.listen(Address{shop_.peers.fleet().endpoint_listen, port}).ok();
}

Result<std::string> Service::create_endpoint(const proto::CreateEndpointRequest& request) {
  const Asked by = asked(kCreateEndpoint, request.operation(), request);
  const State& state = shop_.ledger.state();
  VARVE_TRY_ASSIGN(const Operation* known, find_operation(state, by));
  if (known != nullptr) return outcome(by);
  NewEndpoint wish;
  wish.project = request.project();
  wish.branch = request.branch().empty() ? std::string(kFirstBranch) : request.branch();
  wish.name = request.name().empty() ? wish.branch : request.name();
  std::set<uint16_t> avoided;
  for (;;) {
    VARVE_TRY_ASSIGN(wish.port, choose_port(state, shop_.peers.fleet().endpoint_ports, avoided));
    if (port_is_free(wish.port)) break;
    VARVE_TRY(check_cancelled());
    avoided.insert(wish.port);
  }
  return carry_out(by, [&](const State& newest) -> Result<Changes> {
    VARVE_TRY_ASSIGN(const Project* project, find_project(newest, wish.project));
    VARVE_TRY_ASSIGN(const Branch* branch, find_branch(newest, *project, wish.branch));
    Endpoint endpoint;
    endpoint.tenant = project->id;
    endpoint.name = wish.name;
    endpoint.timeline = branch->id.timeline;
    endpoint.port = wish.port;
    // Each start is a commit of its own, so no start of an endpoint is above the version.
    wish.starts_from = newest.version;
    wish.response = created_endpoint_response(endpoint, shop_.peers.fleet());
    return plan_create_endpoint(newest, by, wish);
  });
}

Result<std::string> Service::start_endpoint(const proto::StartEndpointRequest& request) {
  const Asked by = asked(kStartEndpoint, request.operation(), request);
  VARVE_TRY_ASSIGN(const std::string response, carry_out(by, [&](const State& state) {
                     return plan_start_endpoint(state, by, request.project(), request.name());
                   }));
  if (!response.empty()) return response;
  // It was wanted already: the answer is how that fares. When this asks again for what was answered
  // before, all of it may be gone.
  const State& state = shop_.ledger.state();
  const Project* project = state.project(request.project());
  const EndpointKey key{project == nullptr ? TenantId() : project->id, request.name()};
  // What its process is known to be, if it is of this start.
  const auto known = [&](ComputeState wanted) {
    const Endpoint* endpoint = state.endpoint(key);
    const Compute* compute = shop_.ledger.compute(key);
    return endpoint != nullptr && compute != nullptr && compute->start == endpoint->start &&
           compute->state == wanted;
  };
  const auto decided = [&] {
    const Endpoint* endpoint = state.endpoint(key);
    return endpoint == nullptr || !endpoint->wanted || known(ComputeState::kRunning) ||
           known(ComputeState::kFailed);
  };
  const Status waited = shop_.ledger.wait_until(decided, "an endpoint that was started before",
                                                now() + shop_.options.start_patience);
  const Endpoint* endpoint = state.endpoint(key);
  if (endpoint == nullptr || !endpoint->wanted) {
    return Status(Code::kCancelled, "the endpoint was stopped meanwhile")
        .with_object(request.name());
  }
  const Compute* compute = shop_.ledger.compute(key);
  if (waited.is(Code::kDeadlineExceeded)) {
    VARVE_TRY(check_cancelled());
    return late_failure(*endpoint, compute).status();
  }
  VARVE_TRY(waited);
  if (known(ComputeState::kFailed)) {
    return compute->failure.status().with_context("it was started before, and does not run");
  }
  return started_endpoint_response(*endpoint, shop_.ledger.compute(key), shop_.peers.fleet());
}

Result<std::string> Service::stop_endpoint(const proto::StopEndpointRequest& request) {
  const Asked by = asked(kStopEndpoint, request.operation(), request);
  VARVE_TRY_ASSIGN(const std::string response, carry_out(by, [&](const State& state) {
                     return plan_stop_endpoint(state, by, request.project(), request.name(),
                                               request.immediately());
                   }));
  // It may have been unwanted already, with its process still about to end. When this asks again
  // for what was answered before, the project may be gone, and all that ran in it.
  const State& state = shop_.ledger.state();
  const Project* project = state.project(request.project());
  if (project == nullptr) return response;
  const EndpointKey key{project->id, request.name()};
  VARVE_TRY(shop_.ledger.wait_until(
      [&] {
        const Endpoint* endpoint = state.endpoint(key);
        return endpoint == nullptr || endpoint->wanted || !endpoint->may_live();
      },
      "an endpoint to end"));
  return response;
}

Result<std::string> Service::delete_endpoint(const proto::DeleteEndpointRequest& request) {
  const Asked by = asked(kDeleteEndpoint, request.operation(), request);
  return carry_out_removal(by, [&](const State& state) {
    return plan_delete_endpoint(state, by, request.project(), request.name());
  });
}

Result<std::string> Service::carry_out_removal(
    const Asked& asked, const std::function<Result<Changes>(const State&)>& plan) {
  const State& state = shop_.ledger.state();
  VARVE_TRY_ASSIGN(const Operation* known, find_operation(state, asked));
  if (known != nullptr) return outcome(asked);
  VARVE_TRY_ASSIGN(const Changes draft, plan(state));
  const std::vector<Endpoint> forgotten = removed_endpoints(draft);
  for (const Endpoint& endpoint : forgotten) {
    proto::ForgetComputeRequest forget;
    forget.set_tenant(endpoint.tenant.bytes.data(), endpoint.tenant.bytes.size());
    forget.set_endpoint(endpoint.name);
    forget.set_start(endpoint.start);
    VARVE_TRY(
        ask_peer(shop_.peers.supervisor(), shop_.options.call_timeout, [&](RpcClient& client) {
          return call<proto::ForgetComputeResponse>(client, supervisor::kForgetCompute, forget);
        }).status());
  }
  return carry_out(asked, [&](const State& newest) -> Result<Changes> {
    VARVE_TRY_ASSIGN(const Changes changes, plan(newest));
    // One that was made or started meanwhile may have left something again.
    if (removed_endpoints(changes) != forgotten)
      return Status(Code::kUnavailable, "its endpoints were changed meanwhile")
          .with_hint("ask again");
    return changes;
  });
}

Status Service::list_endpoints(const proto::ListEndpointsRequest& request,
                               proto::ListEndpointsResponse& response) {
  const State& state = shop_.ledger.state();
  VARVE_TRY_ASSIGN(const Project* project, find_project(state, request.project()));
  for (const auto& [key, endpoint] : state.endpoints) {
    if (endpoint.tenant != project->id) continue;
    put_endpoint(endpoint, shop_.ledger.compute(key), shop_.peers.fleet(),
                 *response.add_endpoints());
  }
  return Status();
}

}  // namespace varve::control
