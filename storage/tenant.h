// One shard of a tenant on this pageserver: its timelines, attached under one generation.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "storage/backup/import.h"
#include "storage/timeline.h"

namespace varve::storage {

class Tenant {
 public:
  // `cache` must outlive it; many tenants may share one.
  // `generation` is this attachment's in this life of the process and was never another's: control
  // numbers them, and a restart counts as a new attachment. Objects run in scopes below `scope`.
  Tenant(const StorageWorld& world, const TenantShardId& id, Generation generation,
         const StorageOptions& options, BlockCache& cache, Scope& scope);
  // Invariant: stopped.
  ~Tenant();

  // Finds all timelines in the store and starts them, ancestors first. Suspends. A timeline whose
  // index or layers are bad is left out; `failures()` has why. A branch whose ancestor has lost
  // what lies below the branch point and is not flushed starts once the ancestor has ingested it
  // again; find() does not know it until then. The same holds for one whose start met an error that
  // may pass: it is tried again in the background.
  Status attach();
  void stop();
  // The same with Timeline::flush_and_stop().
  void flush_and_stop();

  struct Failure {
    TimelineId timeline;
    Status status;
  };
  const std::vector<Failure>& failures() const { return failures_; }

  // Null when there is none. Good until stop().
  Timeline* find(const TimelineId& id) const;
  std::vector<TimelineId> timelines() const;
  // Whether some are still being started, and the wait for the next that has or has failed to.
  // Suspends.
  bool starting() const { return !starting_.empty(); }
  bool starting(const TimelineId& id) const { return starting_.contains(id); }
  Status wait_started() { return started_more_.wait("a timeline is started"); }

  struct Created {
    Timeline* timeline = nullptr;
    Bytes log_prefix;  // see ImportedCluster
  };
  // A new root. Durable when it answers. kExists when the id is taken. Suspends.
  Result<Created> import(const TimelineId& id, const ClusterFiles& files);
  // A branch of `parent` at the record end at or before `lsn`, which must be ingested there
  // (wait_for). Durable when it answers; the same call again answers the same. kExists when the id
  // stands for something else. Suspends.
  Result<Timeline*> branch(const TimelineId& id, const TimelineId& parent, Lsn lsn);

  // A timeline that is to be deleted is hidden first, whether or not it is here: find() does not
  // know it any more and nobody makes it again, in this life or any later one. Durable when it
  // answers; after an error it stays hidden in this life. kRefused while a branch hangs on it,
  // kUnavailable while it is being started. Suspends.
  Status bury(const TimelineId& id);
  bool buried(const TimelineId& id) const { return buried_.contains(id); }
  // Removes a buried timeline that nobody uses any more: its objects, indexes first, and its local
  // copies. May be repeated, and has to be after an error. Suspends.
  Status remove(const TimelineId& id);

  const TenantShardId& id() const { return id_; }
  BlockCache& cache() { return cache_; }

 private:
  void stop_timelines(void (Timeline::*stop_one)());
  Result<std::vector<TimelineId>> list_timelines();
  Result<TimelineIndex> load_index(const TimelineId& id);
  Result<std::map<TimelineId, TimelineIndex>> load_indexes();
  Result<bool> start_ready(std::map<TimelineId, TimelineIndex>& waiting);
  Status list_buried();
  Status remove_objects(const TimelineId& id);
  Status check_unused(const TimelineId& id) const;
  Status start_timeline(const TimelineId& id, TimelineIndex index);
  Status start_later(const TimelineId& id, TimelineIndex index);
  Status start_when_ready(const TimelineId& id, const TimelineIndex& index);

  StorageWorld world_;
  TenantShardId id_;
  Generation generation_;
  StorageOptions options_;
  BlockCache& cache_;
  Scope scope_;
  WaitQueue started_more_;
  std::map<TimelineId, std::unique_ptr<Timeline>> timelines_;
  std::map<TimelineId, ObjectNumbers> numbers_;
  std::set<TimelineId> starting_;                      // neither here nor free
  std::vector<TimelineId> started_;                    // in order: ancestors before their branches
  std::map<TimelineId, std::unique_ptr<Scope>> late_;  // of those that start_later() starts
  std::vector<Failure> failures_;
  // Of every timeline that is here, is being started or could not be: what must stay for it.
  std::map<TimelineId, TimelineId> ancestors_;
  std::multiset<TimelineId> branching_;  // from which a branch is being made
  std::map<TimelineId, bool> buried_;    // whether the mark is known to be durable
};

}  // namespace varve::storage
