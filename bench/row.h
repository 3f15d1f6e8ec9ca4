// What a benchmark is: a name, a way to measure, a peer.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "bench/pairs.h"

namespace varve::bench {

class Arena;

struct RowResult {
  std::vector<double> value;
  std::vector<double> peer;  // as many, paired; empty when there is nothing to compare with
};

struct Row {
  const char* name;
  const char* unit;
  const char* peer;  // what the peer is; "" for none
  bool higher_is_better;
  const char* about;  // one line
  std::function<Result<RowResult>(Arena&)> measure;
};

// All rows, in the order in which they are run.
const std::vector<Row>& all_rows();

// The parts of the table; each in the file of its name.
std::vector<Row> commit_rows();
std::vector<Row> warm_rows();
std::vector<Row> cold_rows();

// One line of `--json`, and one for people.
std::string to_json(const Row& row, const RowResult& result);
std::string to_text(const Row& row, const RowResult& result);

}  // namespace varve::bench
