#include "consensus/client/safekeeper_client.h"

#include "consensus/client/ids.h"
#include "consensus/client/methods.h"
#include "consensus/client/rows.h"
#include "proto/safekeeper_service.pb.h"
#include "wire/rpc_frame.h"
#include "wire/rpc_proto.h"

namespace varve::consensus {
namespace {

Result<TimelineReport> get_report(const proto::SafekeeperTimelineStatus& row) {
  TimelineReport report;
  VARVE_TRY_ASSIGN(report.id, get_timeline_id(row));
  if (row.has_state()) {
    report.state = rpc::parse_status(serialize_proto(row.state()));
    return report;
  }
  VARVE_TRY_ASSIGN(report.membership, get_membership(row.membership()));
  report.term = Term(row.term());
  VARVE_TRY_ASSIGN(report.history, get_history(row.history()));
  report.flush = Lsn(row.flush_lsn());
  report.commit = Lsn(row.commit_lsn());
  report.backup = Lsn(row.backup_lsn());
  report.remote_consistent = Lsn(row.remote_consistent_lsn());
  report.local_start = Lsn(row.local_start_lsn());
  return report;
}

Result<std::vector<TimelineReport>> reports(RpcClient& safekeeper,
                                            const proto::SafekeeperStatusRequest& request) {
  VARVE_TRY_ASSIGN(const auto response,
                   call<proto::SafekeeperStatusResponse>(safekeeper, kSafekeeperStatus, request));
  std::vector<TimelineReport> result;
  for (const auto& row : response.timelines()) {
    VARVE_TRY_ASSIGN(TimelineReport report, get_report(row));
    result.push_back(std::move(report));
  }
  return result;
}

}  // namespace

Status create_timeline(RpcClient& safekeeper, const NewTimeline& timeline) {
  VARVE_CHECK(!timeline.parent || timeline.prefix.empty());
  proto::CreateSafekeeperTimelineRequest request;
  put_timeline_id(timeline.id, request);
  put_membership(timeline.membership, *request.mutable_membership());
  request.set_postgres_version(timeline.server.postgres_version);
  request.set_system_id(timeline.server.system_id);
  request.set_segment_size(timeline.server.segment_size);
  request.set_start_lsn(timeline.start.value);
  if (timeline.parent) {
    request.set_parent(timeline.parent->bytes.data(), timeline.parent->bytes.size());
  }
  const auto response = call_with_attachments<proto::CreateSafekeeperTimelineResponse>(
      safekeeper, kCreateSafekeeperTimeline, request, timeline.prefix);
  return response.status();
}

Result<TimelineReport> timeline_report(RpcClient& safekeeper, const TenantTimelineId& id) {
  proto::SafekeeperStatusRequest request;
  put_timeline_id(id, request);
  VARVE_TRY_ASSIGN(auto all, reports(safekeeper, request));
  if (all.size() != 1 || all.front().id != id) {
    return Status(Code::kInternal, "a safekeeper answered about another timeline");
  }
  return std::move(all.front());
}

Result<std::vector<TimelineReport>> timeline_reports(RpcClient& safekeeper) {
  return reports(safekeeper, proto::SafekeeperStatusRequest());
}

Status delete_timeline(RpcClient& safekeeper, const TenantTimelineId& id) {
  proto::DeleteSafekeeperTimelineRequest request;
  put_timeline_id(id, request);
  return call<proto::DeleteSafekeeperTimelineResponse>(safekeeper, kDeleteSafekeeperTimeline,
                                                       request)
      .status();
}

}  // namespace varve::consensus
