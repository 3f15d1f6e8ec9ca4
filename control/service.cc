#include "control/service.h"

#include "base/crc32c.h"
#include "control/client/methods.h"
#include "control/compute_token.h"
#include "control/messages.h"
#include "control/plan/outcomes.h"
#include "proto/control.pb.h"
#include "wire/rpc_proto.h"

namespace varve::control {
namespace {

template <class Id>
Result<Id> take_id(const std::string& bytes, const char* what) {
  Id id;
  if (bytes.size() != id.bytes.size()) {
    return Status(Code::kInvalid, std::string(what) + " is not 16 bytes");
  }
  std::copy(bytes.begin(), bytes.end(), id.bytes.begin());
  return id;
}

template <class Message>
Result<TenantTimelineId> take_timeline(const Message& message) {
  TenantTimelineId id;
  VARVE_TRY_ASSIGN(id.tenant, take_id<TenantId>(message.tenant(), "the tenant's id"));
  VARVE_TRY_ASSIGN(id.timeline, take_id<TimelineId>(message.timeline(), "the timeline's id"));
  return id;
}

ComputeState get_state(proto::EndpointState state) {
  switch (state) {
    case proto::ENDPOINT_STARTING:
      return ComputeState::kStarting;
    case proto::ENDPOINT_RUNNING:
      return ComputeState::kRunning;
    case proto::ENDPOINT_STOPPING:
    case proto::ENDPOINT_STOPPED:
      return ComputeState::kStopping;
    case proto::ENDPOINT_FAILED:
      return ComputeState::kFailed;
    default:
      return ComputeState::kUnknown;
  }
}

}  // namespace

template <class Request>
void Service::add_change(RpcServer& server, const RpcMethod& method,
                         Result<std::string> (Service::*function)(const Request&)) {
  server.add(method,
             [this, &method, function](CallContext&, RpcPayload payload) -> Result<RpcPayload> {
               Request request;
               VARVE_TRY(parse_proto(payload.head, method.name, request));
               VARVE_TRY_ASSIGN(const std::string response, (this->*function)(request));
               return RpcPayload(Bytes::copy(response));
             });
}

Asked Service::asked(const RpcMethod& method, const std::string& operation,
                     const google::protobuf::MessageLite& request) const {
  Asked asked;
  if (operation.size() == asked.operation.bytes.size()) {
    std::copy(operation.begin(), operation.end(), asked.operation.bytes.begin());
  }
  asked.method = method.number;
  asked.digest = crc32c(serialize_proto(request).span());
  asked.now = shop_.world.clock.wall();
  return asked;
}

void Service::add_methods(RpcServer& server) {
  add_change(server, kCreateProject, &Service::create_project);
  add_change(server, kDeleteProject, &Service::delete_project);
  add_change(server, kCreateBranch, &Service::create_branch);
  add_change(server, kDeleteBranch, &Service::delete_branch);
  add_change(server, kCreateEndpoint, &Service::create_endpoint);
  add_change(server, kStartEndpoint, &Service::start_endpoint);
  add_change(server, kStopEndpoint, &Service::stop_endpoint);
  add_change(server, kDeleteEndpoint, &Service::delete_endpoint);
  add_method<proto::ListProjectsRequest, proto::ListProjectsResponse>(
      server, kListProjects,
      [this](CallContext&, const auto&) -> Result<proto::ListProjectsResponse> {
        proto::ListProjectsResponse response;
        list_projects(response);
        return response;
      });
  const auto add_question = [&]<class Request, class Response>(
                                const RpcMethod& method,
                                Status (Service::*function)(const Request&, Response&)) {
    add_method<Request, Response>(
        server, method, [this, function](CallContext&, const Request& request) -> Result<Response> {
          Response response;
          VARVE_TRY((this->*function)(request, response));
          return response;
        });
  };
  add_question(kListBranches, &Service::list_branches);
  add_question(kListEndpoints, &Service::list_endpoints);
  add_question(kRegisterPageserver, &Service::register_pageserver);
  const auto add_compute =
      [&]<class Request, class Response>(
          const RpcMethod& method,
          Status (Service::*function)(CallContext&, const Request&, Response&)) {
        add_method<Request, Response>(
            server, method,
            [this, function](CallContext& context, const Request& request) -> Result<Response> {
              Response response;
              VARVE_TRY((this->*function)(context, request, response));
              return response;
            });
      };
  add_compute(kComputeSpec, &Service::compute_spec);
  add_compute(kReportCompute, &Service::report_compute);
}

Result<std::string> Service::carry_out(const Asked& asked,
                                       const std::function<Result<Changes>(const State&)>& plan) {
  VARVE_TRY(shop_.ledger.change([&](const State& state) -> Result<Changes> {
    VARVE_TRY_ASSIGN(const Operation* known, find_operation(state, asked));
    if (known != nullptr) return Changes();
    return plan(state);
  }));
  return outcome(asked);
}

Result<std::string> Service::outcome(const Asked& asked) {
  const State& state = shop_.ledger.state();
  VARVE_TRY(shop_.ledger.wait_until(
      [&] {
        const Operation* operation = state.operation(asked.operation);
        return operation == nullptr || operation->finished;
      },
      "the operation to be finished"));
  const Operation* operation = state.operation(asked.operation);
  if (operation == nullptr) return std::string();  // it had nothing to do
  VARVE_TRY(operation->failure.status());
  return operation->response;
}

Result<std::string> Service::create_project(const proto::CreateProjectRequest& request) {
  const Asked by = asked(kCreateProject, request.operation(), request);
  VARVE_TRY_ASSIGN(const Operation* known, find_operation(shop_.ledger.state(), by));
  if (known != nullptr) return outcome(by);
  VARVE_TRY(check_name(request.name(), "project"));
  NewProject wish;
  wish.name = request.name();
  VARVE_TRY_ASSIGN(wish.postgres_version, shop_.clusters.version(request.postgres_major()));
  wish.tenant = new_id<TenantId>(shop_.world.random, "tenant");
  wish.timeline = new_id<TimelineId>(shop_.world.random, "timeline");
  wish.safekeepers = shop_.peers.fleet().safekeeper_nodes();
  return carry_out(by, [&](const State& state) -> Result<Changes> {
    VARVE_TRY_ASSIGN(const Changes changes, plan_create_project(state, by, wish));
    reconciler_.is_fresh(wish.tenant);
    return changes;
  });
}

Result<std::string> Service::delete_project(const proto::DeleteProjectRequest& request) {
  const Asked by = asked(kDeleteProject, request.operation(), request);
  return carry_out_removal(by, [&](const State& state) {
    return plan_delete_project(state, by, request.name(), shop_.peers.fleet().keepers());
  });
}

Result<std::string> Service::delete_branch(const proto::DeleteBranchRequest& request) {
  const Asked by = asked(kDeleteBranch, request.operation(), request);
  return carry_out_removal(by, [&](const State& state) {
    return plan_delete_branch(state, by, request.project(), request.name(),
                              shop_.peers.fleet().keepers());
  });
}

void Service::list_projects(proto::ListProjectsResponse& response) {
  for (const auto& [id, project] : shop_.ledger.state().projects) {
    if (project.phase != ProjectPhase::kDeleting) put_project(project, *response.add_projects());
  }
}

Status Service::register_pageserver(const proto::RegisterPageserverRequest& request,
                                    proto::RegisterPageserverResponse& response) {
  const Registration registration{NodeId(request.node()), Incarnation(request.incarnation())};
  const Fleet& fleet = shop_.peers.fleet();
  if (registration.node != fleet.pageserver || registration.incarnation.value == 0) {
    return Status(Code::kInvalid, "node " + registration.node.to_string() +
                                      " is not the pageserver, or told no incarnation");
  }
  const State& state = shop_.ledger.state();
  VARVE_TRY(shop_.ledger.change(
      [&](const State& newest) { return plan_register(newest, registration); }));
  // A later life may have registered while this one waited for its turn.
  const auto registered = state.pageservers.find(registration.node);
  VARVE_CHECK(registered != state.pageservers.end());
  if (registered->second != registration) {
    return Status(Code::kStale, "a later life of the pageserver has registered");
  }
  for (const auto& [id, project] : state.projects) {
    proto::Attachment* attachment = response.add_attachments();
    attachment->set_tenant(id.bytes.data(), id.bytes.size());
    attachment->set_generation(project.generation.value);
  }
  for (const SafekeeperPlace& place : fleet.safekeepers) {
    proto::NodeAddress* address = response.add_safekeepers();
    address->set_node(place.node.value);
    address->set_host(place.rpc.host);
    address->set_port(place.rpc.port);
    address->set_postgres_port(place.wal.port);
  }
  return Status();
}

Status Service::compute_spec(CallContext& context, const proto::ComputeSpecRequest& request,
                             proto::ComputeSpec& response) {
  VARVE_TRY_ASSIGN(const TenantTimelineId id, take_timeline(request));
  VARVE_TRY(context.authorize(id.tenant, id.timeline));
  const State& state = shop_.ledger.state();
  const Endpoint* endpoint = state.endpoint({id.tenant, request.endpoint()});
  const Project* project = state.project(id.tenant);
  if (endpoint == nullptr || project == nullptr || endpoint->timeline != id.timeline) {
    return Status(Code::kNotFound, "no such endpoint of this branch")
        .with_object(request.endpoint());
  }
  const std::optional<uint64_t> start = start_of(context.claims());
  if (!endpoint->wanted || (start && *start != endpoint->start)) {
    return Status(Code::kStale, "this start of the endpoint is not wanted any more")
        .with_object(request.endpoint());
  }
  const Fleet& fleet = shop_.peers.fleet();
  response.set_configuration(static_cast<uint32_t>(fleet.membership().generation.value));
  for (const SafekeeperPlace& place : fleet.safekeepers) {
    proto::NodeAddress* address = response.add_safekeepers();
    address->set_node(place.node.value);
    address->set_host(place.wal.host);
    address->set_port(place.rpc.port);
    address->set_postgres_port(place.wal.port);
  }
  response.mutable_pageserver()->set_node(fleet.pageserver.value);
  response.mutable_pageserver()->set_host(fleet.pageserver_rpc.host);
  response.mutable_pageserver()->set_port(fleet.pageserver_rpc.port);
  response.set_generation(project->generation.value);
  response.set_postgres_major(project->major());
  response.set_port(endpoint->port);
  response.set_system_id(project->system_id);
  response.set_segment_size(project->segment_size);
  return Status();
}

Status Service::report_compute(CallContext& context, const proto::ReportComputeRequest& request,
                               proto::ReportComputeResponse& response) {
  Report report;
  VARVE_TRY_ASSIGN(report.timeline, take_timeline(request));
  VARVE_TRY(context.authorize(report.timeline.tenant, report.timeline.timeline));
  const std::optional<uint64_t> start = start_of(context.claims());
  if (!start) return Status(Code::kRefused, "the token is not one of a compute's start");
  report.start = *start;
  report.endpoint = request.endpoint();
  report.incarnation = Incarnation(request.incarnation());
  report.state = get_state(request.state());
  report.host = request.rpc().host();
  report.rpc_port = static_cast<uint16_t>(request.rpc().port());
  if (request.has_failure()) report.failure = get_failure(request.failure());
  report.phase = request.phase();
  report.lives = request.lives();
  const Verdict verdict = take_report(shop_.ledger.state(), shop_.ledger.computes(), report, now());
  if (verdict.changed) shop_.ledger.learnt();
  response.set_stop(verdict.stop);
  return Status();
}

}  // namespace varve::control
