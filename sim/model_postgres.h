// A Postgres for simulations, behind the same interface as the real one.
//
// It keeps what matters of a stock server to those who run it: it starts from pg_control and the
// segment files of its plan and believes them; backends take places in the log in order and copy
// their records piece by piece; whoever flushes waits for the insertions before its target, holds
// the write lock, writes whole pages with whatever half-copied records stand behind the target,
// tells the tail and waits at the gate; pages are read once, into a pool, from whoever drives it.
// Its records are real ones (wal/writer.h): page images and commits, and a shutdown checkpoint when
// it is asked to stop.
//
// Each transaction adds one to a counter in a page. So a log is right when every page's counters
// count up by one along it and no xid commits twice; a compute that read a stale page, lost an
// acknowledged commit or began with a low next xid shows in the log itself.
//
// What it demands of who drives it is checked here and told as a violation.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "runtime/postgres_host.h"
#include "runtime/scope.h"
#include "runtime/sync.h"
#include "wal/checkpoint.h"
#include "wal/page.h"
#include "wal/record.h"
#include "wal/writer.h"

namespace varve::sim {

struct ModelPostgresOptions {
  wal::RelationId relation{1663, 5, 16384};  // whose pages the transactions count in
  uint32_t blocks = 6;
  uint32_t backends = 4;
  uint32_t transactions = 20;  // of each backend; then it idles
  Duration longest_pause = Duration::millis(3);
  uint32_t asynchronous_per_million = 100000;  // commits that nobody waits for
};

// What the page of a transaction says: bytes 24 and 32.
struct ModelPage {
  static uint64_t counter(std::span<const uint8_t> page);
  static uint64_t last_xid(std::span<const uint8_t> page);
};

struct ModelCommit {
  uint32_t xid = 0;
  uint32_t block = 0;
  uint64_t counter = 0;
  LsnRange record;  // of the commit
  uint32_t crc = 0;
};

class ModelPostgresObserver {
 public:
  virtual ~ModelPostgresObserver() = default;
  // A client was told that its transaction is durable. Never suspends.
  virtual void acknowledged(const ModelCommit& commit) = 0;
  // Postgres now believes everything below to be durable. Never suspends.
  virtual void flushed(Lsn lsn) = 0;
  // Who drives it broke its word.
  virtual void violation(const std::string& what) = 0;
};

class ModelPostgresHost : public PostgresHost {
 public:
  // Processes are fibers below `parent`. All references must outlive every life.
  ModelPostgresHost(ModelPostgresOptions options, uint64_t seed, Scope& parent,
                    ModelPostgresObserver& observer)
      : options_(options), seed_(seed), parent_(parent), observer_(observer) {}
  Result<std::unique_ptr<PostgresLife>> start(PostgresPlan plan) override;

 private:
  const ModelPostgresOptions options_;
  const uint64_t seed_;
  Scope& parent_;
  ModelPostgresObserver& observer_;
};

}  // namespace varve::sim
