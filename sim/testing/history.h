// Operations on one register with their times, and whether some order of them explains what they
// returned.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace varve::sim::testing {

struct Operation {
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  bool is_write = false;
  uint64_t value =
      0;  // written, or returned by a read; written values are unique, 0 is the initial one
  int64_t began = 0;
  int64_t ended = kNever;  // kNever: its outcome is unknown; a write may then have happened or not
};

// Looks for an order in which each operation takes effect between its beginning and its end and
// each read returns the last write before it (Wing and Gong 1993, with memory of visited states
// after Lowe 2017). At most 64 operations. True if there is one. Reads without an end are ignored.
bool is_linearizable(std::vector<Operation> history);

std::string to_string(const std::vector<Operation>& history);

}  // namespace varve::sim::testing
