// What the supervisor can be asked (proto/host.proto).
#pragma once

#include "supervisor/supervisor.h"
#include "wire/rpc_server.h"

namespace varve::supervisor {

// Adds the methods of supervisor/client/methods.h. Both must outlive each other's use.
void add_methods(RpcServer& server, Supervisor& supervisor);

}  // namespace varve::supervisor
