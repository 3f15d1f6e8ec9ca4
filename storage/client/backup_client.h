// What a compute needs to start at a record's end, besides pages.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/status.h"
#include "wal/checkpoint_state.h"
#include "wal/record.h"
#include "wal/slru.h"
#include "wire/rpc_client.h"

namespace varve::storage {

// Everything of a timeline at one LSN but its pages, as the pageserver tells it.
struct FetchedBackup {
  uint16_t postgres_major = 0;
  uint64_t system_id = 0;
  uint32_t segment_size = 0;
  Lsn lsn;                // a record's end; all below is as of here
  Lsn last_record_start;  // of the record that ends there
  wal::CheckpointState counters;
  Bytes control_file;  // any valid one of the cluster

  struct Fork {
    wal::RelationId relation;
    wal::Fork fork = wal::Fork::kMain;
    uint32_t blocks = 0;
  };
  std::vector<Fork> forks;
  struct StatusFile {
    wal::Slru slru = wal::Slru::kClog;
    uint32_t segment = 0;
    uint32_t pages = 0;
  };
  std::vector<StatusFile> status_files;
  struct Database {
    uint32_t tablespace = 0;
    uint32_t database = 0;  // 0: the shared relations
  };
  std::vector<Database> databases;
  struct RelationMap {
    uint32_t tablespace = 0;
    uint32_t database = 0;  // 0: the shared one
    Bytes content;          // the whole file
  };
  std::vector<RelationMap> relation_maps;
  struct TwoPhase {
    uint64_t full_xid = 0;
    Bytes content;  // the whole file, with its checksum
  };
  std::vector<TwoPhase> two_phase;
  struct ReplicationOrigin {
    uint16_t origin = 0;
    Lsn remote_lsn;
  };
  std::vector<ReplicationOrigin> replication_origins;
};

enum class BackupAt : uint8_t {
  kTip,   // `lsn` must be the newest; kStale, with the newest, when the log goes on behind it
  kPast,  // any retained position, rounded down to a record's end
};

// Waits until ingest has reached `lsn`. kStale: see BackupAt. kBelowCutoff below what is retained.
// Suspends.
Result<FetchedBackup> base_backup(RpcClient& client, const TenantShardId& shard,
                                  const TimelineId& timeline, Lsn lsn,
                                  BackupAt at = BackupAt::kTip);

}  // namespace varve::storage
