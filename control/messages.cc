#include "control/messages.h"

#include "proto/control.pb.h"
#include "wire/rpc_proto.h"

namespace varve::control {
namespace {

template <class Id>
std::string raw(const Id& id) {
  return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}

constexpr std::pair<Code, proto::StatusCode> kCodes[] = {
    {Code::kCancelled, proto::STATUS_CANCELLED},
    {Code::kDeadlineExceeded, proto::STATUS_DEADLINE_EXCEEDED},
    {Code::kUnavailable, proto::STATUS_UNAVAILABLE},
    {Code::kStale, proto::STATUS_STALE},
    {Code::kBelowCutoff, proto::STATUS_BELOW_CUTOFF},
    {Code::kNotFound, proto::STATUS_NOT_FOUND},
    {Code::kExists, proto::STATUS_EXISTS},
    {Code::kFull, proto::STATUS_FULL},
    {Code::kCorrupt, proto::STATUS_CORRUPT},
    {Code::kUnsupported, proto::STATUS_UNSUPPORTED},
    {Code::kInvalid, proto::STATUS_INVALID},
    {Code::kRefused, proto::STATUS_REFUSED},
    {Code::kInternal, proto::STATUS_INTERNAL},
};

template <class Message>
std::string serialized(const Message& message) {
  return std::string(serialize_proto(message).view());
}

proto::EndpointState state_of(const Endpoint& endpoint, const Compute* compute) {
  if (!endpoint.wanted) {
    if (endpoint.may_live()) return proto::ENDPOINT_STOPPING;
    return proto::ENDPOINT_STOPPED;
  }
  if (compute == nullptr || compute->start != endpoint.start) return proto::ENDPOINT_STARTING;
  switch (compute->state) {
    case ComputeState::kRunning:
      return proto::ENDPOINT_RUNNING;
    case ComputeState::kFailed:
      return proto::ENDPOINT_FAILED;
    case ComputeState::kUnknown:
    case ComputeState::kStarting:
    case ComputeState::kStopping:  // a life that ends; the next one follows
      return proto::ENDPOINT_STARTING;
  }
  VARVE_UNREACHABLE("no such state of a compute");
}

}  // namespace

void put_failure(const Failure& failure, proto::Status& message) {
  message.set_code(proto::STATUS_OK);
  for (const auto& [code, number] : kCodes) {
    if (code == failure.code) message.set_code(number);
  }
  message.set_message(to_utf8(failure.message));
  message.set_object(to_utf8(failure.object));
  message.set_hint(to_utf8(failure.hint));
}

Failure get_failure(const proto::Status& message) {
  Failure failure;
  if (message.code() != proto::STATUS_OK) failure.code = Code::kInternal;
  for (const auto& [code, number] : kCodes) {
    if (number == message.code()) failure.code = code;
  }
  failure.message = message.message();
  failure.object = message.object();
  failure.hint = message.hint();
  return failure;
}

void put_project(const Project& project, proto::Project& message) {
  message.set_tenant(raw(project.id));
  message.set_name(project.name);
  message.set_postgres_major(project.major());
  message.set_created(project.created.microseconds);
}

void put_branch(const Branch& branch, proto::Branch& message) {
  message.set_tenant(raw(branch.id.tenant));
  message.set_timeline(raw(branch.id.timeline));
  message.set_name(branch.name);
  if (branch.parent) message.set_parent(raw(*branch.parent));
  message.set_start_lsn(branch.start.value);
  message.set_created(branch.created.microseconds);
  message.set_ready(branch.phase == BranchPhase::kReady);
}

void put_endpoint(const Endpoint& endpoint, const Compute* compute, const Fleet& fleet,
                  proto::Endpoint& message) {
  message.set_name(endpoint.name);
  message.set_tenant(raw(endpoint.tenant));
  message.set_timeline(raw(endpoint.timeline));
  message.set_state(state_of(endpoint, compute));
  message.set_host(fleet.endpoint_host);
  message.set_port(endpoint.port);
  // The colons of an IPv6 address are not the port's.
  const bool bare = fleet.endpoint_host.find(':') != std::string::npos;
  const std::string host = bare ? "[" + fleet.endpoint_host + "]" : fleet.endpoint_host;
  message.set_connection_string("postgresql://postgres@" + host + ":" +
                                std::to_string(endpoint.port) + "/postgres");
  if (compute != nullptr && compute->start == endpoint.start &&
      compute->failure.code != Code::kOk) {
    put_failure(compute->failure, *message.mutable_failure());
  }
}

std::string project_response(const Project& project, const Branch& first) {
  proto::CreateProjectResponse response;
  put_project(project, *response.mutable_project());
  put_branch(first, *response.mutable_branch());
  return serialized(response);
}

std::string branch_response(const Branch& branch) {
  proto::CreateBranchResponse response;
  put_branch(branch, *response.mutable_branch());
  return serialized(response);
}

std::string created_endpoint_response(const Endpoint& endpoint, const Fleet& fleet) {
  proto::CreateEndpointResponse response;
  put_endpoint(endpoint, nullptr, fleet, *response.mutable_endpoint());
  return serialized(response);
}

std::string started_endpoint_response(const Endpoint& endpoint, const Compute* compute,
                                      const Fleet& fleet) {
  proto::StartEndpointResponse response;
  put_endpoint(endpoint, compute, fleet, *response.mutable_endpoint());
  return serialized(response);
}

}  // namespace varve::control
