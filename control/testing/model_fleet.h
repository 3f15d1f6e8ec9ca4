// Everything that control works with, as models in the seeded world: safekeepers, a pageserver, a
// supervisor with computes, a store, a source of clusters; and what must hold between them.
// Test support.
//
// Models are exact where control relies on them (who refuses what, what is durable) and drawn where
// it must not (how long things take, whether an answer arrives). What they hold is durable at once;
// nodes may crash at any time.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "compute/client/methods.h"
#include "consensus/client/ids.h"
#include "consensus/client/methods.h"
#include "control/client/methods.h"
#include "control/cluster_source.h"
#include "control/compute_token.h"
#include "control/control.h"
#include "control/store/store.h"
#include "proto/compute.pb.h"
#include "proto/control.pb.h"
#include "proto/host.pb.h"
#include "proto/pageserver.pb.h"
#include "proto/safekeeper_service.pb.h"
#include "sim/world.h"
#include "storage/client/methods.h"
#include "supervisor/client/methods.h"
#include "wire/rpc_proto.h"

namespace varve::control::testing {

inline constexpr uint16_t kPort = 6400;
inline constexpr Lsn kImportEnd{0x1000400};
inline const char* const kSafekeepers[] = {"sk1", "sk2", "sk3"};

inline TokenSigner signer() {
  return TokenSigner::from_seed({7});
}

inline std::string token(TokenScope scope) {
  TokenClaims claims;
  claims.scope = scope;
  claims.issued_to = "test";
  return signer().sign(claims);
}

// What is durable, somewhere, and what is true.
struct Truth {
  explicit Truth(sim::Simulation& simulation) : sim(simulation) {}

  // A point at which control may be made to crash: before or after each effect on anybody.
  void point() {
    if (++points == crash_at) {
      sim.at(Duration::nanos(1),
             [this] { sim.restart(control, sim::Crash::kProcess, Duration::millis(200)); });
    }
  }

  struct KeptTimeline {
    Lsn start;
    std::optional<TimelineId> parent;
    bool operator==(const KeptTimeline&) const = default;
  };
  struct Safekeeper {
    std::map<TenantTimelineId, KeptTimeline> timelines;
    std::set<TenantTimelineId> deleted;
  };
  struct Pageserver {
    std::map<TenantTimelineId, KeptTimeline> timelines;
    std::set<TenantTimelineId> deleted;
  };
  struct Process {  // of a compute
    uint64_t start = 0;
    TimelineId timeline;
  };

  // Nobody writes to a timeline but the one process that may.
  void acknowledge(const TenantTimelineId& timeline) {
    Lsn& end = ends[timeline];
    end = end + 8;
  }

  // A generation is known to one life of the pageserver.
  void given(const TenantId& tenant, Generation generation, Incarnation life) {
    const auto [at, fresh] = generations.emplace(std::pair(tenant, generation), life);
    if (!fresh && at->second != life) sim.violation("a generation was given to two lives");
  }

  sim::Simulation& sim;
  NodeId control;
  uint64_t points = 0;
  uint64_t crash_at = 0;
  std::map<std::string, Safekeeper> safekeepers;
  Pageserver pageserver;
  std::map<std::pair<TenantId, Generation>, Incarnation> generations;
  std::map<EndpointKey, uint64_t> starts;    // the highest that the supervisor was asked for
  std::map<EndpointKey, Process> processes;  // that live
  std::set<EndpointKey> left;                // whose processes have left something on the machine
  std::map<TenantTimelineId, Lsn> ends;      // of what was acknowledged
  uint64_t elections = 0;
  uint64_t clusters = 0;
  // The store.
  State kept;
  bool faulty_store = false;
};

// A store whose answer may say nothing.
class ModelStore final : public Store {
 public:
  ModelStore(Truth& truth, World& world) : truth_(truth), world_(world) {}

  Result<State> load() override {
    VARVE_TRY(pause());
    if (truth_.faulty_store && draw(20)) return Status(Code::kUnavailable, "drawn");
    return truth_.kept;
  }

  Committed commit(uint64_t expected, Incarnation writer, const Changes& changes) override {
    if (!pause().ok()) return {CommitOutcome::kUnknown, Status(Code::kCancelled, "left")};
    if (truth_.kept.version != expected) return {CommitOutcome::kConflict, Status()};
    const bool unknown = truth_.faulty_store && draw(10);
    const Status why(Code::kUnavailable, "drawn");
    if (unknown && draw(2)) return {CommitOutcome::kUnknown, why};
    truth_.point();
    for (const Change& change : changes.list()) {
      const auto* endpoint = std::get_if<Endpoint>(&change.record);
      if (endpoint == nullptr || change.remove) continue;
      const EndpointKey key{endpoint->tenant, endpoint->name};
      if (truth_.kept.endpoint(key) == nullptr && truth_.left.contains(key))
        truth_.sim.violation("a new endpoint finds what one of its name has left");
    }
    apply(truth_.kept, changes, writer);
    // The crash, if this is its point, comes before the answer.
    (void)sleep_for(Duration::micros(50));
    if (unknown) return {CommitOutcome::kUnknown, why};
    return {CommitOutcome::kDone, Status()};
  }

 private:
  bool draw(uint64_t one_in) { return world_.random.below(one_in, "store") == 0; }
  Status pause() {
    return sleep_for(
        Duration::micros(static_cast<int64_t>(50 + world_.random.below(3000, "store"))));
  }
  Truth& truth_;
  World& world_;
};

class ModelClusters final : public ClusterSource {
 public:
  explicit ModelClusters(Truth& truth) : truth_(truth) {}

  Result<uint32_t> version(uint32_t major) override {
    if (major > 15) return Status(Code::kUnsupported, "not installed");
    return 150008u;
  }
  Result<std::unique_ptr<storage::FileSource>> make(uint32_t) override {
    VARVE_TRY(sleep_for(Duration::millis(500)));
    return std::unique_ptr<storage::FileSource>(std::make_unique<Files>(++truth_.clusters));
  }

 private:
  struct Files final : storage::FileSource {
    explicit Files(uint64_t n) : number(n) {}
    Result<std::optional<storage::FilePiece>> next() override {
      if (sent++ == 3) return std::optional<storage::FilePiece>();
      return std::optional(storage::FilePiece{"file" + std::to_string(sent), 0,
                                              Bytes::copy(std::to_string(number))});
    }
    uint64_t number;
    int sent = 0;
  };
  Truth& truth_;
};

class ModelElector final : public Elector {
 public:
  explicit ModelElector(Truth& truth) : truth_(truth) {}

  Result<Lsn> elect(const Project&, const TenantTimelineId& timeline) override {
    VARVE_TRY(sleep_for(Duration::millis(20)));
    for (const auto& [key, process] : truth_.processes) {
      if (TenantTimelineId{key.first, process.timeline} == timeline)
        truth_.sim.violation("an election fences a compute that lives");
    }
    size_t have = 0;
    for (const char* name : kSafekeepers)
      have += truth_.safekeepers[name].timelines.count(timeline);
    if (have < 2) return Status(Code::kUnavailable, "no quorum has the timeline");
    ++truth_.elections;
    return truth_.ends[timeline];
  }

 private:
  Truth& truth_;
};

// A node's life behind its RPC: `add` registers the methods.
template <class Add>
void serve_model(World& world, NodeId node, Incarnation incarnation, const char* name, Add add) {
  const TokenVerifier verifier({signer().public_key()});
  Budget memory("rpc", 64 << 20);
  RpcServer server(world.clock, world.log, world.metrics, {node, incarnation, name}, verifier,
                   memory);
  add(server);
  for (;;) {  // the port of the life before may still be taken
    auto listener = world.network.listen(Address{name, kPort});
    if (listener.ok()) {
      server.serve(**listener).ignore("ends with the node");
      return;
    }
    if (!sleep_for(Duration::millis(50)).ok()) return;
  }
}

inline void run_safekeeper(World& world, Truth& truth, NodeId node, const char* name) {
  Truth::Safekeeper& disk = truth.safekeepers[name];
  serve_model(world, node, Incarnation(1), name, [&](RpcServer& server) {
    add_method<proto::CreateSafekeeperTimelineRequest, proto::CreateSafekeeperTimelineResponse>(
        server, consensus::kCreateSafekeeperTimeline,
        [&](CallContext&, const proto::CreateSafekeeperTimelineRequest& request)
            -> Result<proto::CreateSafekeeperTimelineResponse> {
          VARVE_TRY_ASSIGN(const TenantTimelineId id, consensus::get_timeline_id(request));
          VARVE_TRY(sleep_for(Duration::millis(1)));
          if (disk.deleted.contains(id)) return Status(Code::kRefused, "was deleted here");
          Truth::KeptTimeline timeline{Lsn(request.start_lsn()), {}};
          if (!request.parent().empty()) {
            VARVE_TRY_ASSIGN(timeline.parent,
                             consensus::get_id<TimelineId>(request.parent(), "parent"));
            if (!disk.timelines.contains({id.tenant, *timeline.parent}))
              return Status(Code::kUnavailable, "the parent is not here yet");
          }
          const auto known = disk.timelines.find(id);
          if (known != disk.timelines.end() && known->second != timeline)
            return Status(Code::kExists, "with another start");
          truth.point();
          disk.timelines.emplace(id, timeline);
          truth.ends.emplace(id, timeline.start);
          return proto::CreateSafekeeperTimelineResponse();
        });
    add_method<proto::DeleteSafekeeperTimelineRequest, proto::DeleteSafekeeperTimelineResponse>(
        server, consensus::kDeleteSafekeeperTimeline,
        [&](CallContext&, const proto::DeleteSafekeeperTimelineRequest& request)
            -> Result<proto::DeleteSafekeeperTimelineResponse> {
          VARVE_TRY_ASSIGN(const TenantTimelineId id, consensus::get_timeline_id(request));
          truth.point();
          disk.timelines.erase(id);
          disk.deleted.insert(id);
          return proto::DeleteSafekeeperTimelineResponse();
        });
    add_method<proto::SafekeeperStatusRequest, proto::SafekeeperStatusResponse>(
        server, consensus::kSafekeeperStatus,
        [&](CallContext&, const proto::SafekeeperStatusRequest& request)
            -> Result<proto::SafekeeperStatusResponse> {
          VARVE_TRY_ASSIGN(const TenantTimelineId id, consensus::get_timeline_id(request));
          const auto known = disk.timelines.find(id);
          if (known == disk.timelines.end()) return Status(Code::kNotFound, "no such timeline");
          proto::SafekeeperStatusResponse response;
          auto* row = response.add_timelines();
          consensus::put_timeline_id(id, *row);
          row->set_term(1);
          row->set_flush_lsn(truth.ends[id].value);
          row->set_commit_lsn(truth.ends[id].value);
          return response;
        });
  });
}

class ModelPageserver {
 public:
  ModelPageserver(World& world, Truth& truth, NodeId node)
      : world_(world),
        truth_(truth),
        node_(node),
        life_(Incarnation(1 + world.random.below(UINT64_MAX - 1, "incarnation"))) {}

  void run() {
    while (!register_once().ok()) {
      if (!sleep_for(Duration::millis(100)).ok()) return;
    }
    serve_model(world_, node_, life_, "pageserver", [&](RpcServer& server) { add(server); });
  }

 private:
  Status register_once() {
    Scope scope("register");
    RpcClient control(world_.network, world_.random, scope, Address{"control", kPort},
                      token(TokenScope::kNode), {node_, life_, "pageserver"});
    const DeadlineGuard limit(Duration::seconds(5));
    proto::RegisterPageserverRequest request;
    request.set_node(node_.value);
    request.set_incarnation(life_.value);
    VARVE_TRY_ASSIGN(const auto response, call<proto::RegisterPageserverResponse>(
                                              control, kRegisterPageserver, request));
    for (const auto& attachment : response.attachments()) {
      VARVE_TRY_ASSIGN(const TenantId tenant,
                       consensus::get_id<TenantId>(attachment.tenant(), "tenant"));
      VARVE_TRY(attach(tenant, Generation(attachment.generation())));
    }
    return Status();
  }

  Status attach(const TenantId& tenant, Generation generation) {
    Generation& attached = attached_[tenant];
    if (generation < attached) return Status(Code::kStale, "a newer generation is attached");
    truth_.given(tenant, generation, life_);
    attached = generation;
    return Status();
  }

  Status check(const TenantId& tenant, uint64_t generation) {
    const auto found = attached_.find(tenant);
    if (found == attached_.end()) return Status(Code::kNotFound, "no such tenant");
    if (found->second != Generation(generation)) return Status(Code::kStale, "another generation");
    return Status();
  }

  void add(RpcServer& server) {
    add_method<proto::AttachTenantRequest, proto::AttachTenantResponse>(
        server, storage::kAttachTenant,
        [this](CallContext&,
               const proto::AttachTenantRequest& request) -> Result<proto::AttachTenantResponse> {
          VARVE_TRY_ASSIGN(const TenantId tenant,
                           consensus::get_id<TenantId>(request.shard().tenant(), "tenant"));
          truth_.point();
          VARVE_TRY(attach(tenant, Generation(request.generation())));
          return proto::AttachTenantResponse();
        });
    add_method<proto::DetachTenantRequest, proto::DetachTenantResponse>(
        server, storage::kDetachTenant,
        [this](CallContext&,
               const proto::DetachTenantRequest& request) -> Result<proto::DetachTenantResponse> {
          VARVE_TRY_ASSIGN(const TenantId tenant,
                           consensus::get_id<TenantId>(request.shard().tenant(), "tenant"));
          truth_.point();
          if (attached_[tenant] > Generation(request.generation()))
            return Status(Code::kStale, "a newer generation is attached");
          attached_.erase(tenant);
          return proto::DetachTenantResponse();
        });
    add_method<proto::BranchTimelineRequest, proto::BranchTimelineResponse>(
        server, storage::kBranchTimeline,
        [this](CallContext&, const proto::BranchTimelineRequest& request) {
          return branch(request);
        });
    add_method<proto::DeleteTimelineRequest, proto::DeleteTimelineResponse>(
        server, storage::kDeleteTimeline,
        [this](CallContext&, const proto::DeleteTimelineRequest& request) {
          return remove(request);
        });
    add_method<proto::TimelineStatusRequest, proto::TimelineStatusResponse>(
        server, storage::kTimelineStatus,
        [this](CallContext& context, const proto::TimelineStatusRequest& request)
            -> Result<proto::TimelineStatusResponse> {
          VARVE_TRY_ASSIGN(const TenantId tenant,
                           consensus::get_id<TenantId>(request.shard().tenant(), "tenant"));
          VARVE_TRY_ASSIGN(const TimelineId timeline,
                           consensus::get_id<TimelineId>(request.timeline(), "timeline"));
          VARVE_TRY(context.authorize(tenant, timeline));
          const Lsn& end = truth_.ends[{tenant, timeline}];
          while (end < Lsn(request.wait_for_lsn())) VARVE_TRY(sleep_for(Duration::millis(5)));
          proto::TimelineStatusResponse response;
          response.set_last_record_lsn(end.value);
          return response;
        });
    server.add_stream(storage::kImportTimeline,
                      [this](CallContext&, const RpcPayload& payload, RpcStream& stream) {
                        return import(payload, stream);
                      });
  }

  Result<proto::DeleteTimelineResponse> remove(const proto::DeleteTimelineRequest& request) {
    VARVE_TRY_ASSIGN(const TenantId tenant,
                     consensus::get_id<TenantId>(request.shard().tenant(), "tenant"));
    VARVE_TRY_ASSIGN(const TimelineId timeline,
                     consensus::get_id<TimelineId>(request.timeline(), "timeline"));
    VARVE_TRY(check(tenant, request.generation()));
    VARVE_TRY(sleep_for(Duration::millis(2)));
    for (const auto& [id, kept] : truth_.pageserver.timelines) {
      if (id.tenant == tenant && kept.parent == timeline)
        return Status(Code::kRefused, "a branch hangs on it");
    }
    truth_.point();
    truth_.pageserver.timelines.erase({tenant, timeline});
    truth_.pageserver.deleted.insert({tenant, timeline});
    return proto::DeleteTimelineResponse();
  }

  Result<proto::BranchTimelineResponse> branch(const proto::BranchTimelineRequest& request) {
    VARVE_TRY_ASSIGN(const TenantId tenant,
                     consensus::get_id<TenantId>(request.shard().tenant(), "tenant"));
    VARVE_TRY_ASSIGN(const TimelineId timeline,
                     consensus::get_id<TimelineId>(request.timeline(), "timeline"));
    VARVE_TRY_ASSIGN(const TimelineId parent,
                     consensus::get_id<TimelineId>(request.parent(), "parent"));
    VARVE_TRY(check(tenant, request.generation()));
    VARVE_TRY(sleep_for(Duration::millis(2)));
    if (!truth_.pageserver.timelines.contains({tenant, parent}))
      return Status(Code::kNotFound, "no such parent");
    if (truth_.pageserver.deleted.contains({tenant, timeline}))
      return Status(Code::kRefused, "was deleted here");
    const Truth::KeptTimeline kept{Lsn(request.lsn()), parent};
    const auto known = truth_.pageserver.timelines.find({tenant, timeline});
    if (known != truth_.pageserver.timelines.end() && known->second != kept)
      return Status(Code::kExists, "another branch has this id");
    truth_.point();
    truth_.pageserver.timelines.emplace(TenantTimelineId{tenant, timeline}, kept);
    proto::BranchTimelineResponse response;
    response.set_lsn(request.lsn());
    response.set_last_record_start(request.lsn() - 8);
    return response;
  }

  Status import(const RpcPayload& payload, RpcStream& stream) {
    proto::ImportTimelineRequest request;
    VARVE_TRY(parse_proto(payload.head, "import", request));
    VARVE_TRY_ASSIGN(const TenantId tenant,
                     consensus::get_id<TenantId>(request.shard().tenant(), "tenant"));
    VARVE_TRY_ASSIGN(const TimelineId timeline,
                     consensus::get_id<TimelineId>(request.timeline(), "timeline"));
    VARVE_TRY(check(tenant, request.generation()));
    for (;;) {
      VARVE_TRY_ASSIGN(const std::optional<RpcPayload> item, stream.receive());
      if (!item) break;
    }
    VARVE_TRY(check(tenant, request.generation()));
    if (truth_.pageserver.deleted.contains({tenant, timeline}))
      return Status(Code::kRefused, "was deleted here");
    const auto [at, fresh] = truth_.pageserver.timelines.emplace(
        TenantTimelineId{tenant, timeline}, Truth::KeptTimeline{kImportEnd, {}});
    if (!fresh) return Status(Code::kExists, "two clusters under one timeline");
    truth_.point();
    proto::ImportTimelineResponse response;
    response.set_lsn(kImportEnd.value);
    response.set_last_record_start(kImportEnd.value - 8);
    response.set_postgres_major(15);
    response.set_system_id(77);
    response.set_segment_size(16 << 20);
    return stream.send(
        RpcPayload(serialize_proto(response),
                   {Bytes::copy(std::string(kImportEnd.segment_offset(16 << 20), 'l'))}));
  }

  World& world_;
  Truth& truth_;
  NodeId node_;
  Incarnation life_;
  std::map<TenantId, Generation> attached_;
};

}  // namespace varve::control::testing
