// What control asks of a safekeeper beside its Postgres port: proto/safekeeper_service.proto with
// the methods of consensus/client/methods.h.
#pragma once

#include "consensus/safekeeper/registry.h"
#include "wire/rpc_server.h"

namespace varve::consensus {

// Before server.serve(); `registry` must outlive the server.
void add_safekeeper_methods(RpcServer& server, TimelineRegistry& registry);

}  // namespace varve::consensus
