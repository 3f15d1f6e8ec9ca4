// The real PostgresHost: an arena, a Unix socket and a spawned, stock Postgres.
//
// How the parts stand together, and why a start can't leave a Postgres that runs without the shim,
// is in README.md.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "real_io/reactor.h"
#include "runtime/postgres_host.h"
#include "runtime/telemetry.h"

namespace varve::real_io {

class RealPostgresLife;

struct PostgresHostOptions {
  // Where computes have their directories; moved, and said in the log, when the Postgres user can't
  // live there.
  std::string directory;
  std::string shim;         // libvarve_shim.so as built
  std::string output_path;  // absolute; Postgres' own log is appended here
  // Folder of the executables of a major version; "%" stands for the number.
  std::string binaries = "/usr/lib/postgresql/%/bin";
  std::string user;  // as root: who Postgres runs as; empty: varve, else postgres
  // As root, when `user` is empty: the number of a user that this host's computes alone have, so
  // that a superuser of the database reaches no other compute's files and processes. Where such
  // a user can't be had it is said in the log, and computes share one. 0: they do.
  uint32_t own_user = 0;
  // Called by a fiber when a life takes connections, for whoever prints where. May be empty; must
  // not wait.
  std::function<void(const RealPostgresLife&)> on_ready;
  uint64_t threads = 4;
  uint64_t prefetches = 64;
  uint64_t hello_limit_ms = 30000;

  template <class V>
  static void describe(V&& v) {
    v(&PostgresHostOptions::threads,
      {"postgres_threads", "count", 1, 64,
       "prefetched pages and log reads that miss the page cache, at the same time"});
    v(&PostgresHostOptions::prefetches,
      {"postgres_prefetches", "count", 1, 4096,
       "ranges of up to 16 pages under way for hints; more hints are dropped"});
    v(&PostgresHostOptions::hello_limit_ms,
      {"postgres_hello_limit", "ms", 1000, 600000,
       "from exec to the shim's hello takes milliseconds; a loaded machine is given time"});
  }
};

// A life with what only the real world can do.
class RealPostgresLife : public PostgresLife {
 public:
  virtual int64_t postmaster() const = 0;            // process id
  virtual const std::string& directory() const = 0;  // of this life; its data are in data/
};

// `reactor` and `log` must outlive the host and its lives. Lives made by it are RealPostgresLife.
// The process becomes a sub-reaper, and starts no other program named "postgres" itself.
Result<std::unique_ptr<PostgresHost>> make_postgres_host(Reactor& reactor, Log& log,
                                                         PostgresHostOptions options);

}  // namespace varve::real_io
