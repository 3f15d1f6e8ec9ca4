#include "supervisor/supervisor.h"

#include <algorithm>

namespace varve::supervisor {
namespace {

Status start_is_over(const std::string& endpoint, uint64_t start, uint64_t latest) {
  return Status(Code::kStale, "start " + std::to_string(start) +
                                  " is over; the endpoint has seen start " + std::to_string(latest))
      .with_object(endpoint);
}

}  // namespace

bool is_endpoint_name(std::string_view name) {
  const auto is_letter_or_digit = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !name.empty() && name.size() <= 63 && is_letter_or_digit(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return is_letter_or_digit(c) || c == '-' || c == '_'; });
}

Supervisor::Supervisor(ProcessContext context, ComputeTemplate computes)
    : context_(std::move(context)), computes_(std::move(computes)), scope_("supervisor") {}

Supervisor::~Supervisor() {
  for (const KeptProcess* process : processes()) {
    VARVE_CHECK_MSG(process->stopped(), "a supervisor ends before its processes");
  }
}

void Supervisor::add(ProcessSpec spec, int stage) {
  VARVE_CHECK(!stopping_);
  daemons_.push_back({stage, std::make_unique<KeptProcess>(context_, std::move(spec), scope_)});
}

Status Supervisor::wait_ready() {
  const Instant deadline = now() + context_.options.start_limit;
  // By index: nobody adds meanwhile, but the vector's memory is not ours over a wait.
  for (size_t i = 0; i < daemons_.size(); ++i) {
    VARVE_TRY(daemons_[i].process->wait_ready(deadline));
  }
  return Status();
}

ProcessSpec Supervisor::spec_of(const ComputeStart& request) const {
  ProcessSpec spec;
  spec.name = "compute-" + request.tenant.to_string() + "-" + request.endpoint;
  spec.arguments = computes_.arguments;
  for (const std::string& argument :
       {std::string("--tenant"), request.tenant.to_string(), std::string("--timeline"),
        request.timeline.to_string(), std::string("--endpoint"), request.endpoint}) {
    spec.arguments.push_back(argument);
  }
  spec.environment = computes_.environment;
  // Not an argument: those are shown to every user of the machine.
  spec.environment["VARVE_COMPUTE_TOKEN"] = request.token;
  spec.stop_limit = context_.options.compute_stop_limit;
  spec.may_end = true;
  return spec;
}

Status Supervisor::start_compute(const ComputeStart& request) {
  if (request.tenant.is_zero() || request.timeline.is_zero() ||
      !is_endpoint_name(request.endpoint) || request.start == 0) {
    return Status(Code::kInvalid, "not the start of a compute").with_object(request.endpoint);
  }
  Endpoint& endpoint = endpoints_[{request.tenant, request.endpoint}];
  const MutexGuard guard(endpoint.changing, "another change of the endpoint");
  VARVE_TRY(guard.status());
  if (request.start < endpoint.start || (request.start == endpoint.start && endpoint.stopped)) {
    return start_is_over(request.endpoint, request.start, endpoint.start);
  }
  if (stopping_) return Status(Code::kUnavailable, "everything is being stopped");
  if (request.start > endpoint.start) {
    endpoint.start = request.start;
    endpoint.stopped = false;
  }
  // Asked of the process and not of the request: whoever began to replace it may have left.
  if (endpoint.process != nullptr && endpoint.process_start != request.start) {
    VARVE_TRY(endpoint.process->stop());
    endpoint.process.reset();
  }
  if (endpoint.process == nullptr) {
    if (stopping_) return Status(Code::kUnavailable, "everything is being stopped");
    endpoint.process = std::make_unique<KeptProcess>(context_, spec_of(request), scope_);
    endpoint.process_start = request.start;
  }
  return endpoint.process->wait_spawned();
}

Status Supervisor::stop_compute(const TenantId& tenant, const std::string& name, uint64_t start,
                                bool immediately) {
  Endpoint& endpoint = endpoints_[{tenant, name}];
  // A kill overtakes the stop that holds the endpoint.
  if (immediately && start >= endpoint.start && endpoint.process != nullptr) {
    endpoint.process->kill();
  }
  const MutexGuard guard(endpoint.changing, "another change of the endpoint");
  VARVE_TRY(guard.status());
  if (start < endpoint.start) return start_is_over(name, start, endpoint.start);
  endpoint.start = start;
  endpoint.stopped = true;
  if (endpoint.process == nullptr) return Status();
  if (immediately) endpoint.process->kill();
  VARVE_TRY(endpoint.process->stop());
  endpoint.process.reset();
  return Status();
}

Status Supervisor::forget_compute(const TenantId& tenant, const std::string& name, uint64_t start) {
  if (tenant.is_zero() || !is_endpoint_name(name))
    return Status(Code::kInvalid, "not an endpoint").with_object(name);
  Endpoint& endpoint = endpoints_[{tenant, name}];
  const MutexGuard guard(endpoint.changing, "another change of the endpoint");
  VARVE_TRY(guard.status());
  if (start < endpoint.start) return start_is_over(name, start, endpoint.start);
  if (endpoint.process != nullptr && !endpoint.process->stopped())
    return Status(Code::kRefused, "a process of the endpoint runs").with_object(name);
  endpoint.process.reset();
  endpoint.start = start;
  endpoint.stopped = true;
  return computes_.forget ? computes_.forget(tenant, name) : Status();
}

Status Supervisor::stop_together(const std::vector<KeptProcess*>& group) {
  Scope scope("stop processes");
  for (KeptProcess* process : group) {
    scope.spawn("stop a process", [process] { return process->stop(); });
  }
  return scope.join();
}

Status Supervisor::stop() {
  stopping_ = true;
  {
    // Each under its endpoint's lock: a start or stop that is under way may forget the process.
    Scope scope("stop computes");
    for (auto& [key, endpoint] : endpoints_) {
      scope.spawn("stop a compute", [&endpoint = endpoint]() -> Status {
        const MutexGuard guard(endpoint.changing, "another change of the endpoint");
        VARVE_TRY(guard.status());
        return endpoint.process == nullptr ? Status() : endpoint.process->stop();
      });
    }
    VARVE_TRY(scope.join());
  }
  int last = 0;
  for (const Daemon& daemon : daemons_) last = std::max(last, daemon.stage);
  for (int stage = last; stage >= 0; --stage) {
    std::vector<KeptProcess*> group;
    for (const Daemon& daemon : daemons_) {
      if (daemon.stage == stage) group.push_back(daemon.process.get());
    }
    VARVE_TRY(stop_together(group));
  }
  return Status();
}

void Supervisor::kill() {
  stopping_ = true;
  for (auto& [key, endpoint] : endpoints_) {
    if (endpoint.process != nullptr) endpoint.process->kill();
  }
  for (const Daemon& daemon : daemons_) daemon.process->kill();
}

std::vector<const KeptProcess*> Supervisor::processes() const {
  std::vector<const KeptProcess*> all;
  for (const Daemon& daemon : daemons_) all.push_back(daemon.process.get());
  for (const auto& [key, endpoint] : endpoints_) {
    if (endpoint.process != nullptr) all.push_back(endpoint.process.get());
  }
  return all;
}

}  // namespace varve::supervisor
