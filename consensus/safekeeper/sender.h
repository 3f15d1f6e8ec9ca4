// START_REPLICATION: the log as a stream, to standbys, pageservers, pg_receivewal and other
// members.
#pragma once

#include <memory>
#include <optional>

#include "consensus/safekeeper/timeline.h"
#include "wire/pg/server.h"

namespace varve::consensus {

struct SenderRequest {
  Lsn start;
  // Without: never a byte beyond what is committed. With: up to the durable end, and only while the
  // acceptor's term is this one.
  std::optional<Term> term;
};

// Checks the request, enters copy mode and streams until the reader leaves, the term changes or the
// timeline ends. Suspends.
Status run_sender(World& world, const SafekeeperOptions& options, pg::ServerConnection& connection,
                  const std::shared_ptr<Timeline>& timeline, const SenderRequest& request);

}  // namespace varve::consensus
