// All processes of one Postgres, found and signalled.
//
// Postgres' children lead sessions of their own and live on when the postmaster dies, so neither
// the process group nor the parent is enough. One of the family is: the postmaster, whoever works
// in the data directory, whoever descends from one of those, and whoever was left to us as the
// nearest sub-reaper by something that had opened a session of its own. Signals go through a pidfd
// after a second look, so a number that went to a stranger meanwhile is left alone. All block on
// /proc.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/status.h"

namespace varve::real_io {

struct ProcessFamily {
  pid_t postmaster = 0;  // 0: not known
  std::string data;      // absolute, without links
  bool orphans = false;  // take those that were left to this process, too
};

// Makes this process the one to which orphans below it are left.
Status become_subreaper();

// Sends `signal` to each living member, and buries dead ones that were left to us. How many were
// alive.
size_t signal_family(const ProcessFamily& family, int signal);

}  // namespace varve::real_io
