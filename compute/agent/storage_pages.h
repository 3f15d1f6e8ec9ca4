// The page service of an agent, over the RPC of a pageserver.
//
// What a call as a whole fails with says nothing of a page (the pageserver is starting, has not
// attached the tenant yet, answered what was not asked): all of that is Unavailable, for the caller
// to try again, over reconnects. Only what the pageserver says of a page by itself can make it
// lost. One refusal is final for all of them: Stale, when a compute of a newer term has asked.
#pragma once

#include <vector>

#include "compute/agent/services.h"
#include "runtime/world.h"
#include "storage/client/page_client.h"
#include "wire/rpc_client.h"

namespace varve::compute {

class StoragePages : public PageService {
 public:
  struct Config {
    TenantTimelineId id;
    Address address;
    NodeId node;  // that must answer
    std::string token;
    RpcIdentity identity;  // ours
  };

  // Begins to connect at once, so that the first question does not wait for it. `world` and
  // `parent` must outlive it.
  StoragePages(World& world, Config config, Scope& parent);
  // Invariant: nobody is inside a call.
  ~StoragePages() override;

  // Asks again, with back-off, while the pageserver can't be reached or does not know the timeline
  // yet; bounded by the fiber's deadline. Stale when storage is beyond `at`.
  Result<Manifest> manifest(Lsn at) override;
  Status trouble() const override { return trouble_; }
  // One attempt. A page beyond the end of its fork is NotFound.
  Result<std::vector<ServedPage>> pages(const PageQuery& query) override;

 private:
  World& world_;
  const Config config_;
  const TenantShardId shard_;
  RpcClient client_;
  Status trouble_;  // why the base backup is asked for again
  Scope scope_;
};

}  // namespace varve::compute
