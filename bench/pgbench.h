// Postgres' own load generator against one server.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace varve::bench {

struct PgbenchOptions {
  std::string target;  // libpq connection string
  int clients = 1;
  int seconds = 5;
  std::vector<std::string> workload;  // {"-N"}, {"-S"}, {"-f", "script.sql"}; empty: TPC-B like
};

struct PgbenchResult {
  double transactions_per_second = 0;  // without the time to connect
  double latency_ms = 0;
  uint64_t transactions = 0;
  uint64_t failed = 0;
};

// Prepared statements, as many threads as clients up to 2. A failed transaction or an aborted
// client is an error: a benchmark that skips work has no result.
Result<PgbenchResult> run_pgbench(const PgbenchOptions& options);
// Makes pgbench's tables, `scale` times 100,000 accounts (about 15 MB each).
Status load_pgbench(const std::string& target, int scale);

// What pgbench printed; Corrupt when it is something else.
Result<PgbenchResult> parse_pgbench(const std::string& output);

}  // namespace varve::bench
