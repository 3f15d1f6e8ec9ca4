// Limits of a safekeeper.
#pragma once

#include "base/options.h"
#include "base/time.h"

namespace varve::consensus {

struct SafekeeperOptions {
  Duration save_interval = Duration::seconds(5);
  Duration reload_pause = Duration::seconds(1);
  Duration prefix_delay = Duration::seconds(3);
  Duration sender_heartbeat = Duration::seconds(1);
  Duration sender_pause = Duration::millis(2);
  uint64_t tail_bytes = 4 << 20;
  uint64_t batch_bytes = 1 << 20;
  uint64_t queue_bytes = 8 << 20;

  template <class V>
  static void describe(V&& v) {
    v(&SafekeeperOptions::save_interval,
      OptionInfo{
          "save_interval", "ms", 10, 600000,
          "how long commit and flush positions may be in memory only; a restart scans from there"});
    v(&SafekeeperOptions::reload_pause,
      OptionInfo{"reload_pause", "ms", 10, 60000,
                 "pause before a timeline that met a disk error is loaded again"});
    v(&SafekeeperOptions::prefix_delay,
      OptionInfo{"prefix_delay", "ms", 0, 60000,
                 "age at which a branch copies its parent's log in front of its start; a burst of "
                 "branches does not wait for copies"});
    v(&SafekeeperOptions::sender_heartbeat,
      OptionInfo{"sender_heartbeat", "ms", 10, 60000,
                 "a silent stream says this often how far the log is"});
    v(&SafekeeperOptions::sender_pause,
      OptionInfo{"sender_pause", "ms", 0, 1000,
                 "a reader of committed WAL that keeps up gets the next piece so long after the "
                 "last one: many commits in one message"});
    v(&SafekeeperOptions::tail_bytes,
      OptionInfo{
          "tail_bytes", "bytes", 0, 256 << 20,
          "newest WAL kept in memory for senders; a reader that keeps up never touches the disk"});
    v(&SafekeeperOptions::batch_bytes,
      OptionInfo{"batch_bytes", "bytes", 4096, 64 << 20, "most WAL written before one sync"});
    v(&SafekeeperOptions::queue_bytes,
      OptionInfo{
          "queue_bytes", "bytes", 256 << 10, 1 << 30,
          "WAL received and not yet written, per timeline; above it the proposer is not read"});
  }
};

}  // namespace varve::consensus
