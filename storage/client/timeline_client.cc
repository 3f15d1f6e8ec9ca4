#include "storage/client/timeline_client.h"

#include "proto/pageserver.pb.h"
#include "storage/client/message.h"
#include "storage/client/methods.h"
#include "wire/rpc_frame.h"
#include "wire/rpc_proto.h"

namespace varve::storage {

Result<std::vector<TimelineId>> attach_tenant(RpcClient& client, const TenantShardId& shard,
                                              Generation generation) {
  proto::AttachTenantRequest request;
  name_shard(request, shard);
  request.set_generation(generation.value);
  VARVE_TRY_ASSIGN(const auto response,
                   call<proto::AttachTenantResponse>(client, kAttachTenant, request));
  std::vector<TimelineId> timelines;
  for (const std::string& bytes : response.timelines()) {
    VARVE_TRY_ASSIGN(const TimelineId id, take_timeline(client, bytes));
    timelines.push_back(id);
  }
  return timelines;
}

Status detach_tenant(RpcClient& client, const TenantShardId& shard, Generation generation) {
  proto::DetachTenantRequest request;
  name_shard(request, shard);
  request.set_generation(generation.value);
  return call<proto::DetachTenantResponse>(client, kDetachTenant, request).status();
}

Result<LogPlace> branch_timeline(RpcClient& client, const TenantShardId& shard,
                                 Generation generation, const TimelineId& timeline,
                                 const TimelineId& parent, Lsn lsn) {
  proto::BranchTimelineRequest request;
  name_timeline(request, shard, timeline);
  request.set_generation(generation.value);
  request.set_parent(parent.bytes.data(), parent.bytes.size());
  request.set_lsn(lsn.value);
  VARVE_TRY_ASSIGN(const auto response,
                   call<proto::BranchTimelineResponse>(client, kBranchTimeline, request));
  return LogPlace{Lsn(response.lsn()), Lsn(response.last_record_start())};
}

Status delete_timeline(RpcClient& client, const TenantShardId& shard, Generation generation,
                       const TimelineId& timeline) {
  proto::DeleteTimelineRequest request;
  name_timeline(request, shard, timeline);
  request.set_generation(generation.value);
  return call<proto::DeleteTimelineResponse>(client, kDeleteTimeline, request).status();
}

Result<PlaceInTime> lsn_by_time(RpcClient& client, const TenantShardId& shard,
                                const TimelineId& timeline, WallTime time) {
  proto::LsnByTimeRequest request;
  name_timeline(request, shard, timeline);
  request.set_time(time.microseconds);
  VARVE_TRY_ASSIGN(const auto response,
                   call<proto::LsnByTimeResponse>(client, kLsnByTime, request));
  return PlaceInTime{{Lsn(response.lsn()), Lsn(response.last_record_start())}, response.at_end()};
}

Result<std::vector<QuarantineNote>> quarantine(RpcClient& client, const TenantShardId& shard,
                                               const TimelineId& timeline) {
  proto::TimelineStatusRequest request;
  name_timeline(request, shard, timeline);
  request.set_with_quarantine(true);
  VARVE_TRY_ASSIGN(const auto response,
                   call<proto::TimelineStatusResponse>(client, kTimelineStatus, request));
  std::vector<QuarantineNote> notes;
  for (const proto::QuarantineNote& note : response.quarantine()) {
    notes.push_back({Lsn(note.lsn()), note.text()});
  }
  return notes;
}

Result<TimelineState> timeline_status(RpcClient& client, const TenantShardId& shard,
                                      const TimelineId& timeline, Lsn wait_for) {
  proto::TimelineStatusRequest request;
  name_timeline(request, shard, timeline);
  request.set_wait_for_lsn(wait_for.value);
  VARVE_TRY_ASSIGN(const auto response,
                   call<proto::TimelineStatusResponse>(client, kTimelineStatus, request));
  TimelineState state;
  state.last_record = Lsn(response.last_record_lsn());
  state.remote_consistent = Lsn(response.remote_consistent_lsn());
  state.start = Lsn(response.start_lsn());
  if (!response.ancestor().empty()) {
    VARVE_TRY_ASSIGN(state.ancestor, take_timeline(client, response.ancestor()));
  }
  state.layers = response.layers();
  state.layer_bytes = response.layer_bytes();
  state.quarantined = response.quarantined();
  if (response.has_state()) {
    std::string bytes;
    VARVE_CHECK(response.state().SerializeToString(&bytes));
    state.failure = rpc::parse_status(Bytes::copy(bytes));
  }
  return state;
}

}  // namespace varve::storage
