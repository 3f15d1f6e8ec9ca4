// Where a run of the benchmarks takes place: a scratch directory with Varve and its peers, each
// started when the first row asks for it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "bench/pairs.h"
#include "bench/stock.h"
#include "tests/product/cluster.h"

namespace varve::bench {

struct ArenaOptions {
  std::string scratch = {};     // a directory of ours, which user postgres may enter
  std::string executable = {};  // varve
  std::string varve = {};       // a connection string to use instead of a Varve of our own
  int seconds = 5;              // of one run
  int rounds = 3;               // of A B B A
  int scale = 10;               // of pgbench's tables
  std::function<void(const std::string&)> progress = {};  // a line for people
};

// A project with a database of some size, made of pgbench's tables.
struct SizedProject {
  const char* name;
  int scale;
};
inline constexpr SizedProject kSmallProject{"small", 7};   // about 100 MB
inline constexpr SizedProject kLargeProject{"large", 68};  // about 1 GB

class Arena {
 public:
  explicit Arena(ArenaOptions options);
  ~Arena();

  const ArenaOptions& options() const { return options_; }
  // Connection strings. Tables of pgbench are in each, and everything was read once.
  Result<std::string> varve();
  Result<std::string> replicated_peer();
  Result<std::string> local_peer();

  // For rows that do more to Varve than to write and read.
  Result<product::Cluster*> cluster();
  // Its endpoint runs.
  Result<std::string> project(const SizedProject& sized);
  Status stop_project(const SizedProject& sized);
  void say(const std::string& line) const;

 private:
  Result<std::string> peer(const std::string& name, bool replicated);
  Status prepare(const std::string& target);

  const ArenaOptions options_;
  std::string varve_;
  std::unique_ptr<product::Cluster> cluster_;
  std::map<std::string, std::unique_ptr<Stock>> peers_;
  std::set<std::string> loaded_;  // of the sized projects
};

// Runs `statement` once on the server, as a transaction of its own.
Status execute(const std::string& target, const std::string& statement);

}  // namespace varve::bench
