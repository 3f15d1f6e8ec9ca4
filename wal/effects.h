// What a record does besides changing the pages it names as blocks, as typed values.
//
// Commits, the status files of transactions, relation files that come and go, databases, relation
// maps, checkpoints, and the bits of the visibility map that heap records clear without naming its
// page. A record has at most one such effect. Block references are redo's (wal/redo/) and are not
// looked at, except that a heap record's blocks say which map bits it clears.
//
// parse_effect() is also the guard against records that nobody here understands: an operation that
// is not known, or one that says it changes relation files (xl_info bit 0x01) and is not among
// those that may, is refused, so that it can be stopped before it enters the log.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>

#include "base/codec.h"
#include "base/lsn.h"
#include "base/status.h"
#include "wal/checkpoint.h"
#include "wal/record.h"
#include "wal/version.h"

namespace varve::wal {

// An array of fixed-size items inside a record. Records align nothing, so items are loaded one by
// one.
template <class T, size_t kItemSize>
class PackedArray {
 public:
  static constexpr size_t kSize = kItemSize;
  PackedArray() = default;
  // Invariant: bytes.size() is a multiple of kItemSize.
  explicit PackedArray(std::span<const uint8_t> bytes) : bytes_(bytes) {
    VARVE_CHECK(bytes.size() % kItemSize == 0);
  }
  size_t size() const { return bytes_.size() / kItemSize; }
  bool empty() const { return bytes_.empty(); }
  T operator[](size_t i) const {
    VARVE_CHECK(i < size());
    return T::load(bytes_.data() + i * kItemSize);
  }

 private:
  std::span<const uint8_t> bytes_;
};

struct PackedXid {
  uint32_t value;
  static PackedXid load(const uint8_t* p) { return {load_le<uint32_t>(p)}; }
  operator uint32_t() const { return value; }  // NOLINT: it is one
};
struct PackedRelation {
  RelationId id;
  static PackedRelation load(const uint8_t* p) {
    return {{load_le<uint32_t>(p), load_le<uint32_t>(p + 4), load_le<uint32_t>(p + 8)}};
  }
  operator const RelationId&() const { return id; }  // NOLINT
};
struct MultiXactMember {
  uint32_t xid;
  uint32_t status;  // 0..5: the kind of lock or update
  static MultiXactMember load(const uint8_t* p) {
    return {load_le<uint32_t>(p), load_le<uint32_t>(p + 4)};
  }
};
using XidArray = PackedArray<PackedXid, 4>;
using RelationArray = PackedArray<PackedRelation, 12>;
using MultiXactMemberArray = PackedArray<MultiXactMember, 8>;

struct NoEffect {};

struct ReplicationProgress {
  Lsn remote_lsn;
  int64_t time = 0;  // microseconds since 2000-01-01
};

// COMMIT, ABORT and their *_PREPARED forms.
struct TransactionEnd {
  bool committed = false;
  bool prepared = false;  // ends a prepared transaction; its state file goes
  uint32_t xid = 0;       // whose end it is: for a prepared one not the record's own
  int64_t time = 0;       // microseconds since 2000-01-01
  uint32_t database = 0;  // 0 when not told
  uint32_t tablespace = 0;
  XidArray subtransactions;
  RelationArray dropped;  // relations whose files go, all forks
  std::string_view prepared_name;
  uint16_t origin = 0;  // of replication, from the record's header; 0 for local
  std::optional<ReplicationProgress> progress;

  // What commit_ts stores: the origin's time when there is one.
  int64_t commit_timestamp() const { return progress.has_value() ? progress->time : time; }
};

struct TransactionPrepare {
  uint32_t xid = 0;
  uint32_t database = 0;
  int64_t time = 0;
  std::string_view name;
  XidArray subtransactions;
  RelationArray dropped_on_commit;
  RelationArray dropped_on_abort;
  std::optional<ReplicationProgress> progress;
  std::span<const uint8_t> state;  // the state file without its checksum; see two_phase.h
};

struct SubtransactionAssignment {
  uint32_t top = 0;
  XidArray subtransactions;
};

// A snapshot of what runs, from time to time and at each checkpoint.
struct RunningTransactions {
  uint32_t next_xid = 0;
  uint32_t oldest_running = 0;
  uint32_t latest_completed = 0;
  XidArray xids;  // transactions, then subtransactions
};

// The page-addressed files of transaction status.
enum class Slru : uint8_t { kClog, kCommitTimestamp, kMultiXactOffset, kMultiXactMember };

struct SlruZeroPage {
  Slru slru = Slru::kClog;
  uint32_t page = 0;
};
struct ClogTruncate {
  uint32_t page = 0;
  uint32_t oldest_xid = 0;
  uint32_t oldest_xid_database = 0;
};
struct CommitTimestampTruncate {
  uint32_t page = 0;
  uint32_t oldest_xid = 0;
};
struct MultiXactCreate {
  uint32_t id = 0;
  uint32_t offset = 0;
  MultiXactMemberArray members;
};
struct MultiXactTruncate {
  uint32_t oldest_multi_database = 0;
  uint32_t first_multi = 0;  // first and end of what goes
  uint32_t end_multi = 0;    // the new oldest
  uint32_t first_offset = 0;
  uint32_t end_offset = 0;
};

struct RelationCreate {
  RelationId relation;
  Fork fork = Fork::kMain;
};
struct RelationTruncate {
  RelationId relation;
  uint32_t blocks = 0;  // what is left of the main fork
  bool main = false;    // which forks are cut
  bool visibility = false;
  bool free_space = false;
};

// A new database whose files are copied from another, without a record for each block.
struct DatabaseCopy {
  uint32_t database = 0;
  uint32_t tablespace = 0;
  uint32_t source_database = 0;
  uint32_t source_tablespace = 0;
};
// A new database whose blocks follow as ordinary records.
struct DatabaseCreate {
  uint32_t database = 0;
  uint32_t tablespace = 0;
};
struct DatabaseDrop {
  uint32_t database = 0;
  XidArray tablespaces;  // Oids, which have the shape of xids
};
struct TablespaceCreate {
  uint32_t tablespace = 0;
  std::string_view path;
};
struct TablespaceDrop {
  uint32_t tablespace = 0;
};
struct RelationMapUpdate {
  uint32_t database = 0;  // 0: the shared map
  uint32_t tablespace = 0;
  std::span<const uint8_t> map;  // the whole file, Version::relation_map_bytes
};

struct ReplicationOriginSet {
  uint16_t origin = 0;
  Lsn remote_lsn;
  bool force = false;
};
struct ReplicationOriginDrop {
  uint16_t origin = 0;
};

// Settings of the server that its log depends on; they stand in pg_control too.
struct ServerParameters {
  int32_t max_connections = 0;
  int32_t max_worker_processes = 0;
  int32_t max_wal_senders = 0;
  int32_t max_prepared_transactions = 0;
  int32_t max_locks_per_transaction = 0;
  int32_t wal_level = 0;
  bool wal_log_hints = false;
  bool track_commit_timestamp = false;
  bool operator==(const ServerParameters&) const = default;
};

struct CheckpointTaken {
  bool shutdown = false;
  Checkpoint checkpoint;
};
struct NextOid {
  uint32_t next_oid = 0;
};
struct FullPageWritesChange {
  bool on = false;
};
struct EndOfRecovery {
  int64_t time = 0;
  uint32_t timeline = 0;
  uint32_t previous_timeline = 0;
};
struct RestorePoint {
  int64_t time = 0;
  std::string_view name;
};

// Bits of the visibility map to clear, in the same instant as the record's block changes: for an
// update two heap pages, whose bits may lie in two map pages. The map page's LSN stays as it is.
struct VisibilityClear {
  struct Target {
    RelationId relation;
    uint32_t heap_block = 0;
    uint8_t bits = 0;  // kAllVisible, kAllFrozen (visibility.h)
  };
  uint8_t count = 0;
  Target targets[2];
};

using Effect =
    std::variant<NoEffect, VisibilityClear, TransactionEnd, TransactionPrepare,
                 SubtransactionAssignment, RunningTransactions, SlruZeroPage, ClogTruncate,
                 CommitTimestampTruncate, MultiXactCreate, MultiXactTruncate, RelationCreate,
                 RelationTruncate, DatabaseCopy, DatabaseCreate, DatabaseDrop, TablespaceCreate,
                 TablespaceDrop, RelationMapUpdate, ReplicationOriginSet, ReplicationOriginDrop,
                 ServerParameters, CheckpointTaken, NextOid, FullPageWritesChange, EndOfRecovery,
                 RestorePoint>;

// Fills `effect` from a record that was decoded in full; its spans point into the record. kCorrupt
// when the record's main data does not have the form it must; kUnsupported, with the record's name,
// for a resource manager or an operation that is not known. Both carry the record's start.
Status parse_effect(const Version& version, const Record& record, Effect& effect);

}  // namespace varve::wal
