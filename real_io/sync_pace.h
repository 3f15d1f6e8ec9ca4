// Whether a synced write is worth a thread.
//
// The way to a file thread and back costs two wake-ups on each side, which on a disk that syncs in
// 30 µs is more than the write. So while synced writes of a disk have been fast, the loop makes
// small ones itself, one a turn, so that those of many timelines still go side by side. One that
// turns out slow is a stall of the loop, once: the following ones go to threads until they are fast
// again, there.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace varve::real_io {

class SyncPace {
 public:
  // Above this a disk is left to the threads. Far above what a fast disk takes: on a machine whose
  // processors are all busy the wait for one of them counts, too, and a thread would wait longer.
  static constexpr Duration kFast = Duration::micros(500);
  // One that takes so long is enough to leave it.
  static constexpr Duration kStall = Duration::millis(1);
  // Larger writes are copied for too long, whatever the sync takes.
  static constexpr size_t kMaxBytes = 256 << 10;

  bool fast() const { return average_ < kFast.nanoseconds; }
  // What a synced write took, wherever it was made.
  void took(int64_t nanoseconds) {
    average_ += (nanoseconds - average_) / 8;
    if (nanoseconds >= kStall.nanoseconds) average_ = std::max(average_, nanoseconds);
  }

 private:
  int64_t average_ = Duration::millis(2).nanoseconds;  // to be shown otherwise
};

}  // namespace varve::real_io
