// The data directory of a stopped stock server: as what an import takes, and as what pages that
// storage serves must be equal to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/backup/import.h"
#include "storage/timeline.h"
#include "wal/control_file.h"

namespace varve::test {

inline constexpr uint32_t kWalSegmentSize = 16 << 20;

// All its files, in memory.
storage::ClusterFiles read_cluster(const std::string& data);
wal::ControlFile read_control(const std::string& data);
// Where the log of a cleanly stopped server ends.
Lsn end_of(const wal::ControlFile& control);

// Where the pages to be compared come from.
class PageSource {
 public:
  virtual ~PageSource() = default;
  virtual std::vector<Result<storage::PageAnswer>> blocks(const wal::BlockId& first,
                                                          uint32_t count) = 0;
  virtual Result<Bytes> status_page(wal::SlruPage page) = 0;
};

struct Tally {
  uint64_t pages = 0;
  uint64_t beyond = 0;
  uint64_t unequal = 0;
  uint64_t lost_maps = 0;
  uint64_t forks = 0;
};

// Compares every page of relations and status files after masking what is not logged. Differences
// are failures of the running test; the first few are told.
Tally compare_directory(PageSource& source, const storage::ClusterFiles& files);

}  // namespace varve::test
