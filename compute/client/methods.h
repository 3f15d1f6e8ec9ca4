// What a running compute can be asked (proto/compute.proto). Numbers are for ever.
#pragma once

#include "wire/rpc.h"

namespace varve::compute {

inline constexpr RpcMethod kSettle{0x0401, "compute.settle", TokenScope::kTimeline,
                                   Idempotence::kReadOnly, WorkClass::kCommit};

}  // namespace varve::compute
