// START_WAL_PUSH: a proposer's conversation with one timeline.
#pragma once

#include <memory>

#include "consensus/safekeeper/timeline.h"
#include "wire/pg/server.h"

namespace varve::consensus {

// Runs in copy mode until the proposer leaves, is refused, or the timeline ends; leaves copy mode
// when that is possible. Suspends.
Status run_push(pg::ServerConnection& connection, const std::shared_ptr<Timeline>& timeline);

}  // namespace varve::consensus
