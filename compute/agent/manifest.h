// What storage tells a starting compute: everything of a timeline at exactly one LSN but its pages.
//
// Sizes, names and the small files that Postgres reads before it can read a page. Pages are asked
// for later, one by one (services.h). Order inside the lists does not matter.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"
#include "wal/checkpoint_state.h"
#include "wal/record.h"
#include "wal/slru.h"

namespace varve::compute {

// Names a page that storage serves.
using PageKey = std::variant<wal::BlockId, wal::SlruPage>;
std::string page_key_text(const PageKey& key);

struct Manifest {
  struct Fork {
    wal::RelationId relation;
    wal::Fork fork = wal::Fork::kMain;
    uint32_t blocks = 0;
  };
  struct Database {
    uint32_t tablespace = 0;
    uint32_t database = 0;  // Oid
  };
  struct RelationMap {
    uint32_t tablespace = 0;
    uint32_t database = 0;  // 0: the shared one
    Bytes content;          // the whole file
  };
  struct SlruSegment {
    wal::Slru slru = wal::Slru::kClog;
    uint32_t segment = 0;
    uint32_t blocks = 0;  // 1 .. kSlruPagesPerSegment
  };
  struct TwoPhase {
    uint64_t full_xid = 0;  // epoch << 32 | xid
    Bytes content;          // the whole file, with its checksum
  };
  struct ReplicationOrigin {
    uint16_t origin = 0;
    Lsn remote_lsn;
  };

  uint16_t major = 0;  // of Postgres
  Lsn lsn;             // everything below is as of here; end form
  Lsn ingested;        // how far storage had read when it answered: must be `lsn`
  Lsn previous;        // start of the record that ends at `lsn`
  // The log's own bytes from the start of the page that holds `lsn` up to it, if storage or the log
  // service could give them; else empty, and the page gets a prefix that readers step over.
  Bytes page_prefix;
  wal::CheckpointState state;
  Bytes control_file;  // any valid one of this cluster; brought up to date by the plan
  std::vector<Fork> forks;
  std::vector<Database> databases;
  std::vector<RelationMap> relation_maps;
  std::vector<SlruSegment> slru_segments;
  std::vector<TwoPhase> two_phase;
  std::vector<ReplicationOrigin> origins;
};

}  // namespace varve::compute
