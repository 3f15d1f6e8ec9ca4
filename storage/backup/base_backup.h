// What a compute needs to start at a record end, besides pages: the list of everything that exists
// there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "storage/timeline.h"
#include "wal/checkpoint_state.h"

namespace varve::storage {

struct BaseBackup {
  ClusterIdentity cluster;
  LogPosition position;  // where it starts; `previous` is what the forged record links to
  struct Database {
    uint32_t tablespace = 0;
    uint32_t database = 0;
  };
  std::vector<Database> databases;
  // Forks that exist, in order. Never free space maps; of an unlogged relation only the init fork.
  struct Fork {
    wal::RelationId relation;
    wal::Fork fork = wal::Fork::kMain;
    uint32_t blocks = 0;
  };
  std::vector<Fork> forks;
  // Small files, whole.
  struct RelationMap {
    uint32_t tablespace = 0;
    uint32_t database = 0;  // 0: the shared one
    Bytes content;
  };
  std::vector<RelationMap> relation_maps;
  struct TwoPhase {
    uint64_t full_xid = 0;
    Bytes content;  // with its checksum
  };
  std::vector<TwoPhase> two_phase;
  // Segments of status files, read with get_slru_page().
  struct StatusFile {
    wal::Slru slru = wal::Slru::kClog;
    uint32_t segment = 0;
    uint32_t pages = 0;
  };
  std::vector<StatusFile> status_files;
  std::vector<std::pair<uint16_t, Lsn>> replication_origins;
  wal::CheckpointState counters;
  Bytes control_file;  // any valid one of the cluster, to forge from
};

// Invariant-free: `lsn` must be a record end (kInvalid with the nearest one otherwise) that is
// ingested. Suspends.
Result<BaseBackup> make_base_backup(Timeline& timeline, Lsn lsn);

}  // namespace varve::storage
