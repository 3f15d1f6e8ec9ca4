// The pageserver: tenants that are attached here, and for each of their timelines a receiver of its
// log.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/world.h"
#include "storage/service/receiver.h"
#include "storage/tenant.h"

namespace varve::storage {

struct PageserverOptions {
  StorageOptions storage;
  uint64_t block_cache_bytes = 256 << 20;

  template <class V>
  static void describe(V&& v) {
    v(&PageserverOptions::block_cache_bytes,
      {"block_cache_bytes", "bytes", 1 << 20, int64_t{64} << 30,
       "decompressed blocks of layers, for each tenant"});
  }
};

class Pageserver {
 public:
  // `world` and `objects` must outlive this. `source` says where logs come from; its
  // `credentials.id` is set for each timeline.
  Pageserver(World& world, ObjectStore& objects, const PageserverOptions& options, LogSource source,
             Scope& scope);
  // Invariant: stopped.
  ~Pageserver();

  // Attaches, or answers again when this generation is attached. A newer generation replaces an
  // older one; kStale for an older one. Suspends.
  Result<Tenant*> attach(const TenantShardId& id, Generation generation);
  // Attaches each, and answers when all were tried. One that fails is tried again in the background
  // until it is attached, or attached under a newer generation; until then it is kUnavailable with
  // the reason. Suspends.
  void attach_all(const std::vector<std::pair<TenantShardId, Generation>>& tenants);
  // kStale when attached under a newer generation; success when it is not attached. Suspends.
  Status detach(const TenantShardId& id, Generation generation);
  // Stops everything. Suspends.
  void stop();
  // The same, but first flushes what was received (Timeline::flush_and_stop).
  void flush_and_stop();

  // kNotFound when it was never given to this node, kUnavailable while it is not attached yet.
  Result<Tenant*> tenant(const TenantShardId& id) const;
  // The tenant under exactly this generation; kStale otherwise.
  Result<Tenant*> tenant(const TenantShardId& id, Generation generation) const;
  // kNotFound names what is missing; kUnavailable for a branch that waits for its ancestor.
  Result<Timeline*> timeline(const TenantShardId& id, const TimelineId& timeline) const;
  // Begins to receive the log of every timeline of the tenant that has no receiver. Never suspends.
  void receive_logs(Tenant& tenant);

  World& world() { return world_; }

 private:
  struct Attached {
    Generation generation;
    std::unique_ptr<Tenant> tenant;
    std::map<TimelineId, std::unique_ptr<LogReceiver>> receivers;
    std::unique_ptr<Scope> late;  // waits for branches that start later
  };
  Status receive_late_logs(Tenant& tenant);
  Status attach_again(const TenantShardId& id, Generation generation);
  void stop_one(Attached& attached, void (Tenant::*stop_tenant)());
  void stop_all(void (Tenant::*stop_tenant)());

  World& world_;
  ObjectStore& objects_;
  PageserverOptions options_;
  LogSource source_;
  Scope& scope_;
  Mutex changing_;
  std::map<TenantShardId, std::unique_ptr<Attached>> tenants_;
  std::map<TenantShardId, Status> failing_;  // those of attach_all that are tried again
  Scope retries_;
};

}  // namespace varve::storage
