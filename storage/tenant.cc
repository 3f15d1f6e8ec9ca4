#include "storage/tenant.h"

#include "base/check.h"

namespace varve::storage {
namespace {

// Each waits for a listing, two reads and a put, one after the other.
constexpr uint64_t kStartedAtATime = 16;
constexpr size_t kListedAtOnce = 1000;

Status was_deleted(const TimelineId& id) {
  return Status(Code::kRefused, "this timeline was deleted").with_object(id.to_string());
}

// A timeline from which a branch is being made must stay meanwhile.
class Branching {
 public:
  Branching(std::multiset<TimelineId>& all, const TimelineId& id) : all_(all), id_(id) {
    all_.insert(id);
  }
  ~Branching() { all_.erase(all_.find(id_)); }
  Branching(const Branching&) = delete;
  Branching& operator=(const Branching&) = delete;

 private:
  std::multiset<TimelineId>& all_;
  const TimelineId id_;
};

}  // namespace

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
  for (auto& [id, scope] : late_) scope->join().ignore("it ends by being cancelled");
  late_.clear();
  for (size_t i = started_.size(); i-- > 0;) (timelines_.at(started_[i]).get()->*stop_one)();
  for (size_t i = started_.size(); i-- > 0;) timelines_.erase(started_[i]);
  started_.clear();
  timelines_.clear();
}

Timeline* Tenant::find(const TimelineId& id) const {
  if (buried(id)) return nullptr;
  const auto found = timelines_.find(id);
  return found == timelines_.end() ? nullptr : found->second.get();
}

std::vector<TimelineId> Tenant::timelines() const {
  std::vector<TimelineId> visible;
  for (const TimelineId& id : started_) {
    if (!buried(id)) visible.push_back(id);
  }
  return visible;
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
  if (buried(id)) return was_deleted(id);  // while its making waited
  Timeline* ancestor = nullptr;
  if (index.ancestor) {
    ancestors_[id] = *index.ancestor;
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

// Runs `work` for each of `count`, some at a time. Cancelled when the caller is.
template <class Work>
Status for_each_of(size_t count, const Work& work) {
  Scope scope("timelines of a tenant");
  Semaphore turns(kStartedAtATime);
  for (size_t i = 0; i < count; ++i) {
    scope.spawn("a timeline of a tenant", [&, i]() -> Status {
      VARVE_TRY(turns.acquire(1, "others are being started"));
      work(i);
      turns.release();
      return Status();
    });
  }
  return scope.join();
}

// Of those whose creation was answered.
Result<std::map<TimelineId, TimelineIndex>> Tenant::load_indexes() {
  VARVE_TRY_ASSIGN(std::vector<TimelineId> ids, list_timelines());
  std::erase_if(ids, [&](const TimelineId& id) {
    if (!buried(id)) return false;
    // Put by an earlier life, and arrived after its removal.
    scope_.spawn("remove what came late",
                 [this, id] { remove_objects(id).ignore("the next life tries again"); });
    return true;
  });
  std::vector<Result<TimelineIndex>> loaded(ids.size(), Status(Code::kCancelled, "not read"));
  VARVE_TRY(for_each_of(ids.size(), [&](size_t i) { loaded[i] = load_index(ids[i]); }));
  std::map<TimelineId, TimelineIndex> indexes;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (loaded[i].ok() && loaded[i]->ancestor) ancestors_[ids[i]] = *loaded[i]->ancestor;
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (loaded[i].ok()) {
      indexes[ids[i]] = std::move(*loaded[i]);
    } else if (loaded[i].is(Code::kCorrupt) || loaded[i].is(Code::kUnsupported)) {
      failures_.push_back({ids[i], loaded[i].status()});
    } else if (!loaded[i].is(Code::kNotFound)) {  // only layers: its creation was never answered
      return loaded[i].status();
    }
  }
  return indexes;
}

// Those whose ancestor runs and has all that they share. Leaves those that may start later.
Result<bool> Tenant::start_ready(std::map<TimelineId, TimelineIndex>& waiting) {
  std::vector<TimelineId> ready;
  for (const auto& [id, index] : waiting) {
    const Timeline* ancestor = index.ancestor ? find(*index.ancestor) : nullptr;
    if (!index.ancestor ||
        (ancestor != nullptr && ancestor->last_record() >= index.start.boundary)) {
      ready.push_back(id);
    }
  }
  std::vector<Status> started(ready.size(), Status(Code::kCancelled, "not started"));
  VARVE_TRY(for_each_of(ready.size(), [&](size_t i) {
    started[i] = start_timeline(ready[i], waiting.at(ready[i]));
  }));
  bool progress = false;
  for (size_t i = 0; i < ready.size(); ++i) {
    if (started[i].is(Code::kCancelled)) return started[i];
    if (!started[i].ok() && policy_of(started[i].code()).retryable) continue;  // later
    if (!started[i].ok()) failures_.push_back({ready[i], std::move(started[i])});
    waiting.erase(ready[i]);
    progress = true;
  }
  return progress;
}

Status Tenant::attach() {
  VARVE_TRY(list_buried());
  VARVE_TRY_ASSIGN(auto waiting, load_indexes());
  for (bool progress = true; progress;) {
    VARVE_TRY_ASSIGN(progress, start_ready(waiting));
  }
  for (auto& [id, index] : waiting) {
    if (index.ancestor && find(*index.ancestor) == nullptr && !waiting.contains(*index.ancestor)) {
      failures_.push_back({id, Status(Code::kUnavailable, "its ancestor can't be attached")});
      continue;
    }
    starting_.insert(id);
    std::unique_ptr<Scope>& scope = late_[id];
    scope = std::make_unique<Scope>("start a timeline later", scope_);
    scope->spawn("start a timeline later", [this, id = id, index = index]() mutable {
      return start_later(id, std::move(index));
    });
  }
  return Status();
}

Result<Tenant::Created> Tenant::import(const TimelineId& id, const ClusterFiles& files) {
  if (buried(id)) return was_deleted(id);
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
  if (buried(id)) return was_deleted(id);
  const Branching in_use(branching_, parent);
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

// --- deletion -----------------------------------------------------------------------------------

Status Tenant::list_buried() {
  const std::string prefix = deletion_marks(id_);
  std::string after;
  for (;;) {
    VARVE_TRY_ASSIGN(const std::vector<ObjectInfo> page,
                     world_.objects.list(prefix, after, kListedAtOnce));
    for (const ObjectInfo& object : page) {
      const auto id = TimelineId::parse(object.key.substr(prefix.size()));
      if (id) buried_[*id] = true;
    }
    if (page.size() < kListedAtOnce) return Status();
    after = page.back().key;
  }
}

Status Tenant::check_unused(const TimelineId& id) const {
  for (const auto& [branch, ancestor] : ancestors_) {
    if (ancestor != id) continue;
    return Status(Code::kRefused, "timeline " + branch.to_string() + " is a branch of it")
        .with_object(id.to_string());
  }
  if (branching_.contains(id)) {
    return Status(Code::kRefused, "a branch of it is being made").with_object(id.to_string());
  }
  if (starting_.contains(id) && !late_.contains(id)) {
    return Status(Code::kUnavailable, "the timeline is being started").with_object(id.to_string());
  }
  return Status();
}

Status Tenant::bury(const TimelineId& id) {
  if (!buried(id)) VARVE_TRY(check_unused(id));
  // Hidden from here on, so that nothing begins to use it while the mark is written.
  if (buried_.try_emplace(id, false).first->second) return Status();
  VARVE_TRY(world_.objects.put(deletion_mark(id_, id), {}).status);
  buried_[id] = true;
  return Status();
}

Status Tenant::remove(const TimelineId& id) {
  VARVE_CHECK_MSG(buried(id), "a timeline is buried before it is removed");
  {
    const Shield finish;
    if (const auto late = late_.find(id); late != late_.end()) {
      late->second->cancel();
      late->second->join().ignore("it ends by being cancelled");
      late_.erase(late);
    }
    if (const auto found = timelines_.find(id); found != timelines_.end()) {
      found->second->stop();
      std::erase(started_, id);
      timelines_.erase(found);
    }
  }
  ancestors_.erase(id);
  std::erase_if(failures_, [&](const Failure& failure) { return failure.timeline == id; });
  return remove_objects(id);
}

// The indexes first: what no index names is nobody's, whenever this is interrupted.
Status Tenant::remove_objects(const TimelineId& id) {
  const std::string prefix = timeline_prefix(id_, id);
  for (const std::string& part : {index_prefix(prefix), prefix}) {
    for (;;) {
      VARVE_TRY_ASSIGN(const std::vector<ObjectInfo> page,
                       world_.objects.list(part, "", kListedAtOnce));
      if (page.empty()) break;
      std::vector<std::string> keys;
      for (const ObjectInfo& object : page) keys.push_back(object.key);
      VARVE_TRY(world_.objects.remove(std::move(keys)).status);
    }
  }
  const Status copies = remove_tree(world_.disk, prefix.substr(0, prefix.size() - 1));
  return copies.is(Code::kNotFound) ? Status() : copies;
}

}  // namespace varve::storage
