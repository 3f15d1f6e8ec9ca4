#include "storage/service/pageserver.h"

namespace varve::storage {

Pageserver::Pageserver(World& world, ObjectStore& objects, const PageserverOptions& options,
                       LogSource source, Scope& scope)
    : world_(world),
      objects_(objects),
      options_(options),
      source_(std::move(source)),
      scope_(scope),
      retries_("attach again", scope) {}

Pageserver::~Pageserver() {
  VARVE_CHECK_MSG(tenants_.empty(), "a pageserver is stopped before it goes");
}

void Pageserver::stop_one(Attached& attached, void (Tenant::*stop_tenant)()) {
  attached.late->cancel();
  attached.late->join().ignore("it ends by being cancelled");
  for (auto& [id, receiver] : attached.receivers) receiver->stop();
  attached.receivers.clear();
  (attached.tenant.get()->*stop_tenant)();
}

Result<Tenant*> Pageserver::attach(const TenantShardId& id, Generation generation) {
  MutexGuard guard(changing_, "another tenant is attached or detached");
  VARVE_TRY(guard.status());
  if (const auto found = tenants_.find(id); found != tenants_.end()) {
    if (found->second->generation == generation) return found->second->tenant.get();
    if (generation < found->second->generation) {
      return Status(Code::kStale, "the tenant is attached under generation " +
                                      found->second->generation.to_string());
    }
    const std::unique_ptr<Attached> old = std::move(found->second);
    tenants_.erase(found);
    stop_one(*old, &Tenant::stop);
  }
  auto attached = std::make_unique<Attached>();
  attached->generation = generation;
  attached->tenant =
      std::make_unique<Tenant>(StorageWorld{world_.disk, objects_, world_.offload}, id, generation,
                               options_.storage, options_.block_cache_bytes, scope_);
  if (Status status = attached->tenant->attach(); !status.ok()) {
    attached->tenant->stop();
    return status;
  }
  for (const Tenant::Failure& failure : attached->tenant->failures()) {
    world_.log.warning("timeline_not_attached", failure.status.to_string());
  }
  Tenant* tenant = attached->tenant.get();
  attached->late = std::make_unique<Scope>("late branches", scope_);
  Scope& late = *attached->late;
  tenants_[id] = std::move(attached);
  failing_.erase(id);
  receive_logs(*tenant);
  late.spawn("receive logs of late branches",
             [this, tenant] { return receive_late_logs(*tenant); });
  return tenant;
}

void Pageserver::attach_all(const std::vector<std::pair<TenantShardId, Generation>>& tenants) {
  for (const auto& [id, generation] : tenants) {
    const Result<Tenant*> attached = attach(id, generation);
    if (attached.ok() || attached.is(Code::kStale) || attached.is(Code::kCancelled)) continue;
    failing_[id] = attached.status();
    retries_.spawn("attach again", [this, id = id, generation = generation] {
      return attach_again(id, generation);
    });
  }
}

Status Pageserver::attach_again(const TenantShardId& id, Generation generation) {
  Duration pause = Duration::millis(100);
  while (failing_.contains(id)) {
    world_.log.warning("tenant_not_attached", failing_.at(id).to_string(),
                       {{"shard", id.to_string()}});
    VARVE_TRY(sleep_for(pause));
    pause = std::min(pause * 2, Duration::seconds(5));
    const Result<Tenant*> attached = attach(id, generation);
    if (attached.is(Code::kStale)) return Status();
    if (!attached.ok() && failing_.contains(id)) failing_[id] = attached.status();
  }
  return Status();
}

Status Pageserver::detach(const TenantShardId& id, Generation generation) {
  MutexGuard guard(changing_, "another tenant is attached or detached");
  VARVE_TRY(guard.status());
  const auto found = tenants_.find(id);
  if (found == tenants_.end()) {
    failing_.erase(id);
    return Status();
  }
  if (generation < found->second->generation) {
    return Status(Code::kStale, "the tenant is attached under a newer generation");
  }
  const std::unique_ptr<Attached> old = std::move(found->second);
  tenants_.erase(found);
  stop_one(*old, &Tenant::stop);
  return Status();
}

void Pageserver::stop() {
  stop_all(&Tenant::stop);
}

void Pageserver::flush_and_stop() {
  stop_all(&Tenant::flush_and_stop);
}

void Pageserver::stop_all(void (Tenant::*stop_tenant)()) {
  const Shield shield;  // what runs below must have ended before the tenants go
  retries_.cancel();
  retries_.join().ignore("it ends by being cancelled");
  const auto tenants = std::exchange(tenants_, {});
  for (const auto& [id, attached] : tenants) stop_one(*attached, stop_tenant);
}

Result<Tenant*> Pageserver::tenant(const TenantShardId& id) const {
  const auto found = tenants_.find(id);
  if (found == tenants_.end()) {
    if (const auto failing = failing_.find(id); failing != failing_.end()) {
      return Status(Code::kUnavailable,
                    "the tenant is not attached yet: " + failing->second.to_string())
          .with_object(id.to_string());
    }
    return Status(Code::kNotFound, "the tenant is not attached here").with_object(id.to_string());
  }
  return found->second->tenant.get();
}

Result<Tenant*> Pageserver::tenant(const TenantShardId& id, Generation generation) const {
  VARVE_TRY_ASSIGN(Tenant * tenant, this->tenant(id));
  const Generation attached = tenants_.at(id)->generation;
  if (attached != generation) {
    return Status(Code::kStale, "the tenant is attached under generation " + attached.to_string() +
                                    ", not " + generation.to_string());
  }
  return tenant;
}

Result<Timeline*> Pageserver::timeline(const TenantShardId& id, const TimelineId& timeline) const {
  VARVE_TRY_ASSIGN(const Tenant* tenant, this->tenant(id));
  Timeline* found = tenant->find(timeline);
  if (found != nullptr) return found;
  for (const Tenant::Failure& failure : tenant->failures()) {
    if (failure.timeline == timeline) return failure.status;
  }
  if (tenant->starting(timeline)) {
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
  const auto found = tenants_.find(tenant.id());
  VARVE_CHECK(found != tenants_.end());
  for (const TimelineId& id : tenant.timelines()) {
    std::unique_ptr<LogReceiver>& receiver = found->second->receivers[id];
    if (receiver != nullptr) continue;
    LogSource source = source_;
    source.credentials.id = {tenant.id().tenant, id};
    receiver = std::make_unique<LogReceiver>(world_, *tenant.find(id), std::move(source), scope_);
  }
}

}  // namespace varve::storage
