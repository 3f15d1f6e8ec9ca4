// The supervisor of the model fleet, with the computes that it keeps. Test support.
#pragma once

#include "control/testing/model_fleet.h"

namespace varve::control::testing {

// One process of an endpoint: reports, answers when it is asked to settle, writes now and then, and
// runs until it is told to stop. All processes of the machine end with it.
class ModelCompute {
 public:
  ModelCompute(World& world, Truth& truth, const TenantTimelineId& id, std::string endpoint,
               uint64_t start, std::string token, uint16_t port, Scope& scope)
      : world_(world),
        truth_(truth),
        id_(id),
        endpoint_(std::move(endpoint)),
        start_(start),
        token_(std::move(token)),
        port_(port),
        life_(Incarnation(1 + world.random.below(UINT64_MAX - 1, "incarnation"))),
        scope_("compute", scope) {
    for (const auto& [key, process] : truth.processes) {
      if (key.first == id.tenant && process.timeline == id.timeline)
        truth.sim.violation("two processes write to one branch");
    }
    truth.processes[key()] = {start, id.timeline};
    scope_.spawn("report", [this] { return report(); });
    scope_.spawn("serve", [this] { serve(); });
    scope_.spawn("write", [this]() -> Status {
      VARVE_TRY(sleep_for(Duration::millis(300)));
      running_ = true;
      for (;;) {
        VARVE_TRY(sleep_for(Duration::millis(10)));
        truth_.acknowledge(id_);
      }
    });
  }
  ~ModelCompute() {
    scope_.cancel();
    scope_.join().ignore("cancelled");
    truth_.processes.erase(key());
  }
  uint64_t start() const { return start_; }
  bool unwanted() const { return unwanted_; }

 private:
  EndpointKey key() const { return {id_.tenant, endpoint_}; }

  Status report() {
    RpcClient control(world_.network, world_.random, scope_, Address{"control", kPort}, token_,
                      {NodeId(), life_, "compute"});
    for (;;) {
      proto::ReportComputeRequest request;
      consensus::put_timeline_id(id_, request);
      request.set_endpoint(endpoint_);
      request.set_incarnation(life_.value);
      request.set_state(running_ ? proto::ENDPOINT_RUNNING : proto::ENDPOINT_STARTING);
      request.mutable_rpc()->set_host("machine");
      request.mutable_rpc()->set_port(port_);
      {
        const DeadlineGuard limit(Duration::seconds(3));
        const auto response = call<proto::ReportComputeResponse>(control, kReportCompute, request);
        if (response.ok() && response->stop()) unwanted_ = true;
      }
      VARVE_TRY(check_cancelled());
      VARVE_TRY(sleep_for(Duration::millis(running_ ? 1000 : 100)));
    }
  }

  void serve() {
    const TokenVerifier verifier({signer().public_key()});
    Budget memory("rpc", 16 << 20);
    RpcServer server(world_.clock, world_.log, world_.metrics, {NodeId(), life_, "compute"},
                     verifier, memory);
    add_method<proto::SettleRequest, proto::SettleResponse>(
        server, compute::kSettle,
        [this](CallContext& context,
               const proto::SettleRequest& request) -> Result<proto::SettleResponse> {
          VARVE_TRY_ASSIGN(const TenantTimelineId id, consensus::get_timeline_id(request));
          VARVE_TRY(context.authorize(id.tenant, id.timeline));
          if (!running_ || id != id_) return Status(Code::kUnavailable, "Postgres does not run");
          proto::SettleResponse response;
          response.set_lsn(truth_.ends[id_].value);
          return response;
        });
    while (!scope_.cancelled()) {
      auto listener = world_.network.listen(Address{"machine", port_});
      if (listener.ok()) {
        server.serve(**listener).ignore("ends with the compute");
        return;
      }
      if (!sleep_for(Duration::millis(20)).ok()) return;
    }
  }

  World& world_;
  Truth& truth_;
  TenantTimelineId id_;
  std::string endpoint_;
  uint64_t start_;
  std::string token_;
  uint16_t port_;
  Incarnation life_;
  bool running_ = false;
  bool unwanted_ = false;
  Scope scope_;
};

class ModelSupervisor {
 public:
  ModelSupervisor(World& world, Truth& truth, NodeId node)
      : world_(world), truth_(truth), node_(node), scope_("machine") {
    // The machine is new: nothing of its last life runs.
    truth.processes.clear();
  }

  void run() {
    serve_model(world_, node_, Incarnation(1), "machine", [&](RpcServer& server) {
      add_method<proto::StartComputeRequest, proto::StartComputeResponse>(
          server, supervisor::kStartCompute,
          [this](CallContext&, const proto::StartComputeRequest& request) {
            return start(request);
          });
      add_method<proto::StopComputeRequest, proto::StopComputeResponse>(
          server, supervisor::kStopCompute,
          [this](CallContext&, const proto::StopComputeRequest& request) { return stop(request); });
      add_method<proto::ForgetComputeRequest, proto::ForgetComputeResponse>(
          server, supervisor::kForgetCompute,
          [this](CallContext&, const proto::ForgetComputeRequest& request) {
            return forget(request);
          });
    });
    computes_.clear();
  }

 private:
  Result<proto::StartComputeResponse> start(const proto::StartComputeRequest& request) {
    VARVE_TRY_ASSIGN(const TenantTimelineId id, consensus::get_timeline_id(request));
    const EndpointKey key{id.tenant, request.endpoint()};
    const MutexGuard lock(changing_);
    VARVE_TRY(lock.status());
    uint64_t& highest = truth_.starts[key];
    if (request.start() < highest) return Status(Code::kStale, "a later start is known");
    highest = request.start();
    truth_.left.insert(key);
    truth_.point();
    auto& compute = computes_[key];
    if (compute != nullptr && compute->start() == request.start())
      return proto::StartComputeResponse();
    compute.reset();
    VARVE_TRY(sleep_for(Duration::millis(5)));
    compute = std::make_unique<ModelCompute>(world_, truth_, id, request.endpoint(),
                                             request.start(), request.token(), ++port_, scope_);
    return proto::StartComputeResponse();
  }

  Result<proto::StopComputeResponse> stop(const proto::StopComputeRequest& request) {
    VARVE_TRY_ASSIGN(const TenantId tenant,
                     consensus::get_id<TenantId>(request.tenant(), "tenant"));
    const EndpointKey key{tenant, request.endpoint()};
    const MutexGuard lock(changing_);
    VARVE_TRY(lock.status());
    uint64_t& highest = truth_.starts[key];
    if (request.start() < highest) return Status(Code::kStale, "a later start is known");
    highest = request.start();
    VARVE_TRY(sleep_for(Duration::millis(request.immediately() ? 1 : 100)));
    truth_.point();
    computes_.erase(key);
    return proto::StopComputeResponse();
  }

  Result<proto::ForgetComputeResponse> forget(const proto::ForgetComputeRequest& request) {
    VARVE_TRY_ASSIGN(const TenantId tenant,
                     consensus::get_id<TenantId>(request.tenant(), "tenant"));
    const EndpointKey key{tenant, request.endpoint()};
    const MutexGuard lock(changing_);
    VARVE_TRY(lock.status());
    uint64_t& highest = truth_.starts[key];
    if (request.start() < highest) return Status(Code::kStale, "a later start is known");
    if (computes_.contains(key)) return Status(Code::kRefused, "it runs");
    highest = request.start();
    VARVE_TRY(sleep_for(Duration::millis(2)));
    truth_.point();
    truth_.left.erase(key);
    return proto::ForgetComputeResponse();
  }

  World& world_;
  Truth& truth_;
  NodeId node_;
  Scope scope_;
  Mutex changing_;
  std::map<EndpointKey, std::unique_ptr<ModelCompute>> computes_;
  uint16_t port_ = 7000;
};

}  // namespace varve::control::testing
