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
  // Calls `on_stop` once, in the loop and outside of fibers, at the first of both signals; later
  // ones are swallowed: stopping has begun. Invariant: block_stop_signals() was called.
  StopSignals(Reactor& reactor, std::function<void()> on_stop);
  ~StopSignals();

  void ready(uint32_t events) override;
  bool seen() const { return seen_; }

 private:
  Reactor& reactor_;
  std::function<void()> on_stop_;
  UniqueFd fd_;
  bool seen_ = false;
};

}  // namespace varve::real_io
