#include "storage/tenant.h"

#include "base/check.h"

namespace varve::storage {

Tenant::Tenant(const StorageWorld& world, const TenantShardId& id, Generation generation,
               const StorageOptions& options, BlockCache& cache, Scope& scope)
    : world_(world),
      id_(id),
      generation_(generation),
      options_(options),
      cache_(cache),
      scope_("tenant", scope) {}

Tenant::~Tenant() {
  VARVE_CHECK_MSG(timelines_.empty(), "a tenant is stopped before it goes");
}

void Tenant::stop() {
  stop_timelines(&Timeline::stop);
}

void Tenant::flush_and_stop() {
  stop_timelines(&Timeline::flush_and_stop);
}

void Tenant::stop_timelines(void (Timeline::*stop_one)()) {
  scope_.cancel();
  scope_.join().ignore("background work ends by being cancelled");
  for (size_t i = started_.size(); i-- > 0;) (timelines_.at(started_[i]).get()->*stop_one)();
  for (size_t i = started_.size(); i-- > 0;) timelines_.erase(started_[i]);
  started_.clear();
  timelines_.clear();
}

Timeline* Tenant::find(const TimelineId& id) const {
  const auto found = timelines_.find(id);
  return found == timelines_.end() ? nullptr : found->second.get();
}

std::vector<TimelineId> Tenant::timelines() const {
  return started_;
}

// One listing of one name for each timeline: after any name of it, the next is asked for behind all
// of them.
Result<std::vector<TimelineId>> Tenant::list_timelines() {
  const std::string prefix = "tenants/" + id_.to_string() + "/timelines/";
  std::vector<TimelineId> ids;
  std::string after;
  for (;;) {
    VARVE_TRY_ASSIGN(const std::vector<ObjectInfo> objects, world_.objects.list(prefix, after, 1));
    if (objects.empty()) return ids;
    const std::string name = objects[0].key.substr(
        prefix.size(), objects[0].key.find('/', prefix.size()) - prefix.size());
    if (const std::optional<TimelineId> id = TimelineId::parse(name)) ids.push_back(*id);
    after = prefix + name + "0";  // '0' follows '/'
  }
}

Result<TimelineIndex> Tenant::load_index(const TimelineId& id) {
  VARVE_TRY_ASSIGN(const std::optional<FoundIndex> found,
                   find_index(world_.objects, timeline_prefix(id_, id), generation_));
  if (!found) return Status(Code::kNotFound, "no index").with_object(id.to_string());
  VARVE_TRY_ASSIGN(const Bytes bytes, world_.objects.get(found->key));
  VARVE_TRY_ASSIGN(TimelineIndex index, decode_index(id_.tenant, id, bytes, found->key));
  if (wal::version_of_major(index.cluster.postgres_major) == nullptr) {
    return Status(Code::kUnsupported, "the timeline is of an unknown major version of Postgres")
        .with_object(found->key);
  }
  return index;
}

Status Tenant::start_timeline(const TimelineId& id, TimelineIndex index) {
  Timeline* ancestor = nullptr;
  if (index.ancestor) {
    ancestor = find(*index.ancestor);
    if (ancestor == nullptr) {
      return Status(Code::kUnavailable, "its ancestor is not attached")
          .with_object("timeline " + id.to_string());
    }
  }
  auto timeline = std::make_unique<Timeline>(world_, id_, id, std::move(index), ancestor,
                                             generation_, numbers_[id], cache_, options_, scope_);
  starting_.insert(id);
  const Status status = timeline->start();
  starting_.erase(id);
  if (!status.ok()) {
    timeline->stop();
    started_more_.wake_all();
    return status;
  }
  timelines_[id] = std::move(timeline);
  started_.push_back(id);
  started_more_.wake_all();
  return Status();
}

Status Tenant::start_when_ready(const TimelineId& id, const TimelineIndex& index) {
  if (index.ancestor) {
    while (find(*index.ancestor) == nullptr) {
      VARVE_TRY(started_more_.wait("the ancestor of a branch is attached"));
    }
    VARVE_TRY(find(*index.ancestor)->wait_for(index.start.boundary));
  }
  return start_timeline(id, index);
}

// In the background, until it is started or can't ever be.
Status Tenant::start_later(const TimelineId& id, TimelineIndex index) {
  Duration pause = Duration::millis(10);
  Status status = start_when_ready(id, index);
  while (!status.ok() && policy_of(status.code()).retryable) {
    starting_.insert(id);
    status = sleep_for(pause);
    pause = std::min(pause * 2, Duration::seconds(1));
    if (status.ok()) status = start_when_ready(id, index);
  }
  if (!status.ok() && !status.is(Code::kCancelled)) failures_.push_back({id, status});
  starting_.erase(id);
  started_more_.wake_all();
  return status;
}

Status Tenant::attach() {
  VARVE_TRY_ASSIGN(const std::vector<TimelineId> ids, list_timelines());
  std::map<TimelineId, TimelineIndex> waiting;
  for (const TimelineId& id : ids) {
    Result<TimelineIndex> index = load_index(id);
    if (index.ok()) {
      waiting[id] = std::move(*index);
    } else if (index.is(Code::kCorrupt) || index.is(Code::kUnsupported)) {
      failures_.push_back({id, index.status()});
    } else if (!index.is(Code::kNotFound)) {  // only layers: its creation was never answered
      return index.status();
    }
  }
  // Rounds, each of which starts those whose ancestor runs and has all that they share.
  for (bool progress = true; progress;) {
    progress = false;
    for (auto at = waiting.begin(); at != waiting.end();) {
      const auto& [id, index] = *at;
      const Timeline* ancestor = index.ancestor ? find(*index.ancestor) : nullptr;
      const bool ready = !index.ancestor ||
                         (ancestor != nullptr && ancestor->last_record() >= index.start.boundary);
      if (!ready) {
        ++at;
        continue;
      }
      Status status = start_timeline(id, index);
      if (status.is(Code::kCancelled)) return status;
      if (!status.ok() && policy_of(status.code()).retryable) {
        ++at;  // later
        continue;
      }
      if (!status.ok()) failures_.push_back({id, std::move(status)});
      at = waiting.erase(at);
      progress = true;
    }
  }
  for (auto& [id, index] : waiting) {
    if (index.ancestor && find(*index.ancestor) == nullptr && !waiting.contains(*index.ancestor)) {
      failures_.push_back({id, Status(Code::kUnavailable, "its ancestor can't be attached")});
      continue;
    }
    starting_.insert(id);
    scope_.spawn("start a timeline later", [this, id = id, index = index]() mutable {
      return start_later(id, std::move(index));
    });
  }
  return Status();
}

Result<Tenant::Created> Tenant::import(const TimelineId& id, const ClusterFiles& files) {
  if (find(id) != nullptr || starting_.contains(id)) {
    return Status(Code::kExists, "the timeline exists").with_object(id.to_string());
  }
  const Result<TimelineIndex> existing = load_index(id);
  if (existing.ok()) {
    return Status(Code::kExists, "the timeline exists").with_object(id.to_string());
  }
  if (!existing.is(Code::kNotFound)) return existing.status();
  Scope scope("import a cluster", scope_);
  LayerStore store(world_, id_, id, cache_, scope);
  const LayerSink sink = [&](LayerDescriptor descriptor,
                             const std::vector<Bytes>& content) -> Result<LayerRef> {
    descriptor.generation = generation_;
    descriptor.number = numbers_[id].layer++;
    const auto layer = std::make_shared<const LayerDescriptor>(std::move(descriptor));
    VARVE_TRY(store.add(layer, content));
    return LayerRef(layer);
  };
  const ImportOptions options{options_.format, options_.compaction.target_layer_bytes};
  VARVE_TRY_ASSIGN(ImportedCluster imported, import_cluster(files, id_.tenant, id, options, sink));
  VARVE_TRY(start_timeline(id, std::move(imported.index)));
  return Created{find(id), std::move(imported.log_prefix)};
}

Result<Timeline*> Tenant::branch(const TimelineId& id, const TimelineId& parent, Lsn lsn) {
  Timeline* from = find(parent);
  if (from == nullptr) {
    return Status(Code::kNotFound, "no such timeline").with_object(parent.to_string());
  }
  VARVE_TRY_ASSIGN(const LogPosition position, from->position_at(lsn));
  // The timeline that owns the place: a branch at or below a branch point hangs on the ancestor.
  while (from->ancestor() != nullptr && position.boundary <= from->first().boundary) {
    from = from->ancestor();
  }
  TimelineIndex index;
  index.cluster = from->cluster();
  index.start = position;
  index.flushed = position;
  index.ancestor = from->id();
  // The same call may be under way, or the branch waits for its ancestor.
  while (starting_.contains(id)) VARVE_TRY(started_more_.wait("a branch is being started"));
  if (const Timeline* known = find(id)) {
    if (known->ancestor() == from && known->first() == position) return find(id);
    return Status(Code::kExists, "the timeline exists and is another branch")
        .with_object(id.to_string());
  }
  VARVE_TRY(start_timeline(id, std::move(index)));
  return find(id);
}

}  // namespace varve::storage
