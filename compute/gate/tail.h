// What the shim tells about the local log, as values: the agent copies it out of the arena, the
// simulator makes it up.
#pragma once

#include <cstdint>

#include "base/lsn.h"

namespace varve::compute {

// A consistent copy of the arena's tail. Every write of the log that happened before ticket
// `tickets` was taken is in it, because the tail is published before the ticket is.
struct TailSnapshot {
  bool torn =
      false;  // it was being written (or its writer died): nothing below is known but `tickets`
  uint64_t tickets = 0;  // times that somebody came to the gate
  Lsn end;         // behind the last page written; page-aligned; invalid while nothing was written
  Lsn nonzero_at;  // of the last non-zero 8 bytes of the last write; invalid when all were zero
  uint64_t nonzero_value = 0;
  Lsn inserted;  // how far Postgres had given out places in its log then; invalid: not known
  Lsn flushed;   // what Postgres believed to be flushed when it last came to the gate
};

}  // namespace varve::compute
