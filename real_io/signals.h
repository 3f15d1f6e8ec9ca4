// SIGINT and SIGTERM as an event of the loop.
#pragma once

#include <functional>

#include "real_io/reactor.h"
#include "real_io/unique_fd.h"

namespace varve::real_io {

// Blocks both signals for the calling thread and those that it starts later. Must come before the
// first other thread, or the signal may end the process there.
void block_stop_signals();

class StopSignals final : public Watcher {
 public:
  // Calls `on_stop` at each of both signals, in the loop and outside of fibers, with how many have
  // come so far: the first asks, a second means it. Invariant: block_stop_signals() was called.
  StopSignals(Reactor& reactor, std::function<void(uint64_t count)> on_stop);
  ~StopSignals();

  void ready(uint32_t events) override;
  bool seen() const { return count_ > 0; }

 private:
  Reactor& reactor_;
  std::function<void(uint64_t)> on_stop_;
  UniqueFd fd_;
  uint64_t count_ = 0;
};

}  // namespace varve::real_io
