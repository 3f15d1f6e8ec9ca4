// What control asks of a pageserver about tenants and timelines. Each function is one call
// (storage/client/methods.h says with which scope) and suspends; errors are the pageserver's, or
// the connection's, after which the call may have taken effect: ask again, all of them may be
// repeated.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/status.h"
#include "base/time.h"
#include "wire/rpc_client.h"

namespace varve::storage {

// The end of a record, and where that record starts.
struct LogPlace {
  Lsn lsn;
  Lsn last_record_start;
};

// Attaches the tenant, or answers again when it is attached under this generation. The timelines
// that serve now; a branch whose ancestor still reads its log comes later. kStale for a generation
// that is older than the attached one.
Result<std::vector<TimelineId>> attach_tenant(RpcClient& client, const TenantShardId& shard,
                                              Generation generation);
// Success too when it is not attached.
Status detach_tenant(RpcClient& client, const TenantShardId& shard, Generation generation);

// Makes `timeline` a branch of `parent` at the record end at or before `lsn`; waits until ingest
// has reached it. Durable when it answers, with the place used. kExists when the id stands for
// something else, kBelowCutoff below what is retained, kStale for another generation than the
// attached one.
Result<LogPlace> branch_timeline(RpcClient& client, const TenantShardId& shard,
                                 Generation generation, const TimelineId& timeline,
                                 const TimelineId& parent, Lsn lsn);

// For ever, whether or not it is there: nobody makes it again. Its objects are gone when it
// answers; after an error it has begun. kRefused while a branch hangs on it.
Status delete_timeline(RpcClient& client, const TenantShardId& shard, Generation generation,
                       const TimelineId& timeline);

struct PlaceInTime {
  LogPlace place;
  bool at_end = false;  // nothing ended later than the time: `place` is the newest there is
};
// Where recovery to `time` (inclusive, Postgres' rule) would stop. kBelowCutoff when that lies
// before the import.
Result<PlaceInTime> lsn_by_time(RpcClient& client, const TenantShardId& shard,
                                const TimelineId& timeline, WallTime time);

struct TimelineState {
  Lsn last_record;        // visible to reads
  Lsn remote_consistent;  // in an index in the object store: the log before may go
  Lsn start;
  std::optional<TimelineId> ancestor;
  uint64_t layers = 0;
  uint64_t layer_bytes = 0;
  uint64_t quarantined = 0;  // records that could not be digested since it was attached
  Status failure;            // why it takes no more log, if so
};
struct QuarantineNote {
  Lsn lsn;  // end of the record that could not be digested
  std::string text;
};
// The newest hundred, oldest first; those of the history that it shares with its ancestors, too.
Result<std::vector<QuarantineNote>> quarantine(RpcClient& client, const TenantShardId& shard,
                                               const TimelineId& timeline);

// Answers when ingest has reached `wait_for` (0: at once).
Result<TimelineState> timeline_status(RpcClient& client, const TenantShardId& shard,
                                      const TimelineId& timeline, Lsn wait_for = Lsn(0));

}  // namespace varve::storage
