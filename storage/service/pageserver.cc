#include "storage/service/pageserver.h"

#include <algorithm>

namespace varve::storage {
namespace {

// Tenants attached at a time: each waits for a few reads and a put.
constexpr uint64_t kAttachedAtATime = 16;
constexpr Duration kFirstRetry = Duration::millis(100);
constexpr Duration kLongestRetry = Duration::seconds(5);

Status stale(Generation known) {
  return Status(Code::kStale,
                "the tenant was given away under generation " + known.to_string() + " since");
}

}  // namespace

Pageserver::Pageserver(World& world, ObjectStore& objects, const PageserverOptions& options,
                       LogSource source, Scope& scope)
    : world_(world),
      objects_(objects),
      options_(options),
      source_(std::move(source)),
      scope_(scope),
      open_memory_(options.open_memory_bytes),
      cache_(options.block_cache_bytes),
      retries_("attach again", scope) {}

Pageserver::~Pageserver() {
  VARVE_CHECK_MSG(places_.empty(), "a pageserver is stopped before it goes");
}

// --- attaching ----------------------------------------------------------------------------------

Result<std::unique_ptr<Pageserver::Attached>> Pageserver::make_attached(const TenantShardId& id,
                                                                        Generation generation) {
  auto attached = std::make_unique<Attached>();
  attached->generation = generation;
  attached->tenant =
      std::make_unique<Tenant>(StorageWorld{world_.disk, objects_, world_.offload, &open_memory_},
                               id, generation, options_.storage, cache_, scope_);
  if (Status status = attached->tenant->attach(); !status.ok()) {
    const Shield finish;
    attached->tenant->stop();
    return status;
  }
  for (const Tenant::Failure& failure : attached->tenant->failures()) {
    world_.log.warning("timeline_not_attached", failure.status.to_string(),
                       {{"timeline", failure.timeline}});
  }
  attached->requests = std::make_unique<Scope>("requests", scope_);
  attached->late = std::make_unique<Scope>("late branches", scope_);
  return attached;
}

Result<std::vector<TimelineId>> Pageserver::attach(const TenantShardId& id, Generation generation) {
  std::unique_ptr<Place>& entry = places_[id];
  if (entry == nullptr) entry = std::make_unique<Place>();
  Place& place = *entry;
  place.newest = std::max(place.newest, generation);
  MutexGuard guard(place.changing, "the tenant is attached or detached");
  VARVE_TRY(guard.status());
  if (generation < place.newest || generation <= place.detached) return stale(place.newest);
  if (place.attached != nullptr && place.attached->generation != generation) {
    const Shield finish;
    stop_one(*place.attached, &Tenant::stop);
    place.attached.reset();
  }
  if (place.attached == nullptr) {
    Result<std::unique_ptr<Attached>> attached = make_attached(id, generation);
    place.failure = attached.status();
    VARVE_TRY(attached.status());
    place.attached = std::move(*attached);
    Tenant* tenant = place.attached->tenant.get();
    receive_logs(*tenant);
    place.attached->late->spawn("receive logs of late branches",
                                [this, tenant] { return receive_late_logs(*tenant); });
  }
  return place.attached->tenant->timelines();
}

void Pageserver::attach_all(const std::vector<std::pair<TenantShardId, Generation>>& tenants) {
  Scope scope("attach tenants");
  Semaphore turns(kAttachedAtATime);
  for (const auto& [id, generation] : tenants) {
    scope.spawn("attach a tenant", [&, id = id, generation = generation]() -> Status {
      VARVE_TRY(turns.acquire(1, "other tenants are attached"));
      const Status status = attach(id, generation).status();
      turns.release();
      if (status.ok() || status.is(Code::kStale) || status.is(Code::kCancelled)) return Status();
      retries_.spawn("attach again", [=, this] { return attach_again(id, generation); });
      return Status();
    });
  }
  scope.join().ignore("cancelled: the pageserver stops");
}

Status Pageserver::attach_again(const TenantShardId& id, Generation generation) {
  const Place& place = *places_.at(id);
  Duration pause = kFirstRetry;
  while (place.newest == generation && place.detached < generation && place.attached == nullptr) {
    world_.log.warning("tenant_not_attached", place.failure.to_string(),
                       {{"shard", id.to_string()}});
    VARVE_TRY(sleep_for(pause));
    pause = std::min(pause * 2, kLongestRetry);
    attach(id, generation).status().ignore("tried again, or another generation came");
  }
  return Status();
}

Status Pageserver::detach(const TenantShardId& id, Generation generation) {
  const auto found = places_.find(id);
  if (found == places_.end()) return Status();
  Place& place = *found->second;
  MutexGuard guard(place.changing, "the tenant is attached or detached");
  VARVE_TRY(guard.status());
  if (generation < place.newest) return stale(place.newest);
  place.detached = std::max(place.detached, generation);
  place.failure = Status();
  if (place.attached == nullptr) return Status();
  const Shield finish;
  stop_one(*place.attached, &Tenant::stop);
  place.attached.reset();
  return Status();
}

// From the outside in: nothing of the tenant is in use when it stops.
void Pageserver::stop_one(Attached& attached, void (Tenant::*stop_tenant)()) {
  attached.requests->cancel();
  while (attached.serving > 0) {
    attached.served.wait("requests end").ignore("shielded");
  }
  attached.late->cancel();
  attached.late->join().ignore("it ends by being cancelled");
  for (auto& [id, receiver] : attached.receivers) receiver->stop();
  attached.receivers.clear();
  (attached.tenant.get()->*stop_tenant)();
}

void Pageserver::stop() {
  stop_all(&Tenant::stop);
}

void Pageserver::flush_and_stop() {
  stop_all(&Tenant::flush_and_stop);
}

void Pageserver::stop_all(void (Tenant::*stop_tenant)()) {
  const Shield finish;  // what runs below must have ended before the tenants go
  retries_.cancel();
  retries_.join().ignore("it ends by being cancelled");
  for (const auto& [id, place] : places_) {
    if (place->attached != nullptr) stop_one(*place->attached, stop_tenant);
  }
  places_.clear();
}

// --- serving ------------------------------------------------------------------------------------

Result<Pageserver::Attached*> Pageserver::find(const TenantShardId& id,
                                               std::optional<Generation> generation) const {
  const auto found = places_.find(id);
  const Place* place = found == places_.end() ? nullptr : found->second.get();
  if (place != nullptr && place->attached != nullptr) {
    const Generation attached = place->attached->generation;
    if (!place->attached->requests->cancelled()) {
      if (!generation || *generation == attached) return place->attached.get();
      return Status(Code::kStale, "the tenant is attached under generation " +
                                      attached.to_string() + ", not " + generation->to_string());
    }
    return Status(Code::kUnavailable, "the tenant is being detached").with_object(id.to_string());
  }
  if (place != nullptr && place->detached < place->newest) {
    return Status(Code::kUnavailable,
                  "the tenant is not attached yet" +
                      (place->failure.ok() ? std::string() : ": " + place->failure.to_string()))
        .with_object(id.to_string());
  }
  return Status(Code::kNotFound, "the tenant is not attached here").with_object(id.to_string());
}

// The caller may be cancelled, and so may the tenant's requests; either ends the work.
Status Pageserver::serve(Attached& attached, const TimelineId* about,
                         const std::function<void()>& work) {
  ++attached.serving;
  const uint64_t number = ++attached.served_so_far;
  Status status;
  bool detached = false;
  bool deleted = false;
  {
    Scope request("request", *attached.requests);
    if (about != nullptr) attached.about[*about].emplace(number, &request);
    request.spawn("request", [&] { work(); });
    status = request.join();
    detached = attached.requests->cancelled();
    if (about != nullptr) {
      deleted = request.cancelled() && attached.tenant->buried(*about);
      const auto all = attached.about.find(*about);
      all->second.erase(number);
      if (all->second.empty()) attached.about.erase(all);
    }
  }
  --attached.serving;
  attached.served.wake_all();
  if (deleted && !detached) {
    return Status(Code::kNotFound, "the timeline was deleted meanwhile")
        .with_object(about->to_string());
  }
  if (detached) return Status(Code::kUnavailable, "the tenant was detached meanwhile");
  return status;
}

// What is served of it, and the receiver of its log. Invariant: buried, so that nothing new begins.
void Pageserver::end_use(Attached& attached, const TimelineId& timeline) {
  const Shield finish;
  if (const auto all = attached.about.find(timeline); all != attached.about.end()) {
    for (const auto& [number, request] : all->second) request->cancel();
  }
  while (attached.about.contains(timeline)) {
    attached.served.wait("requests about a timeline end").ignore("shielded");
  }
  const auto receiver = attached.receivers.find(timeline);
  if (receiver == attached.receivers.end()) return;
  receiver->second->stop();
  attached.receivers.erase(receiver);
}

Status Pageserver::delete_timeline(const TenantShardId& id, Generation generation,
                                   const TimelineId& timeline) {
  return with_tenant(id, generation, nullptr, [&](Tenant& tenant) -> Status {
    Attached& attached = *places_.at(id)->attached;
    const MutexGuard turn(attached.deleting, "another timeline is deleted");
    VARVE_TRY(turn.status());
    VARVE_TRY(tenant.bury(timeline));
    end_use(attached, timeline);
    return tenant.remove(timeline);
  });
}

Result<Timeline*> Pageserver::timeline(const TenantShardId& id, const TimelineId& timeline) const {
  VARVE_TRY_ASSIGN(const Attached* attached, find(id, std::nullopt));
  const Tenant& tenant = *attached->tenant;
  Timeline* found = tenant.find(timeline);
  if (found != nullptr) return found;
  for (const Tenant::Failure& failure : tenant.failures()) {
    if (failure.timeline == timeline) return failure.status;
  }
  if (tenant.starting(timeline)) {
    return Status(Code::kUnavailable, "the timeline is being started")
        .with_object(timeline.to_string());
  }
  return Status(Code::kNotFound, "no such timeline here").with_object(timeline.to_string());
}

Status Pageserver::receive_late_logs(Tenant& tenant) {
  while (tenant.starting()) {
    VARVE_TRY(tenant.wait_started());
    receive_logs(tenant);
  }
  return Status();
}

void Pageserver::receive_logs(Tenant& tenant) {
  if (source_.safekeepers.empty()) return;
  Attached& attached = *places_.at(tenant.id())->attached;
  for (const TimelineId& id : tenant.timelines()) {
    std::unique_ptr<LogReceiver>& receiver = attached.receivers[id];
    if (receiver != nullptr) continue;
    LogSource source = source_;
    source.credentials.id = {tenant.id().tenant, id};
    receiver = std::make_unique<LogReceiver>(world_, *tenant.find(id), std::move(source), scope_);
  }
}

}  // namespace varve::storage
