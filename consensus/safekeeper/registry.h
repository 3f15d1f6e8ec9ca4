// The timelines of one safekeeper: found at start, created, deleted, loaded again when a disk error
// ended them.
//
//   timelines/TENANT/TIMELINE/   a timeline: control file and segments
//   tombstones/TENANT-TIMELINE   it was deleted here, and must never be created again
//   tmp/                         half made; removed at start
//
// A timeline whose files are damaged is kept, unserved, with the reason; the others serve.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "consensus/safekeeper/timeline.h"

namespace varve::consensus {

struct TimelineSpec {
  TenantTimelineId id;
  Membership membership;  // lists this node, or is empty with generation 0
  ServerInfo server;
  Lsn start;
  Bytes prefix;  // the WAL from the segment's beginning to start; empty with a parent
  // A branch: the WAL in front of `start` is this timeline's. It is copied behind the creation's
  // back, if it is here.
  std::optional<TimelineId> parent = {};
};

struct TimelineListing {
  TenantTimelineId id;
  Status state;  // success: serves
};

class TimelineRegistry {
 public:
  // All references must outlive it. `observer` may be null.
  TimelineRegistry(World& world, NodeId node, const SafekeeperOptions& options, Scope& parent,
                   ProtocolObserver* observer = nullptr);
  // Invariant: stop() has returned.
  ~TimelineRegistry();

  // Makes what a crash left in the page cache durable, then loads everything. Succeeds although
  // single timelines can't be loaded. Suspends.
  Status start();
  void stop();

  // Durable and loaded after success. Success when it exists with the same start and server (so the
  // call may be repeated); Exists when it is another, Refused when it was deleted here. Suspends.
  Status create(const TimelineSpec& spec);
  // Deletes it here, for ever; success if it is gone already. What other members and the object
  // store hold is not touched.
  Status remove(const TenantTimelineId& id);
  // NotFound, Unavailable while it is loading, or why it can't be served.
  Result<std::shared_ptr<Timeline>> find(const TenantTimelineId& id);
  // The same, but waits while it is loading for the first time: a proposer that comes right behind
  // a start or a creation would otherwise lose its pause before another attempt.
  Result<std::shared_ptr<Timeline>> wait_loaded(const TenantTimelineId& id);
  std::vector<TimelineListing> list() const;
  NodeId node() const { return node_; }

 private:
  struct Entry {
    std::string directory;
    std::shared_ptr<Timeline> timeline;  // null while loading or damaged
    Status state;                        // why it is null
    bool tried = false;                  // a first attempt to load it has ended
    std::unique_ptr<Scope> scope;
    bool removing = false;
  };

  std::string directory_of(const TenantTimelineId& id) const;
  std::string tombstone_of(const TenantTimelineId& id) const;
  Status create_files(const TimelineSpec& spec);
  Status find_timelines(std::vector<TenantTimelineId>& found);
  void serve(const TenantTimelineId& id);
  Status keep(const TenantTimelineId& id);
  void tried(Entry& entry);
  Status serve_one_life(Entry& entry, const std::shared_ptr<Timeline>& timeline);
  Status copy_prefix(Timeline& timeline);

  World& world_;
  NodeId node_;
  const SafekeeperOptions& options_;
  ProtocolObserver* observer_;
  std::map<TenantTimelineId, Entry> entries_;
  Mutex changing_;
  Mutex copying_;
  WaitQueue tried_;
  Scope scope_;
};

}  // namespace varve::consensus
