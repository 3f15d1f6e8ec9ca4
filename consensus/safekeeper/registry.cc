#include "consensus/safekeeper/registry.h"

#include <algorithm>

#include "consensus/safekeeper/control_file.h"

namespace varve::consensus {
namespace {

constexpr const char* kTimelines = "timelines";
constexpr const char* kTombstones = "tombstones";
constexpr const char* kTemporary = "tmp";
constexpr uint64_t kCopyChunk = 256 << 10;

Status same_timeline(const AcceptorState& state, const TimelineSpec& spec) {
  if (state.timeline_start == spec.start && state.server.major() == spec.server.major() &&
      state.server.segment_size == spec.server.segment_size) {
    return Status();
  }
  return Status(Code::kExists, "a timeline of this id exists with another start or server")
      .with_object(spec.id.to_string())
      .with_lsn(state.timeline_start);
}

Status copy_log(Timeline& from, Timeline& to, Lsn begin, Lsn end) {
  while (begin < end) {
    const uint64_t length = std::min<uint64_t>(kCopyChunk, end - begin);
    VARVE_TRY_ASSIGN(const auto pieces, from.read(begin, length));
    VARVE_TRY(to.write_prefix(begin, concatenate(pieces)));
    begin = begin + length;
  }
  return to.finish_prefix();
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
  // It outlives whoever asked for it, deadline and all.
  const ContextGuard context{FiberContext()};
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
    // Not below the keeper's scope: a session may hold the timeline for longer than the keeper is.
    auto loaded = Timeline::load(world_, options_, entry.directory, scope_, observer_);
    if (loaded.ok() && (*loaded)->id() != id) {
      (*loaded)->stop(Status(Code::kCancelled, "wrong timeline"));
      loaded = Status(Code::kCorrupt, "the control file belongs to another timeline")
                   .with_object(entry.directory + "/control");
    }
    if (!loaded.ok()) {
      entry.state = loaded.status();
      const bool damaged = loaded.is(Code::kCorrupt) || loaded.is(Code::kUnsupported);
      if (loaded.is(Code::kCorrupt) && entry.state.detail().hint.empty())
        entry.state = std::move(entry.state)
                          .with_hint("restore this timeline's directory from another member");
      tried(entry);
      if (loaded.is(Code::kCancelled)) return entry.state;
      // A warning: what damages files is outside; the rest serves.
      world_.log.warning("timeline_not_loaded", "a timeline is not served",
                         {{"timeline", id.timeline}, {"status", entry.state}});
      if (damaged) return entry.state;
      VARVE_TRY(sleep_for(options_.reload_pause));
      continue;
    }
    const Status end = serve_one_life(entry, std::move(*loaded));
    if (end.is(Code::kCancelled)) return end;
    VARVE_TRY(sleep_for(options_.reload_pause));
  }
}

Status TimelineRegistry::serve_one_life(Entry& entry, const std::shared_ptr<Timeline>& timeline) {
  entry.timeline = timeline;
  tried(entry);
  Status end;
  {
    Scope life("timeline's life");
    if (timeline->missing_prefix() && timeline->missing_prefix()->parent) {
      life.spawn("copy prefix", [this, timeline] {
        const Status copied = copy_prefix(*timeline);
        if (copied.ok() || copied.is(Code::kCancelled)) return Status();
        world_.log.info("prefix_not_copied", "the WAL in front of a branch is not here",
                        {{"timeline", timeline->id().timeline}, {"status", copied}});
        return Status();
      });
    }
    end = timeline->wait_failed();
    life.cancel();
    const Shield shield;
    life.join().ignore("it ends with cancellation");
  }
  entry.timeline.reset();
  entry.state = end.is(Code::kCancelled)
                    ? Status(Code::kUnavailable, "the timeline is being stopped")
                    : timeline->failure();
  timeline->stop(entry.state);
  return end;
}

// The parent's log from the beginning of the branch's first segment to the branch's start. NotFound
// when it will never be here.
Status TimelineRegistry::copy_prefix(Timeline& timeline) {
  const Lsn end = timeline.start_position();
  const uint32_t segment_size = timeline.server().segment_size;
  const Lsn begin(end.value - end.segment_offset(segment_size));
  VARVE_TRY(sleep_for(options_.prefix_delay));
  for (;;) {
    const auto found = wait_loaded({timeline.id().tenant, *timeline.missing_prefix()->parent});
    if (found.is(Code::kNotFound) || found.is(Code::kCancelled)) return found.status();
    if (found.ok()) {
      Timeline& parent = **found;
      if (parent.server().segment_size != segment_size) {
        return Status(Code::kNotFound, "the parent has segments of another size");
      }
      // What is durable here beyond the known commit may still be another term's.
      VARVE_TRY(parent.committed().wait_until(
          [&](Lsn commit) { return commit >= end || !parent.failure().ok(); },
          "the parent to know the branch's start as committed"));
      if (parent.failure().ok() && parent.readable_from() <= begin) {
        // One at a time: megabytes that nobody waits for.
        const MutexGuard turn(copying_, "another branch's prefix is copied");
        VARVE_TRY(turn.status());
        const Status copied = copy_log(parent, timeline, begin, end);
        if (copied.ok() || copied.is(Code::kCancelled)) return copied;
      }
      const bool coming = parent.missing_prefix() && parent.missing_prefix()->parent;
      if (parent.failure().ok() && !coming) {
        return Status(Code::kNotFound, "the parent's log begins later").with_lsn(begin);
      }
    }
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
  VARVE_TRY(Timeline::create(world_.disk, temporary, state, spec.prefix, spec.parent));
  const std::string directory = directory_of(spec.id);
  const std::string tenant_directory(parent_directory(directory));
  const auto sibling = entries_.lower_bound({spec.id.tenant, TimelineId()});
  if (sibling == entries_.end() || sibling->first.tenant != spec.id.tenant) {
    VARVE_TRY(world_.disk.make_directory(tenant_directory));
    VARVE_TRY(world_.disk.sync_directory(kTimelines));
  }
  VARVE_TRY(world_.disk.rename(temporary, directory));
  return world_.disk.sync_directory(tenant_directory);
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
