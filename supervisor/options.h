// Limits of a supervisor.
#pragma once

#include "base/options.h"
#include "base/time.h"

namespace varve::supervisor {

struct SupervisorOptions {
  Duration pause_first = Duration::millis(20);
  Duration pause_maximum = Duration::seconds(3);
  Duration stable_life = Duration::seconds(10);
  Duration start_limit = Duration::seconds(60);
  uint64_t start_attempts = 5;
  Duration compute_stop_limit = Duration::seconds(12);
  Duration daemon_stop_limit = Duration::seconds(10);
  uint64_t log_bytes = 32 << 20;
  Duration log_look = Duration::seconds(5);

  template <class V>
  static void describe(V&& v) {
    v(&SupervisorOptions::pause_first,
      OptionInfo{"restart_pause_first", "ms", 1, 60000,
                 "longest pause before the life that follows a first end"});
    v(&SupervisorOptions::pause_maximum,
      OptionInfo{"restart_pause_maximum", "ms", 1, 600000,
                 "longest pause after many; bounds how long a repaired cause goes unnoticed"});
    v(&SupervisorOptions::stable_life,
      OptionInfo{"stable_life", "ms", 0, 3600000,
                 "a life that lasted this long forgets the ends before it"});
    v(&SupervisorOptions::start_limit,
      OptionInfo{"start_limit", "ms", 100, 3600000,
                 "all must answer by then, or the start is given up"});
    v(&SupervisorOptions::start_attempts,
      OptionInfo{"start_attempts", "count", 1, 1000,
                 "lives of one process that may end before its first answer"});
    v(&SupervisorOptions::compute_stop_limit,
      OptionInfo{"compute_process_stop_limit", "ms", 10, 600000,
                 "longer than the compute's own limit for Postgres, which kills more carefully"});
    v(&SupervisorOptions::daemon_stop_limit,
      OptionInfo{"daemon_stop_limit", "ms", 10, 600000,
                 "a daemon that takes longer is killed; it loses nothing that it answered for"});
    v(&SupervisorOptions::log_bytes,
      OptionInfo{"log_bytes", "bytes", 4 << 10, uint64_t{1} << 40,
                 "a log that has grown beyond it becomes NAME.log.1, of which there is one"});
    v(&SupervisorOptions::log_look,
      OptionInfo{"log_look", "ms", 10, 3600000, "how often the lengths of logs are looked at"});
  }
};

}  // namespace varve::supervisor
