#include "compute/agent/keeper.h"

#include <utility>

#include "compute/agent/proposer_log.h"
#include "compute/agent/storage_pages.h"
#include "compute/client/methods.h"
#include "control/client/methods.h"
#include "proto/compute.pb.h"
#include "proto/control.pb.h"
#include "wire/rpc_frame.h"
#include "wire/rpc_proto.h"

namespace varve::compute {
namespace {

template <class Id>
void set_id(const Id& id, std::string* field) {
  field->assign(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size());
}

template <class Message>
void name_timeline(const TenantTimelineId& id, Message& message) {
  set_id(id.tenant, message.mutable_tenant());
  set_id(id.timeline, message.mutable_timeline());
}

template <class Id>
Result<Id> take_id(const std::string& field) {
  Id id;
  if (field.size() != id.bytes.size()) return Status(Code::kInvalid, "an id is not 16 bytes");
  std::copy(field.begin(), field.end(), id.bytes.begin());
  return id;
}

void set_status(const Status& status, proto::Status* field) {
  const Bytes bytes = rpc::encode_status(status);
  VARVE_CHECK(field->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
}

RpcClientOptions control_options(NodeId node) {
  RpcClientOptions options;
  options.expected_node = node;
  options.backoff_maximum = Duration::seconds(1);
  return options;
}

consensus::ProposerConfig proposer_config(const TenantTimelineId& id,
                                          const proto::ComputeSpec& spec) {
  consensus::ProposerConfig config;
  config.id = id;
  config.membership.generation = Configuration(spec.configuration());
  for (const proto::NodeAddress& member : spec.safekeepers()) {
    config.membership.members.push_back(
        {NodeId(member.node()), member.host(), static_cast<uint16_t>(member.postgres_port())});
  }
  config.server = {spec.postgres_major() * 10000, spec.system_id(), spec.segment_size()};
  return config;
}

Status check_spec(const proto::ComputeSpec& spec) {
  const bool sound = spec.safekeepers_size() > 0 && spec.configuration() > 0 && spec.port() > 0 &&
                     spec.port() <= UINT16_MAX && spec.has_pageserver() &&
                     spec.pageserver().port() <= UINT16_MAX && spec.postgres_major() > 0 &&
                     spec.postgres_major() <= UINT16_MAX && spec.segment_size() > 0;
  return sound ? Status()
               : Status(Code::kUnavailable, "control does not know this compute's parts");
}

// Whether the next life may well fare better without anybody's help.
bool may_pass(Code code) {
  return policy_of(code).retryable || code == Code::kStale || code == Code::kCancelled;
}

}  // namespace

Keeper::Keeper(World& world, PostgresHost& host, const TokenVerifier& verifier, Budget& memory,
               KeeperConfig config, const KeeperOptions& options)
    : world_(world),
      host_(host),
      verifier_(verifier),
      memory_(memory),
      config_(std::move(config)),
      options_(options),
      scope_("keeper"),
      control_(world.network, world.random, scope_, config_.control, config_.token,
               config_.identity, control_options(config_.control_node)),
      backoff_({options.life_pause, std::max(options.life_pause, options.longest_life_pause),
                Duration::seconds(10)}),
      kept_(world.disk, world.log) {}

Keeper::~Keeper() {
  scope_.cancel();
}

Status Keeper::run(Event& stop) {
  VARVE_TRY_ASSIGN(const std::unique_ptr<Listener> listener,
                   world_.network.listen({config_.listen, 0}));
  rpc_ = listener->address();
  RpcServer server(world_.clock, world_.log, world_.metrics, config_.identity, verifier_, memory_);
  add_methods(server);
  Scope reports("reports to control");
  Scope services("keeper's services");
  services.spawn("rpc", [&] { return server.serve(*listener); });
  services.spawn("stop", [&] {
    if (stop.wait("a stop").ok()) stop_.set();
  });
  reports.spawn("reports", [this] { return report_fiber(); });
  lives().ignore("why the last life ended is kept");
  reports.cancel();
  reports.join().ignore("cancelled");
  tell(end_.ok() ? State::kStopped : State::kFailed, "");
  {
    const Shield shield;
    const DeadlineGuard limit(options_.report_interval);
    send_report().ignore("whoever waits for our process sees its end");
  }
  services.cancel();
  services.join().ignore("cancelled");
  return end_;
}

// ---- lives ----

Status Keeper::lives() {
  while (!stop_.is_set()) {
    VARVE_TRY(check_cancelled());
    ready_ = false;
    const Status end = one_life();
    if (stop_.is_set()) {
      end_ = end.is(Code::kCancelled) ? Status() : end;
      return end_;
    }
    note_end(end);
    VARVE_TRY(until_stop("an answer of control", [this] { return wait_answered(); }));
    VARVE_TRY(until_stop("a pause between lives", [this] { return pause(ready_); }));
  }
  return Status();
}

void Keeper::note_end(Status why) {
  if (why.ok()) why = Status(Code::kUnavailable, "Postgres stopped without being asked to");
  failure_ = why;
  world_.log.warning("compute_life_ended", "a new one follows", {{"why", why}, {"lives", lives_}});
  tell(may_pass(why.code()) ? State::kStarting : State::kFailed, "between lives");
}

Status Keeper::pause(bool lasted) {
  if (lasted)
    backoff_ = Backoff({options_.life_pause, options_.longest_life_pause, Duration::seconds(10)});
  backoff_.failed(now(), world_.random.below(uint64_t{1} << 63, "life pause") << 1);
  return sleep_for(backoff_.wait(now()));
}

Result<std::unique_ptr<proto::ComputeSpec>> Keeper::ask_for_spec() {
  proto::ComputeSpecRequest request;
  name_timeline(config_.id, request);
  request.set_endpoint(config_.endpoint);
  for (;;) {
    Status why;
    {
      const DeadlineGuard attempt(options_.control_attempt);
      auto spec = call<proto::ComputeSpec>(control_, control::kComputeSpec, request);
      why = spec.ok() ? check_spec(*spec) : spec.status();
      if (why.ok()) return std::make_unique<proto::ComputeSpec>(std::move(*spec));
    }
    VARVE_TRY(check_cancelled());
    world_.log.warning("compute_spec_missing", "control is asked again", {{"why", why}});
    failure_ = std::move(why).with_context("control does not say where the parts are");
    tell(State::kStarting, "asking control");
    VARVE_TRY(sleep_for(options_.report_interval));
  }
}

ComputeSettings Keeper::settings_for(const proto::ComputeSpec& spec) const {
  ComputeSettings settings = config_.settings;
  settings.parameters.emplace_back("listen_addresses", config_.listen);
  settings.parameters.emplace_back("port", std::to_string(spec.port()));
  return settings;
}

Status Keeper::one_life() {
  tell(State::kStarting, "asking control");
  std::unique_ptr<proto::ComputeSpec> spec;
  VARVE_TRY(until_stop("the spec of the compute", [&]() -> Status {
    VARVE_TRY_ASSIGN(spec, ask_for_spec());
    return Status();
  }));
  port_ = static_cast<uint16_t>(spec->port());
  ComputeSettings settings = settings_for(*spec);
  VARVE_TRY_ASSIGN(settings.auto_conf, kept_.for_next_life());
  ++lives_;
  Scope life("life of a compute");
  StoragePages pages(world_,
                     {config_.id,
                      {spec->pageserver().host(), static_cast<uint16_t>(spec->pageserver().port())},
                      NodeId(spec->pageserver().node()),
                      config_.token,
                      config_.identity},
                     life);
  ProposerLog log(world_, proposer_config(config_.id, *spec),
                  {config_.id, config_.token, "varve-compute"}, options_.proposer, life);
  Agent agent({log, pages, host_, world_.clock, world_.random, world_.log,
               [this](AgentPhase phase) {
                 if (phase < AgentPhase::kRunning) tell(State::kStarting, agent_phase_name(phase));
               },
               &world_.metrics},
              std::move(settings), options_.agent, life);
  agent_ = &agent;
  const Status end = run_life(agent);
  agent_ = nullptr;
  return end;
}

Status Keeper::run_life(Agent& agent) {
  {
    Scope watching("watch a start");
    watching.spawn("watch", [&] { return watch_start(agent); });
    const Status started = until_stop("the start of a life", [&] { return agent.start(); });
    watching.cancel();
    watching.join().ignore("cancelled");
    VARVE_TRY(started);
  }
  tell(State::kStarting, "waiting for Postgres");
  Scope beside("beside a life");
  beside.spawn("ready", [&] {
    if (!agent.wait_ready().ok() || stop_.is_set()) return;
    ready_ = true;
    failure_ = Status();
    tell(State::kRunning, "");
  });
  beside.spawn("stop", [&] {
    if (!stop_.wait("a stop").ok()) return;
    tell(State::kStopping, "");
    agent.stop();
  });
  beside.spawn("settings", [&]() -> Status {
    for (;;) {
      VARVE_TRY(sleep_for(options_.report_interval));
      keep_settings(agent);
    }
  });
  const AgentEnd end = agent.wait_end();
  beside.cancel();
  beside.join().ignore("cancelled");
  keep_settings(agent);
  if (!stop_.is_set()) kept_.life_ended(ready_);
  return end.clean ? Status() : end.why;
}

// People who wait for a start learn what it waits for, in the log once for each reason.
Status Keeper::watch_start(const Agent& agent) {
  AgentPhase phase = agent.phase();
  Instant entered = now();
  std::string told;
  for (;;) {
    VARVE_TRY(sleep_for(options_.slow_step / 4));
    if (agent.phase() != phase) {
      phase = agent.phase();
      entered = now();
    }
    if (now() - entered < options_.slow_step) continue;
    Status why = agent.trouble();
    if (why.ok()) why = Status(Code::kUnavailable, "it takes long, and nothing says why");
    why = std::move(why).with_context(agent_phase_name(phase));
    if (why.message() == told) continue;
    told = why.message();
    failure_ = why;
    world_.log.warning("compute_start_waits", "a start does not go on",
                       {{"phase", agent_phase_name(phase)},
                        {"why", why},
                        {"for_us", now() - entered},
                        {"lives", lives_}});
    tell(State::kStarting, agent_phase_name(phase));
  }
}

void Keeper::keep_settings(Agent& agent) {
  const auto content = agent.auto_conf();
  const Status kept = content.ok() ? kept_.keep(*content) : content.status();
  if (kept.ok() || kept.is(Code::kCancelled)) return;
  world_.log.warning("settings_not_kept", "ALTER SYSTEM may not outlive this Postgres",
                     {{"why", kept}});
}

// Runs `body` in a scope that a stop cancels.
Status Keeper::until_stop(const char* label, const std::function<Status()>& body) {
  Status status(Code::kCancelled, "stopped");
  Scope scope(label);
  scope.spawn(label, [&] {
    status = body();
    scope.cancel();
  });
  scope.spawn("a stop", [&] {
    if (stop_.wait("a stop").ok()) scope.cancel();
  });
  scope.join().ignore("`status` tells");
  return status;
}

// ---- what control hears ----

void Keeper::tell(State state, std::string phase) {
  state_ = state;
  phase_ = std::move(phase);
  ++version_;
  told_.wake_all();
}

std::unique_ptr<proto::ReportComputeRequest> Keeper::report() const {
  auto report = std::make_unique<proto::ReportComputeRequest>();
  name_timeline(config_.id, *report);
  report->set_endpoint(config_.endpoint);
  report->set_incarnation(config_.identity.incarnation.value);
  switch (state_) {
    case State::kStarting:
      report->set_state(proto::ENDPOINT_STARTING);
      break;
    case State::kRunning:
      report->set_state(proto::ENDPOINT_RUNNING);
      report->set_postgres_port(port_);
      break;
    case State::kStopping:
      report->set_state(proto::ENDPOINT_STOPPING);
      break;
    case State::kStopped:
      report->set_state(proto::ENDPOINT_STOPPED);
      break;
    case State::kFailed:
      report->set_state(proto::ENDPOINT_FAILED);
      break;
  }
  report->mutable_rpc()->set_node(config_.identity.node.value);
  report->mutable_rpc()->set_host(rpc_.host);
  report->mutable_rpc()->set_port(rpc_.port);
  if (!failure_.ok()) set_status(failure_, report->mutable_failure());
  report->set_phase(to_utf8(phase_));
  report->set_lives(lives_);
  return report;
}

Status Keeper::send_report() {
  const uint64_t version = version_;
  VARVE_TRY_ASSIGN(
      const proto::ReportComputeResponse response,
      call<proto::ReportComputeResponse>(control_, control::kReportCompute, *report()));
  answered_.set(version);
  if (response.stop() && !stop_.is_set()) {
    world_.log.info("compute_unwanted", "control says stop", {{"endpoint", config_.endpoint}});
    stop_.set();
  }
  return Status();
}

Status Keeper::report_fiber() {
  for (;;) {
    const uint64_t version = version_;
    Status sent;
    {
      const DeadlineGuard attempt(options_.control_attempt);
      sent = send_report();
    }
    VARVE_TRY(check_cancelled());
    if (!sent.ok()) {
      world_.log.debug("compute_report_lost", "control did not take a report", {{"why", sent}});
      VARVE_TRY(sleep_for(options_.report_interval));
    } else if (version == version_) {
      told_.wait("news for control", now() + options_.report_interval)
          .ignore("told again at the interval");
    }
  }
}

Status Keeper::wait_answered() {
  const uint64_t version = version_;
  return answered_.wait_until([version](uint64_t answered) { return answered >= version; },
                              "control's answer");
}

void Keeper::add_methods(RpcServer& server) {
  add_method<proto::SettleRequest, proto::SettleResponse>(
      server, kSettle,
      [this](CallContext& context,
             const proto::SettleRequest& request) -> Result<proto::SettleResponse> {
        VARVE_TRY_ASSIGN(const TenantId tenant, take_id<TenantId>(request.tenant()));
        VARVE_TRY_ASSIGN(const TimelineId timeline, take_id<TimelineId>(request.timeline()));
        VARVE_TRY(context.authorize(tenant, timeline));
        if (TenantTimelineId{tenant, timeline} != config_.id) {
          return Status(Code::kNotFound, "this compute runs another timeline")
              .with_object(config_.id.to_string());
        }
        if (agent_ == nullptr) return Status(Code::kUnavailable, "between two lives");
        VARVE_TRY_ASSIGN(const Lsn settled, agent_->settle());
        proto::SettleResponse response;
        response.set_lsn(settled.value);
        response.set_term(agent_->won().term.value);
        return response;
      });
}

}  // namespace varve::compute
