// The wire room's metric table.
#pragma once

#include "runtime/telemetry.h"

namespace varve::rpc {

inline constexpr MetricInfo kCallsServed{"varve_rpc_calls_served", MetricKind::kCounter, "count",
                                         "calls answered, errors included"};
inline constexpr MetricInfo kCallsFailed{"varve_rpc_calls_failed", MetricKind::kCounter, "count",
                                         "calls answered with an error"};
inline constexpr MetricInfo kCallTime{"varve_rpc_call_time", MetricKind::kHistogram, "us",
                                      "from a request's arrival to its answer in the send queue"};
inline constexpr MetricInfo kConnections{"varve_rpc_connections", MetricKind::kGauge, "count",
                                         "connections held"};
inline constexpr MetricInfo kRefusedHellos{"varve_rpc_refused_hellos", MetricKind::kCounter,
                                           "count",
                                           "connections refused for their token or version"};

}  // namespace varve::rpc
