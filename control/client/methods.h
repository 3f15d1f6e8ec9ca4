// What control can be asked (proto/control.proto). Numbers are for ever.
#pragma once

#include "wire/rpc.h"

namespace varve::control {

inline constexpr RpcMethod kCreateProject{0x0301, "control.create_project", TokenScope::kAdmin,
                                          Idempotence::kOperationId, WorkClass::kRead};
inline constexpr RpcMethod kListProjects{0x0302, "control.list_projects", TokenScope::kAdmin,
                                         Idempotence::kReadOnly, WorkClass::kRead};
inline constexpr RpcMethod kDeleteProject{0x0303, "control.delete_project", TokenScope::kAdmin,
                                          Idempotence::kOperationId, WorkClass::kRead};
inline constexpr RpcMethod kCreateBranch{0x0311, "control.create_branch", TokenScope::kAdmin,
                                         Idempotence::kOperationId, WorkClass::kRead};
inline constexpr RpcMethod kListBranches{0x0312, "control.list_branches", TokenScope::kAdmin,
                                         Idempotence::kReadOnly, WorkClass::kRead};
inline constexpr RpcMethod kDeleteBranch{0x0313, "control.delete_branch", TokenScope::kAdmin,
                                         Idempotence::kOperationId, WorkClass::kRead};
inline constexpr RpcMethod kCreateEndpoint{0x0321, "control.create_endpoint", TokenScope::kAdmin,
                                           Idempotence::kOperationId, WorkClass::kRead};
inline constexpr RpcMethod kListEndpoints{0x0322, "control.list_endpoints", TokenScope::kAdmin,
                                          Idempotence::kReadOnly, WorkClass::kRead};
inline constexpr RpcMethod kStartEndpoint{0x0323, "control.start_endpoint", TokenScope::kAdmin,
                                          Idempotence::kOperationId, WorkClass::kRead};
inline constexpr RpcMethod kStopEndpoint{0x0324, "control.stop_endpoint", TokenScope::kAdmin,
                                         Idempotence::kOperationId, WorkClass::kRead};
inline constexpr RpcMethod kDeleteEndpoint{0x0325, "control.delete_endpoint", TokenScope::kAdmin,
                                           Idempotence::kOperationId, WorkClass::kRead};

inline constexpr RpcMethod kRegisterPageserver{0x0341, "control.register_pageserver",
                                               TokenScope::kNode, Idempotence::kOperationId,
                                               WorkClass::kRead};
inline constexpr RpcMethod kComputeSpec{0x0342, "control.compute_spec", TokenScope::kTimeline,
                                        Idempotence::kReadOnly, WorkClass::kRead};
// What it changes is what is known of this incarnation; a later report replaces an earlier one.
inline constexpr RpcMethod kReportCompute{0x0343, "control.report_compute", TokenScope::kTimeline,
                                          Idempotence::kOperationId, WorkClass::kRead};

}  // namespace varve::control
