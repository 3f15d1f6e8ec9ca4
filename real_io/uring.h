// Reads and writes of files through an io_uring, for depth: one submission carries all that a
// turn's fibers asked for, and the device sees them together. Completions arrive as readiness of
// the ring's own descriptor.
//
// Synced writes don't come here (disk.h says why). A result that the kernel could not finish
// without blocking differently (EAGAIN, or an opcode it lacks) goes on as a blocking call on the
// file threads.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>

#include "real_io/thread_pool.h"
#include "real_io/transfer.h"

struct io_uring;

namespace varve::real_io {

class UringTransfers final : public Watcher, public TurnHook {
 public:
  // Null when this kernel, or this process' limits, give no ring.
  static std::unique_ptr<UringTransfers> create(ThreadPool& threads);
  // Invariant: nothing under way.
  ~UringTransfers();

  // begin()s `transfer` and submits it with this turn.
  void start(Transfer* transfer);

  void ready(uint32_t events) override;
  void turn_ended() override;

 private:
  UringTransfers(ThreadPool& threads, std::unique_ptr<io_uring> ring);
  void reap();
  void go_on(Transfer* transfer);
  bool prepare(Transfer* transfer);

  ThreadPool& threads_;
  Reactor& reactor_;
  std::unique_ptr<io_uring> ring_;
  std::deque<Transfer*> waiting_;  // for a place in the submission queue
  size_t in_kernel_ = 0;
};

}  // namespace varve::real_io
