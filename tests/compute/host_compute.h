// A compute on the real PostgresHost with no Varve behind it: pages come from a cleanly stopped
// data directory, the commit gate is the real one, and the quorum acknowledges at once.
//
// What an agent does, in two fibers; everything here is for fibers of one reactor.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compute/gate/gate.h"
#include "real_io/postgres/host.h"
#include "runtime/scope.h"

namespace varve::test {

struct OriginalCluster {
  PostgresPlan plan;  // without nonce, term and settings
  wal::LogIdentity identity;
  Lsn checkpoint;  // start and end of its last record
  Lsn end;
};
// Of a stopped Postgres 15.
Result<OriginalCluster> read_cluster(const std::string& data);

class HostCompute {
 public:
  // `data`: the stopped directory. `settings`: "name=value", beside those that the gate needs.
  HostCompute(PostgresHost& host, std::string data, std::vector<std::string> settings);
  ~HostCompute();

  Status start(Incarnation nonce);
  real_io::RealPostgresLife& life() { return *life_; }
  std::string sockets() const { return life_->directory() + "/run"; }
  const std::string& kill_text() const { return kill_text_; }
  uint64_t pages() const { return pages_; }
  uint64_t prefetched() const { return prefetched_; }
  uint64_t passes() const { return passes_; }
  bool hold_quorum = false;

 private:
  Status serve_pages();
  Status serve_gate();
  Status look();
  void publish(const compute::GateEffects& effects);
  PostgresPageAnswer answer(const PostgresPageWanted& wanted);

  PostgresHost& host_;
  std::string data_;
  std::vector<std::string> settings_;
  std::vector<PostgresLazyFile> files_;
  std::unique_ptr<real_io::RealPostgresLife> life_;
  std::optional<compute::Gate> gate_;
  std::optional<Instant> look_at_;
  std::map<uint32_t, int> open_;
  std::string kill_text_;
  uint64_t pages_ = 0, prefetched_ = 0, passes_ = 0;
  Scope scope_;
};

}  // namespace varve::test
