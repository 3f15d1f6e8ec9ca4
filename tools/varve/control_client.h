// Projects, branches and endpoints, asked of a running control process: what the verbs use, and
// demos, tests and benchmarks in their own process.
//
//   Status body(ControlClient& control) {
//     VARVE_TRY_ASSIGN(const BranchInfo b, control.create_branch("main", "test", {}));
//     ...
//   }
//   const Status status = with_control(".varve", body);
//
// Each change draws an operation id and is repeated with it while the answer is Unavailable, for at
// most `patience`: so a restart of control in the middle costs time and nothing else. All functions
// suspend.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/status.h"
#include "base/time.h"
#include "runtime/world.h"
#include "tools/varve/layout.h"
#include "wire/rpc_client.h"

namespace varve::tool {

struct ProjectInfo {
  TenantId tenant;
  std::string name;
  uint32_t postgres_major = 0;
  WallTime created;
};

struct BranchInfo {
  TenantId tenant;
  TimelineId timeline;
  std::string name;
  TimelineId parent;  // zero: the project's first
  Lsn start;
  WallTime created;
  bool ready = false;
  Status failure;  // why it can't become ready
};

enum class EndpointPhase : uint8_t { kUnknown, kStopped, kStarting, kRunning, kStopping, kFailed };
const char* endpoint_phase_name(EndpointPhase phase);

struct EndpointInfo {
  std::string name;
  TenantId tenant;
  TimelineId timeline;
  EndpointPhase phase = EndpointPhase::kUnknown;
  std::string host;
  uint16_t port = 0;
  Status failure;  // of the last start
  std::string connection_string;
};

// Where a branch begins; neither: at everything that was acknowledged before.
struct BranchPoint {
  std::string parent;  // empty: "main"
  std::optional<Lsn> lsn;
  std::optional<WallTime> time;  // as recovery_target_time, inclusive
};

class ControlClient {
 public:
  // `scope` must outlive this. `token` has admin scope.
  ControlClient(World& world, Scope& scope, const Address& address, std::string token);

  Result<ProjectInfo> create_project(const std::string& name, uint32_t postgres_major = 0);
  Result<std::vector<ProjectInfo>> projects();
  Status delete_project(const std::string& name);
  // Makes it if there is none of that name.
  Result<ProjectInfo> ensure_project(const std::string& name);

  Result<BranchInfo> create_branch(const std::string& project, const std::string& name,
                                   const BranchPoint& point);
  Result<std::vector<BranchInfo>> branches(const std::string& project);
  Status delete_branch(const std::string& project, const std::string& name);

  Result<EndpointInfo> create_endpoint(const std::string& project, const std::string& branch,
                                       const std::string& name);
  Result<std::vector<EndpointInfo>> endpoints(const std::string& project);
  // Until Postgres takes connections.
  Result<EndpointInfo> start_endpoint(const std::string& project, const std::string& name);
  Status stop_endpoint(const std::string& project, const std::string& name, bool immediately);
  // It must be stopped; its branch stays.
  Status delete_endpoint(const std::string& project, const std::string& name);
  // A running endpoint of the branch: one that runs, else one that is started, else a new one.
  Result<EndpointInfo> ensure_running(const std::string& project, const std::string& branch);

  Duration patience = Duration::seconds(30);

 private:
  template <class Response, class Request>
  Result<Response> ask(const RpcMethod& method, const Request& request);
  template <class Response, class Request>
  Result<Response> change(const RpcMethod& method, Request request);

  World& world_;
  RpcClient client_;
};

// Opens the data directory, makes a world for the calling thread and runs `body` in it. Unavailable
// at once, with what to do, when no supervisor holds the directory. Not from a fiber. Any number of
// threads may do so at a time.
Status with_control(const std::string& directory,
                    const std::function<Status(ControlClient&)>& body);

}  // namespace varve::tool
