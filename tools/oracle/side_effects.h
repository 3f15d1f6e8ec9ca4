// What a record does beside its block references, applied to what the oracle knows.
#pragma once

#include <array>
#include <cstdint>
#include <map>

#include "base/lsn.h"
#include "base/status.h"
#include "tools/oracle/page_map.h"
#include "wal/effects.h"
#include "wal/record.h"
#include "wal/slru.h"

namespace varve::oracle {

using SlruPages = std::map<wal::SlruPage, std::array<uint8_t, kBlockSize>>;

// The parts of a cluster that effects change.
struct Cluster {
  PageMap pages;
  SlruPages slru;
  wal::ServerParameters parameters;
};

// Clears visibility bits, forgets pages of created, truncated and dropped files, copies databases,
// keeps transaction status. Comes before the record's own blocks are looked at: the images were
// taken after both.
Status apply_effect(const wal::Effect& effect, Lsn end, Cluster& cluster);

}  // namespace varve::oracle
