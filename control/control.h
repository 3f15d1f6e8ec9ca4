// The control process, put together: what it works with, in; until its end.
#pragma once

#include <string>

#include "control/cluster_source.h"
#include "control/elector.h"
#include "control/fleet.h"
#include "control/options.h"
#include "control/store/store.h"
#include "runtime/budget.h"
#include "runtime/world.h"
#include "wire/rpc.h"
#include "wire/rpc_server.h"
#include "wire/token.h"

namespace varve::control {

struct ControlParts {
  World& world;
  Store& store;
  ClusterSource& clusters;
  const Fleet& fleet;
  const TokenSigner& signer;      // of computes' tokens
  const TokenVerifier& verifier;  // of callers'
  std::string token;              // our own, node scope
  RpcIdentity identity;
  Budget& memory;
  const ControlOptions& options;
  Elector* elector = nullptr;  // null: elections by the proposer library
  RpcServerOptions rpc = {};
};

// Takes the store over, serves control's methods and does the work that is open, until the running
// fiber's scope is cancelled or the store is lost; returns why, with everything ended. Suspends.
Status run_control(const ControlParts& parts, Listener& listener);

}  // namespace varve::control
