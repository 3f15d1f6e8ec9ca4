// One branch of one tenant: its log goes in at one end, pages as of any LSN come out at the other.
//
// Data moves open layer → frozen layers → level 0 → level 1 and images. A read takes a snapshot of
// which of these exist, walks them from new to old until the page's chain starts, goes on in the
// ancestor below the branch point, and applies the deltas. Every move is one switch without
// suspension, so that a snapshot is always complete.
//
// What is in an index in the object store is durable; the rest is in the log that safekeepers hold.
// All functions belong to one reactor; those that may suspend say so. A timeline must be stopped
// before it goes.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "runtime/scope.h"
#include "runtime/sync.h"
#include "storage/format/layer_writer.h"
#include "storage/ingest/ingest.h"
#include "storage/layer_map.h"
#include "storage/log_chunk.h"
#include "storage/open_layer.h"
#include "storage/open_memory.h"
#include "storage/plan/compaction.h"
#include "storage/remote/index.h"
#include "storage/remote/layer_store.h"
#include "wal/decoder.h"

namespace varve::storage {

struct TimelineOptions {
  uint64_t open_layer_bytes = 32 << 20;
  uint32_t max_frozen_layers = 2;
  uint32_t max_level0_layers = 12;
  Duration flush_interval = Duration::seconds(60);
  Duration compaction_delay = Duration::seconds(10);

  template <class V>
  static void describe(V&& v) {
    v(&TimelineOptions::open_layer_bytes,
      {"open_layer_bytes", "bytes", 4096, 1 << 30,
       "memory of a layer before it is frozen; a restart ingests about as much log again"});
    v(&TimelineOptions::max_frozen_layers,
      {"max_frozen_layers", "count", 1, 64, "layers waiting to be flushed before ingest waits"});
    v(&TimelineOptions::max_level0_layers,
      {"max_level0_layers", "count", 2, 256,
       "flushed layers before flushing waits for compaction; bounds what a read visits"});
    v(&TimelineOptions::flush_interval, {"flush_interval", "ms", 10, 24 * 3600 * 1000,
                                         "age at which a layer is flushed though it is small, so "
                                         "that safekeepers may let its log go"});
    v(&TimelineOptions::compaction_delay,
      {"compaction_delay", "ms", 0, 600000,
       "age of a life at which compaction begins; its first readers come before it"});
  }
};

struct StorageOptions {
  TimelineOptions timeline;
  CompactionOptions compaction;
  LayerFormatOptions format;
  IngestOptions ingest;
};

// A page, or why there is none.
struct PageAnswer {
  Bytes page;               // kBlockSize bytes
  bool beyond_end = false;  // zeros: the fork exists and is shorter
};

// Which numbers the names of a timeline's objects take next. They outlive a Timeline that could not
// be started: what it put, or may have put, keeps its name, and the next attempt takes others.
struct ObjectNumbers {
  uint64_t layer = 0;
  uint64_t index = 0;
};

class Timeline : public MetadataSource, public OpenMemory::Holder {
 public:
  // `index`: as found in the store or just made; `ancestor` (null for a root) and `numbers`
  // must outlive this.
  // `generation` is this life's and never was another's. Background work runs in scopes below
  // `parent`. Call start() next.
  Timeline(const StorageWorld& world, const TenantShardId& tenant, const TimelineId& id,
           TimelineIndex index, Timeline* ancestor, Generation generation, ObjectNumbers& numbers,
           BlockCache& cache, const StorageOptions& options, Scope& parent);
  ~Timeline() override;

  // Writes this life's first index, drops local files that are not in it, reads the counters, and
  // starts background work. Suspends. kCorrupt when the layers do not hold what they must.
  Status start();
  // Cancels background work and waits for it. What is not flushed is lost here and still in the
  // log. Suspends.
  void stop();
  // The same, but first flushes what was received, if the store takes it at the first attempt; so
  // that the next life has little log to read again. Works where the calling fiber is cancelled.
  void flush_and_stop();

  const TimelineId& id() const { return id_; }
  const ClusterIdentity& cluster() const { return index_.cluster; }
  const wal::Version& version() const { return *version_; }
  Timeline* ancestor() const { return ancestor_; }
  const LogPosition& first() const { return index_.start; }

  // --- the log goes in ---------------------------------------------------------------------------

  // Where the next byte is wanted: the position for START_REPLICATION after open, then fed_to().
  Lsn wanted() const { return decoder_.fed_to(); }
  // Bytes of the log that begin at wanted(). Suspends when memory is short, which is the
  // backpressure, and when metadata can't be read for now. Calls must not overlap. kCorrupt: the
  // bytes are no log that continues ours, or a layer that ingest needs is damaged; nothing of the
  // record that was at fault took effect, and wanted() is its start again: another sender may have
  // better bytes.
  Status receive(Lsn at, std::span<const uint8_t> bytes);
  // Why the last receive() failed; success once one has succeeded.
  const Status& log_failure() const { return log_failure_; }
  // Everything up to here is visible to reads.
  Lsn last_record() const { return last_record_.get(); }
  // Everything up to here is in an index in the store: the log before may go.
  Lsn flushed() const { return index_.flushed.boundary; }
  // Whether somebody waits for more of the log now.
  bool awaited() const { return waiting_ > 0; }
  // Suspends until last_record() >= lsn.
  Status wait_for(Lsn lsn, Instant deadline = Instant::never());
  // Flushes all that was received and waits until it is in an index. Suspends.
  Status flush();
  // Records that this life could not digest.
  uint64_t quarantined() const { return ingest_->quarantined(); }
  struct QuarantineNote {
    Lsn lsn;  // end of the record
    std::string text;
  };
  // What could not be digested, of this timeline and of what it shares with its ancestors, oldest
  // first. Suspends.
  Result<std::vector<QuarantineNote>> quarantine();

  // Somebody who writes to this timeline in `term` asks for pages: kStale once one has asked in a
  // newer one. What this life has not seen it does not know; but whoever asks at his own commit
  // position sees only what he shares with his successor, so this is the second fence, not the
  // first.
  Status admit_writer(Term term);

  // --- pages come out ----------------------------------------------------------------------------
  // All as of `lsn`, inclusive; invariant: lsn <= last_record(), or this is an ancestor read at its
  // branch point. All suspend. kNotFound: no such fork there. kCorrupt: can't be rebuilt, with page
  // and layer named.

  Result<PageAnswer> get_page(const wal::BlockId& id, Lsn lsn);
  // In the order asked for.
  std::vector<Result<PageAnswer>> get_pages(std::span<const wal::BlockId> ids, Lsn lsn);
  Result<Bytes> get_slru_page(wal::SlruPage page, Lsn lsn);
  Result<std::optional<RelationSize>> relation_size(const wal::RelationId& relation, wal::Fork fork,
                                                    Lsn lsn);
  // A sparse key.
  Result<std::optional<Item>> metadata(const Key& key, Lsn lsn);
  Result<std::vector<Item>> metadata_range(const KeyRange& keys, Lsn lsn);

  // MetadataSource: at the tip, for ingest.
  Result<std::optional<Item>> current(const Key& key) override;
  Result<std::vector<Item>> current_range(const KeyRange& keys) override;

  // OpenMemory::Holder.
  uint64_t open_bytes() const override { return open_ == nullptr ? 0 : open_reserved_; }
  void freeze_open() override { freeze(); }

  // --- places in the log -------------------------------------------------------------------------

  // The greatest record end that is not above `lsn`, with the start of its record; looked up in the
  // timeline that owns it. Suspends. kBelowCutoff below the first import; kInvalid above
  // last_record().
  Result<LogPosition> position_at(Lsn lsn);
  struct TimePosition {
    LogPosition position;
    bool at_end = false;  // no transaction ended later: the position is the newest there is
  };
  // Where recovery to `time` would stop (inclusive): before the first commit or abort that is
  // later. Suspends. kBelowCutoff when that lies before the import.
  Result<TimePosition> position_at(WallTime time);

  // --- inside ------------------------------------------------------------------------------------

  // One step of compaction if one is due; true when something was done. Suspends. Also runs by
  // itself.
  Result<bool> compact_once();
  const LayerMap& layers() const { return map_; }
  std::vector<LayerMap::Column> columns(Lsn upto) const;
  LayerStore& store() { return store_; }
  // Why the last step of compaction failed; success when it did not.
  const Status& compaction_failure() const { return compaction_failure_; }
  // Layers that reads of this timeline visited, and chains they looked for.
  uint64_t layers_visited() const { return layers_visited_; }
  uint64_t chains_read() const { return chains_read_; }

 private:
  struct Snapshot {
    std::vector<std::shared_ptr<const OpenLayer>> memory;  // newest first
  };
  Snapshot memory() const;
  // Appends versions of `key` in [floor, upto], newest first, to `chain`; true when it starts
  // there.
  Result<bool> collect(const Key& key, Lsn floor, Lsn upto, std::vector<StoredValue>& chain);
  Result<bool> find_in_layer(const LayerRef& layer, const Key& key, LsnRange range,
                             std::vector<StoredValue>& chain);
  Status scan_layer(const LayerRef& layer, const KeyRange& keys, Lsn upto,
                    std::map<Key, StoredValue>& newest);
  Result<PageAnswer> read_block(const wal::BlockId& id, const RelationSize& size, Lsn lsn,
                                int depth);
  Result<PageAnswer> get_page_at_depth(const wal::BlockId& id, Lsn lsn, int depth);

  Status start_ingest(Lsn at);
  void expect_log_again();
  Status store_record(const wal::Record& record);
  Status reserve_memory();
  void freeze();
  Status wait_for_work();
  Status flush_loop();
  Status flush_oldest();
  Status wait_to_compact();
  Status compact_loop();
  Status compact_level0(const Level0Job& job);
  Status make_images(const ImageJob& job);
  Status rest_from_images(Instant& turn);
  Status add_live_keys(const ImageJob& job, std::vector<Key>& keys);
  void compress(LayerWriter& writer, bool all);
  // Ends the file and puts it into the store. Suspends.
  Result<LayerRef> add_layer(LayerWriter& writer, const KeyRange& keys);
  void release(std::shared_ptr<OpenLayer> layer);
  LayerRef name_layer(LayerDescriptor descriptor);
  // Publishes an index with `added` and without `removed`, flushed up to `flushed`, and then lets
  // reads see it: `on_switch` runs in the same instant. Suspends.
  Status publish(const std::vector<LayerRef>& added, const std::vector<LayerRef>& removed,
                 std::optional<LogPosition> flushed, const std::function<void()>& on_switch);
  Status put_index(const TimelineIndex& index);
  Result<LogChunk> chunk(uint64_t number);

  StorageWorld world_;
  TenantShardId tenant_;
  TimelineId id_;
  const wal::Version* version_;
  TimelineIndex index_;  // as published last
  Timeline* ancestor_;
  Generation generation_;
  StorageOptions options_;
  Scope scope_;
  LayerStore store_;
  ObjectNumbers& numbers_;
  Mutex publishing_;

  wal::Decoder decoder_;
  std::optional<Ingest> ingest_;
  std::optional<LogChunkWriter> log_;
  std::vector<Operation> operations_;
  std::vector<LogChunkWriter::Finished> finished_chunks_;
  Status log_failure_;
  bool ingest_torn_ = false;  // ingest's own counters are those of a record that failed
  Watch<Lsn> last_record_;
  uint64_t waiting_ = 0;
  Term newest_writer_;

  std::shared_ptr<OpenLayer> open_;
  std::vector<Reservation> reservations_;  // of what is open
  uint64_t open_reserved_ = 0;
  struct Frozen {
    std::shared_ptr<OpenLayer> layer;
    LogPosition end;
    std::shared_ptr<std::vector<Reservation>> reservations;
    uint64_t reserved = 0;
  };
  std::deque<Frozen> frozen_;  // oldest first
  LayerMap map_;
  WaitQueue frozen_changed_;  // ingest and flush() wait for flushes
  WaitQueue flush_wanted_;
  WaitQueue compaction_wanted_;
  WaitQueue level0_changed_;
  Status compaction_failure_;
  uint64_t layers_visited_ = 0;
  uint64_t chains_read_ = 0;
  bool running_ = false;
};

}  // namespace varve::storage
