// The agent's metric table.
#pragma once

#include "runtime/telemetry.h"

namespace varve::compute {

inline constexpr MetricInfo kIngestLag{"varve_compute_ingest_lag", MetricKind::kGauge, "bytes",
                                       "how far storage is behind the quorum, when last looked"};
inline constexpr MetricInfo kCommitsHeld{"varve_compute_commits_held", MetricKind::kCounter, "us",
                                         "time for which commits waited for storage to catch up"};

}  // namespace varve::compute
