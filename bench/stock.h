// The peer: a stock Postgres of the same version on the same disk.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "tests/programs/child_process.h"

namespace varve::bench {

struct StockOptions {
  std::string directory;  // absent; made for the peer alone
  std::vector<std::pair<std::string, std::string>> settings;
  // Commits wait for two of three `pg_receivewal --synchronous` beside the server, the durability
  // that Varve's quorum gives. Otherwise for the server's own fdatasync alone.
  bool replicated = false;
};

class Stock {
 public:
  // initdb and start. Its log is "<directory>/log".
  static Result<std::unique_ptr<Stock>> start(const StockOptions& options);
  // A fast stop; the directory stays.
  ~Stock();

  const std::string& target() const { return target_; }
  // Fills segments and checkpoints until old segments lie ready to be used again, as in a server
  // that has run for a while: making new ones is what makes a young server slow.
  Status warm_log();

 private:
  Stock() = default;
  Status start_receivers();

  std::string directory_;
  std::string target_;
  std::unique_ptr<programs::ChildProcess> server_;
  std::vector<programs::ChildProcess> receivers_;
};

// What must be equal on both sides for a comparison to mean anything: read from the server at
// `target`, to be given to the peer. full_page_writes is among them, and off, since pages on
// Varve's local disk are a cache.
Result<std::vector<std::pair<std::string, std::string>>> comparable_settings(
    const std::string& target);

}  // namespace varve::bench
