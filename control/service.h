// Control's methods (control/client/methods.h).
//
// A method that changes something commits its intent, wakes the jobs and waits for its operation to
// be finished; a caller that leaves changes nothing about what happens. Asking again under the same
// operation id, at any time and after any crash, gives the one answer that there is.
#pragma once

#include <string>

#include "control/reconciler.h"
#include "wire/rpc_server.h"

namespace google::protobuf {
class MessageLite;
}

namespace varve::proto {
class ComputeSpec;
class ComputeSpecRequest;
class CreateBranchRequest;
class CreateEndpointRequest;
class CreateProjectRequest;
class DeleteBranchRequest;
class DeleteEndpointRequest;
class DeleteProjectRequest;
class ListBranchesRequest;
class ListBranchesResponse;
class ListEndpointsRequest;
class ListEndpointsResponse;
class ListProjectsResponse;
class RegisterPageserverRequest;
class RegisterPageserverResponse;
class ReportComputeRequest;
class ReportComputeResponse;
class StartEndpointRequest;
class StopEndpointRequest;
}  // namespace varve::proto

namespace varve::control {

class Service {
 public:
  Service(const Workshop& workshop, Reconciler& reconciler)
      : shop_(workshop), reconciler_(reconciler) {}

  // Registers everything. The service must outlive the server.
  void add_methods(RpcServer& server);

 private:
  // Serialized answers, since they may be those of another time.
  Result<std::string> create_project(const proto::CreateProjectRequest& request);
  Result<std::string> delete_project(const proto::DeleteProjectRequest& request);
  Result<std::string> create_branch(const proto::CreateBranchRequest& request);
  Result<std::string> delete_branch(const proto::DeleteBranchRequest& request);
  Result<std::string> create_endpoint(const proto::CreateEndpointRequest& request);
  Result<std::string> start_endpoint(const proto::StartEndpointRequest& request);
  Result<std::string> stop_endpoint(const proto::StopEndpointRequest& request);
  Result<std::string> delete_endpoint(const proto::DeleteEndpointRequest& request);
  void list_projects(proto::ListProjectsResponse& response);
  Status list_branches(const proto::ListBranchesRequest& request,
                       proto::ListBranchesResponse& response);
  Status list_endpoints(const proto::ListEndpointsRequest& request,
                        proto::ListEndpointsResponse& response);
  Status register_pageserver(const proto::RegisterPageserverRequest& request,
                             proto::RegisterPageserverResponse& response);
  Status compute_spec(CallContext& context, const proto::ComputeSpecRequest& request,
                      proto::ComputeSpec& response);
  Status report_compute(CallContext& context, const proto::ReportComputeRequest& request,
                        proto::ReportComputeResponse& response);

  template <class Request>
  void add_change(RpcServer& server, const RpcMethod& method,
                  Result<std::string> (Service::*function)(const Request&));
  // Who asks, with `operation` as the id in `request`.
  Asked asked(const RpcMethod& method, const std::string& operation,
              const google::protobuf::MessageLite& request) const;
  // Commits what `plan` says, unless the operation is known already; then waits for its end.
  Result<std::string> carry_out(const Asked& asked,
                                const std::function<Result<Changes>(const State&)>& plan);
  // The same for a plan that forgets endpoints. What their processes have left on the machine goes
  // before the commit: afterwards the name may be another's at once. A crash in between leaves an
  // endpoint without the settings that its user wanted to be rid of.
  Result<std::string> carry_out_removal(const Asked& asked,
                                        const std::function<Result<Changes>(const State&)>& plan);
  Result<std::string> outcome(const Asked& asked);
  // Where a new branch of `parent` begins, and whose log holds that place.
  struct BranchingPoint {
    TimelineId parent;
    Lsn lsn;
    bool exact = false;  // certainly a record's end
  };
  Result<BranchingPoint> branching_point(const proto::CreateBranchRequest& request,
                                         const Branch& parent);
  Result<BranchingPoint> explicit_point(const Branch& parent, Lsn lsn);
  Result<BranchingPoint> point_in_time(const Branch& parent, WallTime time);
  bool port_is_free(uint16_t port);

  Workshop shop_;
  Reconciler& reconciler_;
};

}  // namespace varve::control
