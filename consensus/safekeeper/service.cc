#include "consensus/safekeeper/service.h"

#include "consensus/client/ids.h"
#include "consensus/client/methods.h"
#include "consensus/client/rows.h"
#include "proto/safekeeper_service.pb.h"
#include "wire/rpc_frame.h"
#include "wire/rpc_proto.h"

namespace varve::consensus {
namespace {

using CreateRequest = WithAttachments<proto::CreateSafekeeperTimelineRequest>;
using CreateResponse = WithAttachments<proto::CreateSafekeeperTimelineResponse>;

Result<CreateResponse> create(TimelineRegistry& registry, CreateRequest request) {
  const proto::CreateSafekeeperTimelineRequest& message = request.message;
  TimelineSpec spec;
  VARVE_TRY_ASSIGN(spec.id, get_timeline_id(message));
  VARVE_TRY_ASSIGN(spec.membership, get_membership(message.membership()));
  spec.server = {message.postgres_version(), message.system_id(), message.segment_size()};
  spec.start = Lsn(message.start_lsn());
  if (!message.parent().empty()) {
    if (!request.attachments.empty()) {
      return Status(Code::kInvalid, "a timeline has either a parent or a log that comes with it");
    }
    VARVE_TRY_ASSIGN(spec.parent, get_id<TimelineId>(message.parent(), "the parent's id"));
  }
  spec.prefix = concatenate(request.attachments);
  request.attachments.clear();
  VARVE_TRY(registry.create(spec));
  return CreateResponse();
}

void put_status(const TimelineStatus& status, proto::SafekeeperTimelineStatus& row) {
  const AcceptorState& state = status.state;
  put_membership(state.membership, *row.mutable_membership());
  row.set_term(state.term.value);
  put_history(state.history, *row.mutable_history());
  row.set_flush_lsn(status.flush.value);
  row.set_commit_lsn(status.commit.value);
  row.set_backup_lsn(state.backup.value);
  row.set_remote_consistent_lsn(state.remote_consistent.value);
  row.set_local_start_lsn(state.local_start.value);
}

Status put_timeline(TimelineRegistry& registry, const TenantTimelineId& id,
                    proto::SafekeeperStatusResponse& response) {
  const auto timeline = registry.find(id);
  proto::SafekeeperTimelineStatus& row = *response.add_timelines();
  put_timeline_id(id, row);
  if (timeline.ok()) {
    put_status((*timeline)->status(), row);
    return Status();
  }
  return parse_proto(rpc::encode_status(timeline.status()), "a status", *row.mutable_state());
}

Result<proto::SafekeeperStatusResponse> status(TimelineRegistry& registry,
                                               const proto::SafekeeperStatusRequest& request) {
  proto::SafekeeperStatusResponse response;
  if (request.tenant().empty() && request.timeline().empty()) {
    for (const TimelineListing& listing : registry.list()) {
      VARVE_TRY(put_timeline(registry, listing.id, response));
    }
    return response;
  }
  VARVE_TRY_ASSIGN(const TenantTimelineId id, get_timeline_id(request));
  const auto found = registry.wait_loaded(id);
  if (!found.ok() && (found.is(Code::kNotFound) || found.is(Code::kCancelled))) {
    return found.status();
  }
  VARVE_TRY(put_timeline(registry, id, response));
  return response;
}

Result<proto::DeleteSafekeeperTimelineResponse> remove(
    TimelineRegistry& registry, const proto::DeleteSafekeeperTimelineRequest& request) {
  VARVE_TRY_ASSIGN(const TenantTimelineId id, get_timeline_id(request));
  VARVE_TRY(registry.remove(id));
  return proto::DeleteSafekeeperTimelineResponse();
}

}  // namespace

void add_safekeeper_methods(RpcServer& server, TimelineRegistry& registry) {
  add_method_with_attachments<proto::CreateSafekeeperTimelineRequest,
                              proto::CreateSafekeeperTimelineResponse>(
      server, kCreateSafekeeperTimeline, [&registry](CallContext&, CreateRequest request) {
        return create(registry, std::move(request));
      });
  add_method<proto::SafekeeperStatusRequest, proto::SafekeeperStatusResponse>(
      server, kSafekeeperStatus,
      [&registry](CallContext&, const proto::SafekeeperStatusRequest& request) {
        return status(registry, request);
      });
  add_method<proto::DeleteSafekeeperTimelineRequest, proto::DeleteSafekeeperTimelineResponse>(
      server, kDeleteSafekeeperTimeline,
      [&registry](CallContext&, const proto::DeleteSafekeeperTimelineRequest& request) {
        return remove(registry, request);
      });
}

}  // namespace varve::consensus
