// Limits of control.
#pragma once

#include "base/options.h"

namespace varve::control {

struct ControlOptions {
  Duration call_timeout = Duration::seconds(10);
  Duration settle_timeout = Duration::seconds(30);
  Duration settle_pause = Duration::millis(50);
  Duration member_grace = Duration::millis(300);
  Duration start_patience = Duration::seconds(60);
  Duration compute_silence = Duration::seconds(10);
  Duration retry_first = Duration::millis(50);
  Duration retry_maximum = Duration::seconds(3);
  Duration import_timeout = Duration::seconds(120);

  template <class V>
  static void describe(V&& v) {
    v(&ControlOptions::call_timeout,
      {"control_call_timeout", "ms", 100, 600000, "one call to a process that should be there"});
    v(&ControlOptions::settle_timeout,
      {"control_settle_timeout", "ms", 100, 600000,
       "how long a compute that begins a new life may take to say where its log ends"});
    v(&ControlOptions::settle_pause, {"control_settle_pause", "ms", 1, 10000,
                                      "before a compute that could not tell is asked again"});
    v(&ControlOptions::member_grace,
      {"control_member_grace", "ms", 1, 60000,
       "how long the last safekeeper holds up a branch that a quorum has"});
    v(&ControlOptions::start_patience,
      {"control_start_patience", "ms", 1000, 3600000,
       "after which the asker is told that a start takes longer; it goes on"});
    v(&ControlOptions::compute_silence,
      {"control_compute_silence", "ms", 2000, 600000,
       "a compute that reports each second and is not heard of for so long is asked for again"});
    v(&ControlOptions::retry_first,
      {"control_retry_first", "ms", 1, 60000, "longest pause after a job failed once"});
    v(&ControlOptions::retry_maximum,
      {"control_retry_maximum", "ms", 1, 600000, "longest pause after a job failed often"});
    v(&ControlOptions::import_timeout,
      {"control_import_timeout", "ms", 1000, 3600000, "to send a new cluster to the pageserver"});
  }
};

}  // namespace varve::control
