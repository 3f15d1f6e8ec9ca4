// Where a run of the benchmarks takes place: a scratch directory with Varve and its peers, each
// started when the first row asks for it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "bench/pairs.h"
#include "bench/stock.h"

namespace varve::bench {

struct ArenaOptions {
  std::string scratch;  // a directory of ours, which user postgres may enter
  std::string varve;    // a connection string to use instead of a Varve of our own
  int seconds = 5;      // of one run
  int rounds = 3;       // of A B B A
  int scale = 10;       // of pgbench's tables
  std::function<void(const std::string&)> progress;  // a line for people
};

class Arena {
 public:
  explicit Arena(ArenaOptions options);
  ~Arena();

  const ArenaOptions& options() const { return options_; }
  // Connection strings. Tables of pgbench are in each, and everything was read once.
  Result<std::string> varve();
  Result<std::string> replicated_peer();
  Result<std::string> local_peer();
  void say(const std::string& line) const;

 private:
  Result<std::string> peer(const std::string& name, bool replicated);
  Status prepare(const std::string& target);

  const ArenaOptions options_;
  std::string varve_;
  std::map<std::string, std::unique_ptr<Stock>> peers_;
};

// Runs `statement` once on the server, as a transaction of its own.
Status execute(const std::string& target, const std::string& statement);

}  // namespace varve::bench
