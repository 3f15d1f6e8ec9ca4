// From a decoded record to what is to be stored: one operation for each page it changes, and for
// each piece of metadata.
//
// A record with several blocks is split, so that each page keeps only what its own redo reads
// (wal/redo/delta.h). What the record does besides its blocks comes as one effect (wal/effects.h).
// All operations of a record are stored at its END, and a record's operations have distinct keys.
//
// Lifetimes: a block at or beyond its fork's size enters the relation; what it stores then starts a
// chain, blocks skipped over become explicit zeros, and the size grows. Truncation, drop and
// creation change the size only. So nothing of an earlier life is ever reached (storage/value.h),
// which holds for status files too.
//
// A record that can't be digested never stops a timeline, and nothing that it may have changed is
// served as if it had not been. A page whose delta can't be made is poisoned from there on; a fork
// whose size would become absurd is quarantined. When what a record does besides its blocks can't
// be read, whatever it was about is closed, as far as its first fields tell: the status page of its
// transaction, the forks of its relation or of its database. Each such record leaves a note under a
// quarantine key. They reach here only if the compute's agent let them through.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/lsn.h"
#include "base/status.h"
#include "storage/ingest/relations.h"
#include "storage/key.h"
#include "storage/log_chunk.h"
#include "storage/value.h"
#include "wal/checkpoint_state.h"
#include "wal/effects.h"
#include "wal/record.h"
#include "wal/redo/delta.h"
#include "wal/slru.h"
#include "wal/slru_delta.h"
#include "wal/version.h"

namespace varve::storage {

struct IngestOptions {
  uint32_t max_gap_blocks = 1 << 20;
  uint32_t cached_sizes = 100000;

  template <class V>
  static void describe(V&& v) {
    v(&IngestOptions::max_gap_blocks,
      {"max_gap_blocks", "count", 64, 1 << 24,
       "blocks that one record may skip over, each stored as zeros; more quarantines the fork"});
    v(&IngestOptions::cached_sizes,
      {"cached_sizes", "count", 16, 10000000, "relation sizes kept in memory, 150 bytes each"});
  }
};

struct Operation {
  Key key;
  std::vector<uint8_t> value;  // as parse_value() takes them
};

// State of one timeline's ingest. Calls of one object must not overlap.
class Ingest {
 public:
  // `state`: counters at the tip. `data_checksums`: a fact of the cluster, from its control file.
  // `source` must outlive this.
  Ingest(const wal::Version& version, const wal::CheckpointState& state, bool data_checksums,
         MetadataSource& source, const IngestOptions& options);

  // Appends what `record` is to be stored as, at record.end. Suspends when metadata has to be read.
  // Errors are those of the source only; `out` and this are then unspecified, and whoever goes on
  // makes a new one from the counters that were stored last.
  Status ingest(const wal::Record& record, std::vector<Operation>& out);

  // Counters of a shutdown checkpoint at the tip.
  const wal::CheckpointState& state() const { return state_; }
  // The time of the last record, when it was a commit or an abort.
  std::optional<WallTime> transaction_time() const { return transaction_time_; }
  RelationSizes& sizes() { return sizes_; }
  // Records of this object's life that left a note.
  uint64_t quarantined() const { return quarantined_; }

 private:
  using Touched = std::map<Key, std::optional<RelationSize>>;

  void put(const Key& key, ValueKind kind, std::span<const uint8_t> payload = {});
  void put_image(const Key& key, std::span<const uint8_t> payload) {
    put(key, ValueKind::kImage, payload);
  }
  void poison(const Key& key, const std::string& why);
  void quarantine(const std::string& what);
  void put_quarantine(const wal::Record& record);
  // For a record whose effect can't be read.
  Status close_subject(const wal::Record& record, const std::string& why);
  Status close_forks(const KeyRange& sizes, std::optional<uint32_t> relation,
                     const std::string& why);

  Result<std::optional<RelationSize>> size_of(const Key& size_key);
  // Makes the fork hold `block`; true when it did not before (the block enters the relation).
  // Quarantined forks answer with nothing.
  Result<std::optional<bool>> enter_block(const wal::BlockId& id);
  Status ingest_block(const wal::Record& record, const wal::BlockReference& block);
  Status ingest_map_deltas(const wal::Effect& effect);
  Status ingest_effect(const wal::Record& record, const wal::Effect& effect);
  Status drop_relation(const wal::RelationId& relation);
  Status truncate_relation(const wal::RelationTruncate& truncate);
  Status copy_database(const wal::DatabaseCopy& copy);
  Status drop_database(const wal::DatabaseDrop& drop);
  Status drop_sizes(uint32_t tablespace, uint32_t database);
  Status end_transaction(const wal::TransactionEnd& end);
  Status ingest_slru(const wal::Effect& effect);
  Status enter_slru_page(wal::SlruPage page, bool& is_new);
  Status truncate_slru(const wal::Effect& effect, wal::Slru slru);

  const wal::Version& version_;
  wal::CheckpointState state_;
  bool data_checksums_;
  RelationSizes sizes_;
  IngestOptions options_;
  uint64_t quarantined_ = 0;
  std::optional<WallTime> transaction_time_;
  // Pages of segments of status files at the tip; few, so never forgotten. Absent: not looked up
  // yet.
  std::map<Key, uint32_t> segments_;

  // Of the record at hand.
  Lsn end_;
  std::vector<Operation>* out_ = nullptr;
  Touched touched_;
  std::map<Key, uint32_t> touched_segments_;
  std::vector<wal::SlruDelta> slru_deltas_;
  std::string quarantine_;  // what its note will say; empty: none
};

}  // namespace varve::storage
