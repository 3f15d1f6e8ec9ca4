// The pageserver's two calls for computes, over the naive storage.
#pragma once

#include "runtime/world.h"
#include "tests/compute/storage_model.h"
#include "wire/rpc_server.h"

namespace varve::test {

// Registers them. `world` and `storage` must outlive the server. Now and then an answer fails its
// checksum or the call fails, as `world` draws.
void add_model_page_methods(World& world, StorageModel& storage, RpcServer& server);

}  // namespace varve::test
