// What the supervisor of a machine can be asked (proto/host.proto). Numbers are for ever.
#pragma once

#include "wire/rpc.h"

namespace varve::supervisor {

inline constexpr RpcMethod kStartCompute{0x0501, "supervisor.start_compute", TokenScope::kNode,
                                         Idempotence::kOperationId, WorkClass::kRead};
inline constexpr RpcMethod kStopCompute{0x0502, "supervisor.stop_compute", TokenScope::kNode,
                                        Idempotence::kOperationId, WorkClass::kRead};
// Either of node and admin scope; the handler looks itself, since neither covers the other.
inline constexpr RpcMethod kHostStatus{0x0503, "supervisor.host_status", TokenScope::kTimeline,
                                       Idempotence::kReadOnly, WorkClass::kRead};
inline constexpr RpcMethod kForgetCompute{0x0504, "supervisor.forget_compute", TokenScope::kNode,
                                          Idempotence::kOperationId, WorkClass::kRead};

}  // namespace varve::supervisor
