// The safekeeper's Postgres port: proposers push, standbys, pageservers and pg_receivewal read.
//
// The start-up options name tenant and timeline; without both a connection is refused, because all
// branches of a project share one system identifier and their positions overlap. The token is the
// password.
#pragma once

#include <memory>

#include "consensus/safekeeper/registry.h"
#include "consensus/safekeeper/token_check.h"
#include "wire/pg/server.h"

namespace varve::consensus {

class SafekeeperServer {
 public:
  // All references must outlive it.
  SafekeeperServer(World& world, TimelineRegistry& registry, TokenCheck& tokens,
                   const SafekeeperOptions& options, Scope& parent);
  // Invariant: stop() has returned.
  ~SafekeeperServer();

  // Listens; Exists when the port is taken. Serves in fibers below the scope.
  Status start(const Address& address);
  // Where it listens, with the port that was chosen. Invariant: started.
  const Address& address() const { return listener_->address(); }
  void stop();

 private:
  Status accept_fiber();

  World& world_;
  TimelineRegistry& registry_;
  TokenCheck& tokens_;
  const SafekeeperOptions& options_;
  std::unique_ptr<Listener> listener_;
  Scope scope_;
};

}  // namespace varve::consensus
