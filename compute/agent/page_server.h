// Answers the pages that Postgres misses, from storage.
//
// A primary asks at its own commit position, never "newest": what a fenced compute may see is
// history that it shares with its successor. And it says "not modified since L" (where this life
// began), since it never asks for a page that it has changed itself: so storage answers without
// waiting for what is being committed now, and a page that nobody touched stays readable however
// old the compute grows.
//
// What comes back is checked before Postgres sees it: the key's echo, a checksum made where the
// page was made, and a page LSN that is not from the future. A page that can't be had now is asked
// for again, with jitter, over restarts of storage; one that storage says can't be rebuilt is lost,
// and an I/O error for who asked. Never zeros.
#pragma once

#include <vector>

#include "base/backoff.h"
#include "compute/agent/options.h"
#include "compute/agent/plan.h"
#include "compute/agent/services.h"
#include "runtime/postgres_host.h"
#include "runtime/random.h"
#include "runtime/scope.h"
#include "runtime/sync.h"
#include "runtime/telemetry.h"

namespace varve::compute {

// Planted bugs; all false outside tests.
struct PageFaults {
  bool ask_newest = false;     // instead of the own commit position
  bool trust_answers = false;  // no check of what comes back
};

struct PageServerStatistics {
  uint64_t pages = 0;
  uint64_t retries = 0;
  uint64_t wrong_answers = 0;
  uint64_t lost = 0;
};

class PageServer {
 public:
  // All references must outlive it. `start` is L, `first_commit` the first position that is known
  // to be committed (E).
  PageServer(PageService& service, LogService& log, Random& random, Log& events,
             const AgentOptions& options, WonTerm won, Lsn first_commit, PageFaults faults = {});

  // The pages, in the order of `keys`. Retries for options.page_patience, then Unavailable; Stale
  // when storage knows a newer term; Corrupt, Unsupported or NotFound for a page that is lost.
  // Suspends.
  Result<std::vector<Bytes>> fetch(const std::vector<PageKey>& keys);

  // Serves a life until it ends or the fiber is cancelled; spawns a fiber per question into
  // `scope`. Stale is returned at once: this compute is over.
  Status serve(PostgresLife& life, const StartPlan& plan, Scope& scope);

  const PageServerStatistics& statistics() const { return statistics_; }

 private:
  Result<std::vector<Bytes>> ask(const PageQuery& query);
  Status check(const PageQuery& query, const std::vector<ServedPage>& served);
  void answer(PostgresLife& life, const StartPlan& plan, const PostgresPageWanted& wanted);
  Lsn position() const;

  PageService& service_;
  LogService& log_;
  Random& random_;
  Log& events_;
  const AgentOptions& options_;
  const WonTerm won_;
  const Lsn first_commit_;
  const PageFaults faults_;
  Semaphore slots_;
  Status stale_;
  Scope* questions_ = nullptr;
  PageServerStatistics statistics_;
};

}  // namespace varve::compute
