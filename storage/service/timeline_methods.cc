// What control asks: attach, detach, branch, import, and the state of a timeline.
#include <algorithm>
#include <map>

#include "proto/pageserver.pb.h"
#include "storage/client/methods.h"
#include "storage/service/ids.h"
#include "storage/service/methods.h"
#include "wire/rpc_frame.h"
#include "wire/rpc_proto.h"

namespace varve::storage {
namespace {

// Of what could not be digested, in one answer.
constexpr size_t kMostNotes = 100;
// Of one imported cluster, in memory until its layers are written.
constexpr uint64_t kMaxImportBytes = uint64_t{4} << 30;

Result<proto::AttachTenantResponse> attach(Pageserver& pageserver, CallContext& context,
                                           const proto::AttachTenantRequest& request) {
  VARVE_TRY_ASSIGN(const TenantShardId shard, take_shard(request.shard()));
  VARVE_TRY(context.authorize(shard.tenant));
  VARVE_TRY_ASSIGN(const std::vector<TimelineId> timelines,
                   pageserver.attach(shard, Generation(request.generation())));
  proto::AttachTenantResponse response;
  for (const TimelineId& id : timelines) {
    response.add_timelines(id.bytes.data(), id.bytes.size());
  }
  return response;
}

Result<proto::DetachTenantResponse> detach(Pageserver& pageserver, CallContext& context,
                                           const proto::DetachTenantRequest& request) {
  VARVE_TRY_ASSIGN(const TenantShardId shard, take_shard(request.shard()));
  VARVE_TRY(context.authorize(shard.tenant));
  VARVE_TRY(pageserver.detach(shard, Generation(request.generation())));
  return proto::DetachTenantResponse();
}

Result<proto::BranchTimelineResponse> branch(Pageserver& pageserver, CallContext& context,
                                             const proto::BranchTimelineRequest& request) {
  VARVE_TRY_ASSIGN(const TenantShardId shard, take_shard(request.shard()));
  VARVE_TRY(context.authorize(shard.tenant));
  VARVE_TRY_ASSIGN(const TimelineId id,
                   take_id<TimelineId>(request.timeline(), "the new timeline"));
  VARVE_TRY_ASSIGN(const TimelineId parent, take_id<TimelineId>(request.parent(), "the parent"));
  return pageserver.with_timeline(
      shard, Generation(request.generation()), parent,
      [&](Tenant& tenant, Timeline& from) -> Result<proto::BranchTimelineResponse> {
        VARVE_TRY(from.wait_for(Lsn(request.lsn())));
        VARVE_TRY_ASSIGN(const Timeline* made, tenant.branch(id, parent, Lsn(request.lsn())));
        pageserver.receive_logs(tenant);
        proto::BranchTimelineResponse response;
        response.set_lsn(made->first().boundary.value);
        response.set_last_record_start(made->first().previous.value);
        return response;
      });
}

Result<proto::DeleteTimelineResponse> delete_timeline(Pageserver& pageserver, CallContext& context,
                                                      const proto::DeleteTimelineRequest& request) {
  VARVE_TRY_ASSIGN(const TenantShardId shard, take_shard(request.shard()));
  VARVE_TRY(context.authorize(shard.tenant));
  VARVE_TRY_ASSIGN(const TimelineId id,
                   take_id<TimelineId>(request.timeline(), "the timeline's id"));
  VARVE_TRY(pageserver.delete_timeline(shard, Generation(request.generation()), id));
  return proto::DeleteTimelineResponse();
}

// Files as they come in pieces.
Result<ClusterFiles> receive_files(RpcStream& stream) {
  auto contents = std::make_shared<std::map<std::string, std::vector<uint8_t>>>();
  uint64_t held = 0;
  for (;;) {
    VARVE_TRY_ASSIGN(std::optional<RpcPayload> item, stream.receive());
    if (!item) break;
    proto::ImportFile file;
    VARVE_TRY(parse_proto(item->head, kImportTimeline.name, file));
    std::vector<uint8_t>& content = (*contents)[file.path()];
    if (file.offset() != content.size()) {
      return Status(Code::kInvalid, "a piece of a file is not where the one before ended")
          .with_object(file.path());
    }
    for (const Bytes& bytes : item->attachments) {
      held += bytes.size();
      if (held > kMaxImportBytes) {
        return Status(Code::kFull,
                      "the cluster is larger than " + std::to_string(kMaxImportBytes) + " bytes");
      }
      content.insert(content.end(), bytes.data(), bytes.data() + bytes.size());
    }
  }
  ClusterFiles files;
  for (const auto& [path, content] : *contents) files.files.push_back({path, content.size()});
  files.read = [contents](const std::string& path) -> Result<Bytes> {
    const auto found = contents->find(path);
    if (found == contents->end()) {
      return Status(Code::kInvalid, "the cluster lacks a file").with_object(path);
    }
    return Bytes::copy(found->second);
  };
  return files;
}

Status send_imported(const Timeline& timeline, Bytes log_prefix, RpcStream& stream) {
  const ClusterIdentity& cluster = timeline.cluster();
  proto::ImportTimelineResponse response;
  response.set_lsn(timeline.first().boundary.value);
  response.set_last_record_start(timeline.first().previous.value);
  response.set_postgres_major(cluster.postgres_major);
  response.set_system_id(cluster.system_id);
  response.set_segment_size(cluster.segment_size);
  do {
    const size_t size = std::min<size_t>(log_prefix.size(), kStreamPieceBytes);
    VARVE_TRY(stream.send(RpcPayload(serialize_proto(response), {log_prefix.slice(0, size)})));
    log_prefix = log_prefix.slice(size);
  } while (!log_prefix.empty());
  return Status();
}

Status import(Pageserver& pageserver, CallContext& context, const RpcPayload& payload,
              RpcStream& stream) {
  proto::ImportTimelineRequest request;
  VARVE_TRY(parse_proto(payload.head, kImportTimeline.name, request));
  VARVE_TRY_ASSIGN(const TenantShardId shard, take_shard(request.shard()));
  VARVE_TRY(context.authorize(shard.tenant));
  VARVE_TRY_ASSIGN(const TimelineId id,
                   take_id<TimelineId>(request.timeline(), "the new timeline"));
  return pageserver.with_tenant(
      shard, Generation(request.generation()), &id, [&](Tenant& tenant) -> Status {
        VARVE_TRY_ASSIGN(const ClusterFiles files, receive_files(stream));
        VARVE_TRY_ASSIGN(Tenant::Created created, tenant.import(id, files));
        pageserver.receive_logs(tenant);
        return send_imported(*created.timeline, std::move(created.log_prefix), stream);
      });
}

Result<proto::LsnByTimeResponse> lsn_by_time(Pageserver& pageserver, CallContext& context,
                                             const proto::LsnByTimeRequest& request) {
  VARVE_TRY_ASSIGN(const TenantShardId shard, take_shard(request.shard()));
  VARVE_TRY_ASSIGN(const TimelineId id,
                   take_id<TimelineId>(request.timeline(), "the timeline's id"));
  VARVE_TRY(context.authorize(shard.tenant, id));
  return pageserver.with_timeline(
      shard, std::nullopt, id,
      [&](Tenant&, Timeline& timeline) -> Result<proto::LsnByTimeResponse> {
        VARVE_TRY_ASSIGN(const Timeline::TimePosition found,
                         timeline.position_at(WallTime{request.time()}));
        proto::LsnByTimeResponse response;
        response.set_lsn(found.position.boundary.value);
        response.set_last_record_start(found.position.previous.value);
        response.set_at_end(found.at_end);
        return response;
      });
}

proto::TimelineStatusResponse state_of(const Timeline& timeline) {
  proto::TimelineStatusResponse response;
  response.set_last_record_lsn(timeline.last_record().value);
  response.set_remote_consistent_lsn(timeline.flushed().value);
  response.set_start_lsn(timeline.first().boundary.value);
  if (const Timeline* ancestor = timeline.ancestor()) {
    response.set_ancestor(ancestor->id().bytes.data(), ancestor->id().bytes.size());
  }
  uint64_t bytes = 0;
  const std::vector<LayerRef> layers = timeline.layers().all();
  for (const LayerRef& layer : layers) bytes += layer->size;
  response.set_layers(layers.size());
  response.set_layer_bytes(bytes);
  response.set_quarantined(timeline.quarantined());
  if (!timeline.log_failure().ok()) {
    const Bytes failure = rpc::encode_status(timeline.log_failure());
    VARVE_CHECK(
        response.mutable_state()->ParseFromArray(failure.data(), static_cast<int>(failure.size())));
  }
  return response;
}

Status add_quarantine(Timeline& timeline, proto::TimelineStatusResponse& response) {
  VARVE_TRY_ASSIGN(const auto notes, timeline.quarantine());
  for (size_t i = notes.size() - std::min(notes.size(), kMostNotes); i < notes.size(); ++i) {
    proto::QuarantineNote* note = response.add_quarantine();
    note->set_lsn(notes[i].lsn.value);
    note->set_text(to_utf8(notes[i].text));
  }
  return Status();
}

Result<proto::TimelineStatusResponse> timeline_status(Pageserver& pageserver, CallContext& context,
                                                      const proto::TimelineStatusRequest& request) {
  VARVE_TRY_ASSIGN(const TenantShardId shard, take_shard(request.shard()));
  VARVE_TRY_ASSIGN(const TimelineId id,
                   take_id<TimelineId>(request.timeline(), "the timeline's id"));
  VARVE_TRY(context.authorize(shard.tenant, id));
  return pageserver.with_timeline(
      shard, std::nullopt, id,
      [&](Tenant&, Timeline& timeline) -> Result<proto::TimelineStatusResponse> {
        VARVE_TRY(timeline.wait_for(Lsn(request.wait_for_lsn())));
        proto::TimelineStatusResponse response = state_of(timeline);
        if (request.with_quarantine()) VARVE_TRY(add_quarantine(timeline, response));
        return response;
      });
}

}  // namespace

void add_timeline_methods(RpcServer& server, Pageserver& pageserver) {
  const auto bind = [&pageserver](auto function) {
    return [&pageserver, function](CallContext& context, const auto& request) {
      return function(pageserver, context, request);
    };
  };
  add_method<proto::AttachTenantRequest, proto::AttachTenantResponse>(server, kAttachTenant,
                                                                      bind(attach));
  add_method<proto::DetachTenantRequest, proto::DetachTenantResponse>(server, kDetachTenant,
                                                                      bind(detach));
  add_method<proto::BranchTimelineRequest, proto::BranchTimelineResponse>(server, kBranchTimeline,
                                                                          bind(branch));
  add_method<proto::DeleteTimelineRequest, proto::DeleteTimelineResponse>(server, kDeleteTimeline,
                                                                          bind(delete_timeline));
  add_method<proto::LsnByTimeRequest, proto::LsnByTimeResponse>(server, kLsnByTime,
                                                                bind(lsn_by_time));
  add_method<proto::TimelineStatusRequest, proto::TimelineStatusResponse>(server, kTimelineStatus,
                                                                          bind(timeline_status));
  server.add_stream(
      kImportTimeline,
      [&pageserver](CallContext& context, RpcPayload payload, RpcStream& stream) -> Status {
        return import(pageserver, context, payload, stream);
      });
}

void add_pageserver_methods(RpcServer& server, Pageserver& pageserver) {
  add_page_methods(server, pageserver);
  add_timeline_methods(server, pageserver);
}

}  // namespace varve::storage
