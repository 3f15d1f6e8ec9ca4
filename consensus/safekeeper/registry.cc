#include "consensus/safekeeper/registry.h"

#include "consensus/safekeeper/control_file.h"

namespace varve::consensus {
namespace {

constexpr const char* kTimelines = "timelines";
constexpr const char* kTombstones = "tombstones";
constexpr const char* kTemporary = "tmp";

Status same_timeline(const AcceptorState& state, const TimelineSpec& spec) {
  if (state.timeline_start == spec.start && state.server.major() == spec.server.major() &&
      state.server.segment_size == spec.server.segment_size) {
    return Status();
  }
  return Status(Code::kExists, "a timeline of this id exists with another start or server")
      .with_object(spec.id.to_string())
      .with_lsn(state.timeline_start);
}

}  // namespace

TimelineRegistry::TimelineRegistry(World& world, NodeId node, const SafekeeperOptions& options,
                                   Scope& parent, ProtocolObserver* observer)
    : world_(world),
      node_(node),
      options_(options),
      observer_(observer),
      scope_("timelines", parent) {}

TimelineRegistry::~TimelineRegistry() {
  VARVE_CHECK_MSG(scope_.live() == 0, "timelines must be stopped first");
}

std::string TimelineRegistry::directory_of(const TenantTimelineId& id) const {
  return std::string(kTimelines) + "/" + id.to_string();
}

std::string TimelineRegistry::tombstone_of(const TenantTimelineId& id) const {
  return std::string(kTombstones) + "/" + id.tenant.to_string() + "-" + id.timeline.to_string();
}

Status TimelineRegistry::start() {
  // A killed process leaves bytes in the page cache that a power cut would still take: before a
  // scan trusts them they are made durable.
  VARVE_TRY(world_.disk.sync_all());
  VARVE_TRY(remove_tree(world_.disk, kTemporary));
  for (const char* directory : {kTimelines, kTombstones, kTemporary}) {
    VARVE_TRY(world_.disk.make_directory(directory));
  }
  VARVE_TRY(world_.disk.sync_directory(""));
  VARVE_TRY_ASSIGN(const auto tombstones, world_.disk.list(kTombstones));
  for (const DirectoryEntry& entry : tombstones) {
    if (entry.name.size() != 65) continue;
    const auto tenant = TenantId::parse(entry.name.substr(0, 32));
    const auto timeline = TimelineId::parse(entry.name.substr(33));
    if (!tenant || !timeline) continue;
    VARVE_TRY(remove_tree(world_.disk, directory_of({*tenant, *timeline})));
  }
  std::vector<TenantTimelineId> found;
  VARVE_TRY(find_timelines(found));
  for (const TenantTimelineId& id : found) serve(id);
  return Status();
}

Status TimelineRegistry::find_timelines(std::vector<TenantTimelineId>& found) {
  VARVE_TRY_ASSIGN(const auto tenants, world_.disk.list(kTimelines));
  for (const DirectoryEntry& tenant_entry : tenants) {
    const auto tenant = TenantId::parse(tenant_entry.name);
    if (!tenant || !tenant_entry.is_directory) continue;
    VARVE_TRY_ASSIGN(const auto timelines,
                     world_.disk.list(std::string(kTimelines) + "/" + tenant_entry.name));
    for (const DirectoryEntry& entry : timelines) {
      const auto timeline = TimelineId::parse(entry.name);
      if (timeline && entry.is_directory) found.push_back({*tenant, *timeline});
    }
  }
  return Status();
}

void TimelineRegistry::serve(const TenantTimelineId& id) {
  Entry& entry = entries_[id];
  entry.directory = directory_of(id);
  entry.state = Status(Code::kUnavailable, "the timeline is being loaded");
  entry.scope = std::make_unique<Scope>("timeline keeper", scope_);
  entry.scope->spawn("keep timeline", [this, id] { return keep(id); });
}

// Loads a timeline and, when its life ends in a disk error, loads it again.
Status TimelineRegistry::keep(const TenantTimelineId& id) {
  Entry& entry = entries_.at(id);
  for (;;) {
    auto loaded = Timeline::load(world_, options_, entry.directory, *entry.scope, observer_);
    if (loaded.ok() && (*loaded)->id() != id) {
      (*loaded)->stop(Status(Code::kCancelled, "wrong timeline"));
      loaded = Status(Code::kCorrupt, "the control file belongs to another timeline")
                   .with_object(entry.directory + "/control");
    }
    if (!loaded.ok()) {
      entry.state = loaded.status();
      tried(entry);
      if (loaded.is(Code::kCancelled)) return entry.state;
      // A warning: what damages files is outside; the rest serves.
      world_.log.warning("timeline_not_loaded", "a timeline is not served",
                         {{"timeline", id.timeline}, {"status", entry.state}});
      const bool damaged = loaded.is(Code::kCorrupt) || loaded.is(Code::kUnsupported);
      if (damaged) return entry.state;
      VARVE_TRY(sleep_for(options_.reload_pause));
      continue;
    }
    const std::shared_ptr<Timeline> timeline = std::move(*loaded);
    entry.timeline = timeline;
    tried(entry);
    const Status end = timeline->wait_failed();
    entry.timeline.reset();
    entry.state = end.is(Code::kCancelled)
                      ? Status(Code::kUnavailable, "the timeline is being stopped")
                      : timeline->failure();
    timeline->stop(entry.state);
    if (end.is(Code::kCancelled)) return end;
    VARVE_TRY(sleep_for(options_.reload_pause));
  }
}

void TimelineRegistry::tried(Entry& entry) {
  entry.tried = true;
  tried_.wake_all();
}

void TimelineRegistry::stop() {
  scope_.cancel();
  const Shield shield;
  for (auto& [id, entry] : entries_) {
    if (entry.scope != nullptr) entry.scope->join().ignore("keepers end with cancellation");
  }
  scope_.join().ignore("keepers end with cancellation");
  entries_.clear();
}

Status TimelineRegistry::create(const TimelineSpec& spec) {
  VARVE_CHECK(!spec.parent || spec.prefix.empty());
  if (!spec.membership.members.empty() && !spec.membership.contains(node_)) {
    return Status(Code::kInvalid, "the membership does not list this safekeeper");
  }
  {
    const MutexGuard guard(changing_, "creating or deleting a timeline");
    VARVE_TRY(guard.status());
    if (!entries_.contains(spec.id)) {
      VARVE_TRY(create_files(spec));
      serve(spec.id);
    }
  }
  VARVE_TRY_ASSIGN(const auto timeline, wait_loaded(spec.id));
  return same_timeline(timeline->status().state, spec);
}

Status TimelineRegistry::create_files(const TimelineSpec& spec) {
  const auto tombstone = world_.disk.open(tombstone_of(spec.id), OpenMode::kRead);
  if (tombstone.ok()) {
    return Status(Code::kRefused, "this timeline was deleted here")
        .with_object(spec.id.to_string());
  }
  if (!tombstone.is(Code::kNotFound)) return tombstone.status();
  const std::string temporary = std::string(kTemporary) + "/" + spec.id.timeline.to_string();
  VARVE_TRY(remove_tree(world_.disk, temporary));
  const AcceptorState state =
      AcceptorState::create(spec.id, node_, spec.membership, spec.server, spec.start);
  VARVE_TRY_ASSIGN(Bytes prefix, prefix_of(spec));
  VARVE_TRY(Timeline::create(world_.disk, temporary, state, std::move(prefix)));
  const std::string directory = directory_of(spec.id);
  const std::string tenant_directory(parent_directory(directory));
  VARVE_TRY(world_.disk.make_directory(tenant_directory));
  VARVE_TRY(world_.disk.sync_directory(kTimelines));
  VARVE_TRY(world_.disk.rename(temporary, directory));
  return world_.disk.sync_directory(tenant_directory);
}

// Of a branch, read from its parent; nothing when the parent is not here up to the start.
Result<Bytes> TimelineRegistry::prefix_of(const TimelineSpec& spec) {
  if (!spec.parent) return spec.prefix;
  const auto parent = find({spec.id.tenant, *spec.parent});
  if (!parent.ok()) return Bytes();
  const uint32_t segment_size = (*parent)->server().segment_size;
  const Lsn begin(spec.start.value - spec.start.segment_offset(segment_size));
  if (segment_size != spec.server.segment_size || begin < (*parent)->readable_from() ||
      (*parent)->committed().get() < spec.start) {
    return Bytes();
  }
  VARVE_TRY_ASSIGN(const auto pieces, (*parent)->read(begin, spec.start - begin));
  return concatenate(pieces);
}

Status TimelineRegistry::remove(const TenantTimelineId& id) {
  const MutexGuard guard(changing_, "creating or deleting a timeline");
  VARVE_TRY(guard.status());
  // The tombstone first: from here on a crash, or a compute that still runs, can't bring it back.
  {
    VARVE_TRY_ASSIGN(const auto file, world_.disk.open(tombstone_of(id), OpenMode::kCreate));
    VARVE_TRY(file->sync());
  }
  VARVE_TRY(world_.disk.sync_directory(kTombstones));
  const auto found = entries_.find(id);
  if (found != entries_.end()) {
    found->second.scope->cancel();
    {
      const Shield shield;
      found->second.scope->join().ignore("its keeper ends with cancellation");
    }
    entries_.erase(found);
    tried_.wake_all();
  }
  const std::string directory = directory_of(id);
  VARVE_TRY(remove_tree(world_.disk, directory));
  const Status synced = world_.disk.sync_directory(parent_directory(directory));
  return synced.is(Code::kNotFound) ? Status() : synced;
}

Result<std::shared_ptr<Timeline>> TimelineRegistry::find(const TenantTimelineId& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) {
    return Status(Code::kNotFound, "no such timeline on this safekeeper")
        .with_object(id.to_string());
  }
  if (found->second.timeline == nullptr) return found->second.state;
  return found->second.timeline;
}

Result<std::shared_ptr<Timeline>> TimelineRegistry::wait_loaded(const TenantTimelineId& id) {
  for (;;) {
    const auto found = entries_.find(id);
    if (found == entries_.end() || found->second.tried) return find(id);
    VARVE_TRY(tried_.wait("a timeline to be loaded"));
  }
}

std::vector<TimelineListing> TimelineRegistry::list() const {
  std::vector<TimelineListing> listing;
  for (const auto& [id, entry] : entries_) {
    listing.push_back({id, entry.timeline != nullptr ? Status() : entry.state});
  }
  return listing;
}

}  // namespace varve::consensus
