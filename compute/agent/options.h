// Limits of an agent.
#pragma once

#include "base/options.h"
#include "base/time.h"
#include "compute/gate/gate.h"

namespace varve::compute {

struct AgentOptions {
  GateOptions gate;
  Duration stop_limit = Duration::seconds(10);
  Duration lease = Duration::seconds(5);
  Duration look_interval = Duration::millis(200);
  Duration page_attempt = Duration::seconds(5);
  Duration page_patience = Duration::seconds(15);
  uint64_t pages_in_flight = 64;
  uint64_t ingest_lag = 64 << 20;
  Duration longest_gate_delay = Duration::seconds(1);

  template <class V>
  static void describe(V&& v) {
    v(&AgentOptions::stop_limit,
      OptionInfo{"compute_stop_limit", "ms", 10, 600000,
                 "a fast stop that takes longer is a kill, which loses nothing but asynchronous "
                 "commits"});
    v(&AgentOptions::lease,
      OptionInfo{
          "compute_lease", "ms", 100, 600000,
          "a compute that no quorum has confirmed for so long answers nobody; well above the "
          "proposer's heartbeat"});
    v(&AgentOptions::look_interval,
      OptionInfo{"gate_look_interval", "ms", 1, 10000,
                 "the log is looked at this often even if nobody rings, so that asynchronous "
                 "commits reach the quorum"});
    v(&AgentOptions::page_attempt,
      OptionInfo{"page_attempt", "ms", 10, 60000,
                 "one question to storage; longer than a page's redo, shorter than patience"});
    v(&AgentOptions::page_patience,
      OptionInfo{"page_patience", "ms", 10, 600000,
                 "then the backend is told to ask again, which may be interrupted there"});
    v(&AgentOptions::pages_in_flight,
      OptionInfo{"pages_in_flight", "count", 1, 10000, "questions to storage at the same time"});
    v(&AgentOptions::ingest_lag,
      OptionInfo{"ingest_lag", "bytes", 1 << 20, uint64_t{1} << 40,
                 "storage may lag so far before commits are slowed down; a start waits for it"});
    v(&AgentOptions::longest_gate_delay,
      OptionInfo{"longest_gate_delay", "ms", 0, 60000,
                 "a commit waits this long when storage lags twice the limit or more"});
  }
};

// How long the gate's next answer is held back when storage lags `lag` bytes behind the quorum:
// nothing up to the limit, then linear, the longest at twice the limit. Smooth, so that writers
// settle at the speed of ingest rather than swing about it.
Duration gate_delay(const AgentOptions& options, uint64_t lag);

}  // namespace varve::compute
