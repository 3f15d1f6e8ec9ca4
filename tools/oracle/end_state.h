// After a clean shutdown the data directory must hold what the log led to.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "tools/oracle/page_map.h"
#include "tools/oracle/side_effects.h"

namespace varve::oracle {

struct EndState {
  uint64_t equal = 0;
  uint64_t different = 0;
  std::map<std::string, uint64_t> skipped;  // reason: pages
};

// Compares each known page with its file below `data_directory`, masked. At most `report`
// differences are described on standard error.
EndState compare_end_state(const std::string& data_directory, const PageMap& pages,
                           uint32_t report);

// Compares transaction status (pg_xact, pg_multixact, pg_commit_ts) page by page, without masks. A
// page of a file that no record made must be zeros.
EndState compare_slru(const std::string& data_directory, const SlruPages& pages, uint32_t report);

}  // namespace varve::oracle
