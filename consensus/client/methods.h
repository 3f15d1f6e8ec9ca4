// What a safekeeper can be asked beside its WAL protocol (proto/safekeeper_service.proto). Numbers
// are for ever.
#pragma once

#include "wire/rpc.h"

namespace varve::consensus {

inline constexpr RpcMethod kCreateSafekeeperTimeline{0x0101, "safekeeper.create_timeline",
                                                     TokenScope::kNode, Idempotence::kConfiguration,
                                                     WorkClass::kRead};
inline constexpr RpcMethod kSafekeeperStatus{0x0102, "safekeeper.status", TokenScope::kNode,
                                             Idempotence::kReadOnly, WorkClass::kRead};
inline constexpr RpcMethod kDeleteSafekeeperTimeline{0x0103, "safekeeper.delete_timeline",
                                                     TokenScope::kNode, Idempotence::kConfiguration,
                                                     WorkClass::kRead};

}  // namespace varve::consensus
