// What control asks of a safekeeper, as calls with our types.
#pragma once

#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/status.h"
#include "consensus/core/membership.h"
#include "consensus/core/message.h"
#include "wire/rpc_client.h"

namespace varve::consensus {

struct NewTimeline {
  TenantTimelineId id;
  Membership membership;
  ServerInfo server;
  Lsn start;
  // A branch: the log in front of `start` is this timeline's, where the safekeeper has it.
  std::optional<TimelineId> parent;
  // Without a parent: the log from its segment's beginning to `start`, or nothing.
  std::vector<Bytes> prefix;
};

struct TimelineReport {
  TenantTimelineId id;
  Status state;  // success: serves, and what follows is set
  Membership membership;
  Term term;
  TermHistory history;
  Lsn flush;
  Lsn commit;
  Lsn backup;
  Lsn remote_consistent;
  Lsn local_start;
};

// Durable on this safekeeper after success, and open to proposers. Success when it exists with the
// same start and server; Exists when it is another, Refused when it was deleted here. All suspend.
Status create_timeline(RpcClient& safekeeper, const NewTimeline& timeline);
// NotFound when it is not there.
Result<TimelineReport> timeline_report(RpcClient& safekeeper, const TenantTimelineId& id);
// All that are there.
Result<std::vector<TimelineReport>> timeline_reports(RpcClient& safekeeper);
// For ever: the id is never taken again there.
Status delete_timeline(RpcClient& safekeeper, const TenantTimelineId& id);

}  // namespace varve::consensus
