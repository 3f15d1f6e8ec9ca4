// Keeps logs from filling the disk: a log that has grown beyond a limit becomes NAME.log.1, in the
// place of the one before, and NAME.log begins anew. So a process has at most twice the limit, and
// what it writes within one look.
//
// The processes write to their logs themselves, Postgres among them, at the end of the file and
// through a descriptor that they keep. So the file is copied and cut, not renamed. What is written
// between the last byte that was copied and the cut is lost; that is microseconds, once in a limit.
#pragma once

#include <string>

#include "runtime/world.h"
#include "supervisor/options.h"

namespace varve::supervisor {

// Looks after all "*.log" in `directory` of the world's disk until it is cancelled. Suspends.
Status keep_logs(World& world, const SupervisorOptions& options, const std::string& directory);

// One look. The first error; the others are looked at all the same. Suspends.
Status keep_logs_once(World& world, uint64_t limit, const std::string& directory);

}  // namespace varve::supervisor
