#include "tools/varve/control_client.h"

#include <algorithm>

#include "control/client/methods.h"
#include "proto/control.pb.h"
#include "real_io/real_world.h"
#include "tools/varve/lock.h"
#include "wire/rpc_frame.h"
#include "wire/rpc_proto.h"

namespace varve::tool {
namespace {

template <class Id>
Id id_from(const std::string& bytes) {
  Id id;
  if (bytes.size() == id.bytes.size()) std::copy(bytes.begin(), bytes.end(), id.bytes.begin());
  return id;
}

Status status_from(const proto::Status& status) {
  if (status.code() == proto::STATUS_OK) return Status();
  return rpc::parse_status(serialize_proto(status));
}

ProjectInfo project_from(const proto::Project& project) {
  return {id_from<TenantId>(project.tenant()), project.name(), project.postgres_major(),
          WallTime{project.created()}};
}

BranchInfo branch_from(const proto::Branch& branch) {
  return {id_from<TenantId>(branch.tenant()),
          id_from<TimelineId>(branch.timeline()),
          branch.name(),
          id_from<TimelineId>(branch.parent()),
          Lsn(branch.start_lsn()),
          WallTime{branch.created()},
          branch.ready(),
          status_from(branch.failure())};
}

EndpointPhase phase_from(proto::EndpointState state) {
  switch (state) {
    case proto::ENDPOINT_STOPPED:
      return EndpointPhase::kStopped;
    case proto::ENDPOINT_STARTING:
      return EndpointPhase::kStarting;
    case proto::ENDPOINT_RUNNING:
      return EndpointPhase::kRunning;
    case proto::ENDPOINT_STOPPING:
      return EndpointPhase::kStopping;
    case proto::ENDPOINT_FAILED:
      return EndpointPhase::kFailed;
    default:  // an enumeration of the wire is open
      return EndpointPhase::kUnknown;
  }
}

EndpointInfo endpoint_from(const proto::Endpoint& endpoint) {
  return {endpoint.name(),
          id_from<TenantId>(endpoint.tenant()),
          id_from<TimelineId>(endpoint.timeline()),
          phase_from(endpoint.state()),
          endpoint.host(),
          static_cast<uint16_t>(endpoint.port()),
          status_from(endpoint.failure()),
          endpoint.connection_string()};
}

RpcClientOptions client_options() {
  RpcClientOptions options;
  options.backoff_maximum = Duration::millis(500);
  options.expected_node = kControlNode;
  return options;
}

}  // namespace

const char* endpoint_phase_name(EndpointPhase phase) {
  switch (phase) {
    case EndpointPhase::kUnknown:
      return "unknown";
    case EndpointPhase::kStopped:
      return "stopped";
    case EndpointPhase::kStarting:
      return "starting";
    case EndpointPhase::kRunning:
      return "running";
    case EndpointPhase::kStopping:
      return "stopping";
    case EndpointPhase::kFailed:
      return "failed";
  }
  VARVE_UNREACHABLE("no such phase of an endpoint");
}

ControlClient::ControlClient(World& world, Scope& scope, const Address& address, std::string token)
    : world_(world),
      client_(world.network, world.random, scope, address, std::move(token),
              RpcIdentity{NodeId(), Incarnation(), "varve"}, client_options()) {}

template <class Response, class Request>
Result<Response> ControlClient::ask(const RpcMethod& method, const Request& request) {
  const Instant give_up = now() + patience;
  Duration pause = Duration::millis(20);
  for (;;) {
    Result<Response> response = call<Response>(client_, method, request);
    if (!response.is(Code::kUnavailable) || now() + pause >= give_up) return response;
    VARVE_TRY(sleep_for(pause));
    pause = std::min(pause * 2, Duration::seconds(1));
  }
}

template <class Response, class Request>
Result<Response> ControlClient::change(const RpcMethod& method, Request request) {
  const std::array<uint8_t, 16> id = world_.random.unique_bytes("operation id");
  request.set_operation(std::string(id.begin(), id.end()));
  return ask<Response>(method, request);
}

Result<ProjectInfo> ControlClient::create_project(const std::string& name, uint32_t major) {
  proto::CreateProjectRequest request;
  request.set_name(name);
  request.set_postgres_major(major);
  VARVE_TRY_ASSIGN(const proto::CreateProjectResponse response,
                   change<proto::CreateProjectResponse>(control::kCreateProject, request));
  return project_from(response.project());
}

Result<std::vector<ProjectInfo>> ControlClient::projects() {
  VARVE_TRY_ASSIGN(
      const proto::ListProjectsResponse response,
      ask<proto::ListProjectsResponse>(control::kListProjects, proto::ListProjectsRequest()));
  std::vector<ProjectInfo> all;
  for (const proto::Project& project : response.projects()) all.push_back(project_from(project));
  return all;
}

Status ControlClient::delete_project(const std::string& name) {
  proto::DeleteProjectRequest request;
  request.set_name(name);
  return change<proto::DeleteProjectResponse>(control::kDeleteProject, request).status();
}

Result<ProjectInfo> ControlClient::ensure_project(const std::string& name) {
  VARVE_TRY_ASSIGN(const std::vector<ProjectInfo> all, projects());
  for (const ProjectInfo& project : all) {
    if (project.name == name) return project;
  }
  Result<ProjectInfo> made = create_project(name);
  if (!made.is(Code::kExists)) return made;
  // Somebody else needed it first, too.
  return ensure_project(name);
}

Result<BranchInfo> ControlClient::create_branch(const std::string& project, const std::string& name,
                                                const BranchPoint& point) {
  proto::CreateBranchRequest request;
  request.set_project(project);
  request.set_name(name);
  request.set_parent(point.parent);
  if (point.lsn) request.set_lsn(point.lsn->value);
  if (point.time) request.set_time(point.time->microseconds);
  VARVE_TRY_ASSIGN(const proto::CreateBranchResponse response,
                   change<proto::CreateBranchResponse>(control::kCreateBranch, request));
  return branch_from(response.branch());
}

Result<std::vector<BranchInfo>> ControlClient::branches(const std::string& project) {
  proto::ListBranchesRequest request;
  request.set_project(project);
  VARVE_TRY_ASSIGN(const proto::ListBranchesResponse response,
                   ask<proto::ListBranchesResponse>(control::kListBranches, request));
  std::vector<BranchInfo> all;
  for (const proto::Branch& branch : response.branches()) all.push_back(branch_from(branch));
  return all;
}

Status ControlClient::delete_branch(const std::string& project, const std::string& name) {
  proto::DeleteBranchRequest request;
  request.set_project(project);
  request.set_name(name);
  return change<proto::DeleteBranchResponse>(control::kDeleteBranch, request).status();
}

Result<EndpointInfo> ControlClient::create_endpoint(const std::string& project,
                                                    const std::string& branch,
                                                    const std::string& name) {
  proto::CreateEndpointRequest request;
  request.set_project(project);
  request.set_branch(branch);
  request.set_name(name);
  VARVE_TRY_ASSIGN(const proto::CreateEndpointResponse response,
                   change<proto::CreateEndpointResponse>(control::kCreateEndpoint, request));
  return endpoint_from(response.endpoint());
}

Result<std::vector<EndpointInfo>> ControlClient::endpoints(const std::string& project) {
  proto::ListEndpointsRequest request;
  request.set_project(project);
  VARVE_TRY_ASSIGN(const proto::ListEndpointsResponse response,
                   ask<proto::ListEndpointsResponse>(control::kListEndpoints, request));
  std::vector<EndpointInfo> all;
  for (const proto::Endpoint& e : response.endpoints()) all.push_back(endpoint_from(e));
  return all;
}

Result<EndpointInfo> ControlClient::start_endpoint(const std::string& project,
                                                   const std::string& name) {
  proto::StartEndpointRequest request;
  request.set_project(project);
  request.set_name(name);
  VARVE_TRY_ASSIGN(const proto::StartEndpointResponse response,
                   change<proto::StartEndpointResponse>(control::kStartEndpoint, request));
  return endpoint_from(response.endpoint());
}

Status ControlClient::stop_endpoint(const std::string& project, const std::string& name,
                                    bool immediately) {
  proto::StopEndpointRequest request;
  request.set_project(project);
  request.set_name(name);
  request.set_immediately(immediately);
  return change<proto::StopEndpointResponse>(control::kStopEndpoint, request).status();
}

Status ControlClient::delete_endpoint(const std::string& project, const std::string& name) {
  proto::DeleteEndpointRequest request;
  request.set_project(project);
  request.set_name(name);
  return change<proto::DeleteEndpointResponse>(control::kDeleteEndpoint, request).status();
}

Result<EndpointInfo> ControlClient::ensure_running(const std::string& project,
                                                   const std::string& branch) {
  VARVE_TRY_ASSIGN(const std::vector<BranchInfo> all_branches, branches(project));
  const auto wanted = std::find_if(all_branches.begin(), all_branches.end(),
                                   [&](const BranchInfo& b) { return b.name == branch; });
  if (wanted == all_branches.end()) {
    return Status(Code::kNotFound, "project " + project + " has no branch of that name")
        .with_object(branch)
        .with_hint("`varve branch list` shows those there are, `varve branch create` makes one");
  }
  VARVE_TRY_ASSIGN(const std::vector<EndpointInfo> all, endpoints(project));
  const EndpointInfo* found = nullptr;
  for (const EndpointInfo& endpoint : all) {
    if (endpoint.timeline != wanted->timeline) continue;
    if (endpoint.phase == EndpointPhase::kRunning) return endpoint;
    if (found == nullptr) found = &endpoint;
  }
  if (found != nullptr) return start_endpoint(project, found->name);
  VARVE_TRY_ASSIGN(const EndpointInfo made, create_endpoint(project, branch, ""));
  return start_endpoint(project, made.name);
}

Status with_control(const std::string& directory,
                    const std::function<Status(ControlClient&)>& body) {
  VARVE_TRY_ASSIGN(const Layout layout, Layout::open(directory));
  VARVE_TRY_ASSIGN(const pid_t holder, DirectoryLock::holder(layout.directory()));
  if (holder == 0) {
    return Status(Code::kUnavailable, "no Varve runs here")
        .with_object(layout.directory())
        .with_hint("start it with `varve up --data " + directory + "`");
  }
  VARVE_TRY_ASSIGN(const std::string token, layout.admin_token());
  real_io::RealOptions options;
  options.root = layout.directory();
  options.files = real_io::FileBackend::kThreads;
  options.file_threads = 1;
  options.offload_threads = 1;
  options.log.threshold = Severity::kWarning;
  VARVE_TRY_ASSIGN(const std::unique_ptr<real_io::RealWorld> real,
                   real_io::RealWorld::create(options));
  return real->run([&](real_io::RealWorld& world) -> Status {
    Scope scope("control client");
    ControlClient client(world.world(), scope, layout.control(), token);
    return body(client);
  });
}

}  // namespace varve::tool
