// Replays a log that carries consistency images and compares every page with what the primary had.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "tools/oracle/page_map.h"
#include "tools/oracle/sampler.h"
#include "tools/oracle/side_effects.h"
#include "wal/effects.h"
#include "wal/record.h"
#include "wal/record_names.h"
#include "wal/redo/delta.h"
#include "wal/version.h"

namespace varve::oracle {

struct Counts {
  uint64_t records = 0;
  uint64_t comparisons = 0;
  uint64_t mismatches = 0;
  std::map<std::string, uint64_t> skipped;   // reason: blocks
  std::map<std::string, uint64_t> types;     // compared, by record type
  std::map<std::string, uint64_t> restored;  // full images, by record type
  uint64_t vm_pages_equal = 0;
  uint64_t vm_pages_different = 0;
  // The primary's map lacked bits that a record just behind clears; explained, see
  // Checker::EarlyClear.
  uint64_t vm_pages_ahead = 0;
  uint64_t longest_ahead = 0;  // records until such a bit was cleared
  // pd_lsn in the image is the LSN of the page's version before: equal to ours, or our chain misses
  // a record.
  uint64_t chain_equal = 0;
  uint64_t chain_different = 0;
  uint64_t delta_bytes = 0;  // as storage would keep them
};

class Checker {
 public:
  // At most `report` differences are described on standard error.
  // `checksums`: the cluster has data checksums.
  Checker(bool checksums, uint32_t report)
      : checksums_(checksums), facts_({.hint_bits_logged = checksums}), report_(report) {}

  // Offers every compared block to `sampler`, which must outlive this.
  void sample_to(Sampler* sampler) { sampler_ = sampler; }

  // One record, in log order. Fails only for what no log contains; differences are counted.
  Status take(const wal::Version& version, const wal::Record& record);
  // After the last record: what still waits for an explanation has none.
  void finish() { settle(true); }

  const Counts& counts() const { return counts_; }
  const Cluster& cluster() const { return cluster_; }

 private:
  // A backend that changes a heap page clears its visibility bits before it inserts its record.
  // Another backend's record in between carries an image of the map page that is ahead of the log,
  // by bits that the first one's record, a few records on, clears.
  struct EarlyClear {
    wal::BlockId map;
    uint32_t heap_block;
    uint8_t bits;
    uint64_t record;  // number of the one with the image
  };

  Status take_block(const wal::Record& record, const wal::BlockReference& block);
  void compare(const wal::Record& record, const wal::BlockReference& block, KnownPage& page);
  void compare_map(const wal::Record& record, const wal::BlockReference& block, KnownPage& page);
  void settle(bool end);
  void check_chain(const wal::Record& record, const wal::BlockReference& block, Lsn ours,
                   Lsn image);
  void mismatch(const wal::Record& record, const wal::BlockReference& block,
                const std::string& what);
  std::string name_of(const wal::Record& record) const {
    return wal::record_name(*version_, record.rmid, record.info);
  }
  void skip(const char* reason) { ++counts_.skipped[reason]; }

  bool checksums_;
  wal::redo::ClusterFacts facts_;
  uint32_t report_;
  Sampler* sampler_ = nullptr;
  const wal::Version* version_ = nullptr;
  wal::Effect effect_;
  Cluster cluster_;
  Counts counts_;
  std::vector<EarlyClear> early_clears_;
  std::array<uint8_t, kBlockSize> image_{};
};

}  // namespace varve::oracle
