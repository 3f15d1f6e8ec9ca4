#include "supervisor/service.h"

#include <algorithm>

#include "proto/host.pb.h"
#include "supervisor/client/methods.h"
#include "wire/rpc_frame.h"
#include "wire/rpc_proto.h"

namespace varve::supervisor {
namespace {

template <class Id>
Result<Id> id_from(const std::string& bytes, const char* what) {
  Id id;
  if (bytes.size() != id.bytes.size()) {
    return Status(Code::kInvalid, std::string(what) + " has " + std::to_string(bytes.size()) +
                                      " bytes instead of 16");
  }
  std::copy(bytes.begin(), bytes.end(), id.bytes.begin());
  return id;
}

proto::ProcessState to_proto(ProcessState state) {
  switch (state) {
    case ProcessState::kStarting:
      return proto::PROCESS_STARTING;
    case ProcessState::kRunning:
      return proto::PROCESS_RUNNING;
    case ProcessState::kWaiting:
      return proto::PROCESS_WAITING;
    case ProcessState::kStopped:
      return proto::PROCESS_STOPPED;
  }
  VARVE_UNREACHABLE("no such state of a process");
}

void describe(const KeptProcess& process, proto::HostProcess& out) {
  out.set_name(process.spec().name);
  out.set_state(to_proto(process.state()));
  out.set_pid(process.pid());
  out.set_incarnation(process.incarnation().value);
  out.set_restarts(process.restarts());
  for (const Address& address : process.spec().addresses) out.add_addresses(address.to_string());
  if (!process.last_end().ok()) {
    const Status told =
        parse_proto(rpc::encode_status(process.last_end()), "a status", *out.mutable_last_end());
    VARVE_CHECK_MSG(told.ok(), "our own status can't be read");
  }
}

Result<proto::HostStatusResponse> host_status(CallContext& context, const Supervisor& supervisor) {
  VARVE_TRY(context.authorize(TenantId(), TimelineId()));
  const TokenScope scope = context.claims().scope;
  if (scope != TokenScope::kNode && scope != TokenScope::kAdmin) {
    return Status(Code::kRefused, "the token is for less than the machine");
  }
  proto::HostStatusResponse response;
  for (const KeptProcess* process : supervisor.processes()) {
    describe(*process, *response.add_processes());
  }
  return response;
}

}  // namespace

void add_methods(RpcServer& server, Supervisor& supervisor) {
  add_method<proto::StartComputeRequest, proto::StartComputeResponse>(
      server, kStartCompute,
      [&supervisor](CallContext&, const proto::StartComputeRequest& request)
          -> Result<proto::StartComputeResponse> {
        ComputeStart start;
        VARVE_TRY_ASSIGN(start.tenant, id_from<TenantId>(request.tenant(), "tenant"));
        VARVE_TRY_ASSIGN(start.timeline, id_from<TimelineId>(request.timeline(), "timeline"));
        start.endpoint = request.endpoint();
        start.start = request.start();
        start.token = request.token();
        VARVE_TRY(supervisor.start_compute(start));
        return proto::StartComputeResponse();
      });
  add_method<proto::StopComputeRequest, proto::StopComputeResponse>(
      server, kStopCompute,
      [&supervisor](CallContext&, const proto::StopComputeRequest& request)
          -> Result<proto::StopComputeResponse> {
        VARVE_TRY_ASSIGN(const TenantId tenant, id_from<TenantId>(request.tenant(), "tenant"));
        VARVE_TRY(supervisor.stop_compute(tenant, request.endpoint(), request.start(),
                                          request.immediately()));
        return proto::StopComputeResponse();
      });
  add_method<proto::ForgetComputeRequest, proto::ForgetComputeResponse>(
      server, kForgetCompute,
      [&supervisor](CallContext&, const proto::ForgetComputeRequest& request)
          -> Result<proto::ForgetComputeResponse> {
        VARVE_TRY_ASSIGN(const TenantId tenant, id_from<TenantId>(request.tenant(), "tenant"));
        VARVE_TRY(supervisor.forget_compute(tenant, request.endpoint(), request.start()));
        return proto::ForgetComputeResponse();
      });
  add_method<proto::HostStatusRequest, proto::HostStatusResponse>(
      server, kHostStatus, [&supervisor](CallContext& context, const proto::HostStatusRequest&) {
        return host_status(context, supervisor);
      });
}

}  // namespace varve::supervisor
