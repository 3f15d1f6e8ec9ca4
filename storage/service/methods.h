// The pageserver's methods, put before a server.
#pragma once

#include "storage/service/pageserver.h"
#include "wire/rpc_server.h"

namespace varve::storage {

// Registers everything in storage/client/methods.h. `pageserver` must outlive the server.
void add_pageserver_methods(RpcServer& server, Pageserver& pageserver);

// Internal to this folder.
void add_page_methods(RpcServer& server, Pageserver& pageserver);
void add_timeline_methods(RpcServer& server, Pageserver& pageserver);

}  // namespace varve::storage
