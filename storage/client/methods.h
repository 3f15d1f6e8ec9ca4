// What a pageserver can be asked (proto/pageserver.proto). Numbers are for ever.
#pragma once

#include "wire/rpc.h"

namespace varve::storage {

inline constexpr RpcMethod kGetPages{0x0201, "pageserver.get_pages", TokenScope::kTimeline,
                                     Idempotence::kReadOnly, WorkClass::kRead};
// A stream: the request opens it, BaseBackupItem come back.
inline constexpr RpcMethod kBaseBackup{0x0202, "pageserver.base_backup", TokenScope::kTimeline,
                                       Idempotence::kReadOnly, WorkClass::kRead};
inline constexpr RpcMethod kAttachTenant{0x0203, "pageserver.attach_tenant", TokenScope::kNode,
                                         Idempotence::kGeneration, WorkClass::kRead};
inline constexpr RpcMethod kDetachTenant{0x0204, "pageserver.detach_tenant", TokenScope::kNode,
                                         Idempotence::kGeneration, WorkClass::kRead};
inline constexpr RpcMethod kBranchTimeline{0x0205, "pageserver.branch_timeline", TokenScope::kNode,
                                           Idempotence::kGeneration, WorkClass::kRead};
// A stream: ImportFile go in, ImportTimelineResponse come back.
inline constexpr RpcMethod kImportTimeline{0x0206, "pageserver.import_timeline", TokenScope::kNode,
                                           Idempotence::kGeneration, WorkClass::kBackground};
inline constexpr RpcMethod kLsnByTime{0x0207, "pageserver.lsn_by_time", TokenScope::kTimeline,
                                      Idempotence::kReadOnly, WorkClass::kRead};
inline constexpr RpcMethod kTimelineStatus{0x0208, "pageserver.timeline_status",
                                           TokenScope::kTimeline, Idempotence::kReadOnly,
                                           WorkClass::kRead};
inline constexpr RpcMethod kDeleteTimeline{0x0209, "pageserver.delete_timeline", TokenScope::kNode,
                                           Idempotence::kGeneration, WorkClass::kBackground};

// Bytes of a file or of the log in one item of an import's stream: some items fit into the smallest
// window that a peer may grant.
inline constexpr size_t kStreamPieceBytes = 256 << 10;
// Pages one get_pages may ask for.
inline constexpr uint32_t kMaxPagesPerCall = 1024;

}  // namespace varve::storage
