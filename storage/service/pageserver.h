// The pageserver: tenants that are attached here, and for each of their timelines a receiver of its
// log.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/world.h"
#include "storage/open_memory.h"
#include "storage/service/receiver.h"
#include "storage/tenant.h"

namespace varve::storage {

struct PageserverOptions {
  StorageOptions storage;
  uint64_t block_cache_bytes = 256 << 20;
  uint64_t open_memory_bytes = 256 << 20;

  template <class V>
  static void describe(V&& v) {
    v(&PageserverOptions::block_cache_bytes,
      {"block_cache_bytes", "bytes", 1 << 20, int64_t{64} << 30,
       "decompressed blocks of layers, of all tenants"});
    v(&PageserverOptions::open_memory_bytes,
      {"open_memory_bytes", "bytes", 8 << 20, int64_t{64} << 30,
       "layers of all timelines that are not flushed; a process that dies reads their log again"});
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

  // Attaches, or answers again when this generation is attached; the timelines that serve. A newer
  // generation replaces an older one; kStale for an older one, or one that was detached. Suspends.
  Result<std::vector<TimelineId>> attach(const TenantShardId& id, Generation generation);
  // Attaches each, and answers when all were tried. One that fails is tried again in the background
  // until it is attached, or another generation is asked for; until then it is kUnavailable with
  // the reason. Suspends.
  void attach_all(const std::vector<std::pair<TenantShardId, Generation>>& tenants);
  // kStale when attached under a newer generation; success when it is not attached. What is being
  // served of the tenant ends as kUnavailable. Suspends.
  Status detach(const TenantShardId& id, Generation generation);
  // Deletes a timeline for ever; what is being served of it ends as kNotFound. May be repeated, and
  // has to be after an error: it has then begun. kRefused while a branch hangs on it. Suspends.
  Status delete_timeline(const TenantShardId& id, Generation generation,
                         const TimelineId& timeline);
  // Stops everything. Suspends.
  void stop();
  // The same, but first flushes what was received (Timeline::flush_and_stop).
  void flush_and_stop();

  // Runs work(Tenant&) -> Result<T> or Status, in a fiber of its own; the tenant stays until it has
  // ended. kNotFound when the tenant was never given to this node, kUnavailable while it is not
  // attached yet, kStale when it is not attached under `generation` (if one is given). A timeline
  // that it is `about` (null: none) stays, too; its deletion ends the work. Suspends.
  template <class Work>
  auto with_tenant(const TenantShardId& id, std::optional<Generation> generation,
                   const TimelineId* about, Work work) -> std::invoke_result_t<Work&, Tenant&> {
    VARVE_TRY_ASSIGN(Attached * attached, find(id, generation));
    std::optional<std::invoke_result_t<Work&, Tenant&>> answer;
    VARVE_TRY(serve(*attached, about, [&] { answer.emplace(work(*attached->tenant)); }));
    return std::move(*answer);
  }
  // The same with work(Tenant&, Timeline&) about a timeline that is here.
  template <class Work>
  auto with_timeline(const TenantShardId& id, std::optional<Generation> generation,
                     const TimelineId& about, Work work)
      -> std::invoke_result_t<Work&, Tenant&, Timeline&> {
    return with_tenant(id, generation, &about,
                       [&](Tenant& tenant) -> std::invoke_result_t<Work&, Tenant&, Timeline&> {
                         VARVE_TRY_ASSIGN(Timeline * found, timeline(id, about));
                         return work(tenant, *found);
                       });
  }

  // Good only until the next wait, unless within with_timeline() of it. kNotFound names what is
  // missing; kUnavailable for a branch that waits for its ancestor.
  Result<Timeline*> timeline(const TenantShardId& id, const TimelineId& timeline) const;
  // Begins to receive the log of every timeline of the tenant that has no receiver. Never suspends.
  void receive_logs(Tenant& tenant);

  World& world() { return world_; }

 private:
  struct Attached {
    Generation generation;
    std::unique_ptr<Tenant> tenant;
    std::map<TimelineId, std::unique_ptr<LogReceiver>> receivers;
    std::unique_ptr<Scope> late;      // waits for branches that start later
    std::unique_ptr<Scope> requests;  // what is being served
    // Of it, what is about a timeline, by number: all runs cancel it in the same order.
    std::map<TimelineId, std::map<uint64_t, Scope*>> about;
    Mutex deleting;
    uint64_t served_so_far = 0;
    uint64_t serving = 0;
    WaitQueue served;
  };
  // Where a tenant is, if it is here. Stays.
  struct Place {
    Mutex changing;
    Generation newest;    // asked for
    Generation detached;  // newest that was given up
    std::unique_ptr<Attached> attached;
    Status failure;  // why it is not attached
  };
  Result<Attached*> find(const TenantShardId& id, std::optional<Generation> generation) const;
  Status serve(Attached& attached, const TimelineId* about, const std::function<void()>& work);
  void end_use(Attached& attached, const TimelineId& timeline);
  Status attach_again(const TenantShardId& id, Generation generation);
  Result<std::unique_ptr<Attached>> make_attached(const TenantShardId& id, Generation generation);
  Status receive_late_logs(Tenant& tenant);
  void stop_one(Attached& attached, void (Tenant::*stop_tenant)());
  void stop_all(void (Tenant::*stop_tenant)());

  World& world_;
  ObjectStore& objects_;
  PageserverOptions options_;
  LogSource source_;
  Scope& scope_;
  OpenMemory open_memory_;
  BlockCache cache_;
  std::map<TenantShardId, std::unique_ptr<Place>> places_;
  Scope retries_;
};

}  // namespace varve::storage
