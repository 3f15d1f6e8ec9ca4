// Streams in memory, for tests of protocols: two ends, pieces cut at drawn places, a high-water
// mark, and a hand on every way in which a stream can end. The simulator has better ones; these
// need nothing but a scheduler.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "runtime/clock.h"
#include "runtime/network.h"
#include "runtime/scheduler.h"
#include "runtime/scope.h"
#include "runtime/sync.h"

namespace varve::testing {

class HandClock : public Clock {
 public:
  Instant now() const override { return instant; }
  WallTime wall() const override { return wall_time; }
  Instant instant{1000};
  WallTime wall_time{};
};

// Runs fibers and jumps from timer to timer.
class FiberHarness {
 public:
  FiberHarness() : scheduler(clock) {}
  // Runs `task` and all that it spawns; a fiber that still waits when nothing can happen is a
  // failure.
  void run(Task task) {
    scheduler.start("test", std::move(task));
    while (true) {
      scheduler.run_ready();
      const Instant next = scheduler.next_timer();
      if (next == Instant::never()) break;
      clock.instant = std::max(clock.instant, next);
      scheduler.fire_timers(clock.instant);
    }
    for (const std::string& line : scheduler.describe_waits()) ADD_FAILURE() << line;
    if (scheduler.statistics().fibers_live != 0) scheduler.abandon();
  }
  HandClock clock;
  Scheduler scheduler;
};

// One direction.
struct Pipe {
  std::deque<Bytes> pieces;
  size_t queued = 0;
  size_t high_water = 256 << 10;
  uint64_t carried = 0;  // bytes ever written
  uint64_t writes = 0;
  bool ended = false;
  bool reset = false;
  bool stalled = false;  // nothing comes out while set
  WaitQueue readers;
  WaitQueue writers;
  Task on_readable;

  bool readable() const { return reset || (!stalled && (!pieces.empty() || ended)); }
  void changed() {
    if (!readable()) return;
    if (on_readable) std::exchange(on_readable, Task())();
    readers.wake_all();
  }
};

class LoopbackStream : public Stream {
 public:
  // `random` null: pieces come out as they went in.
  LoopbackStream(std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out, RandomStream* random)
      : in_(std::move(in)), out_(std::move(out)), random_(random) {}
  ~LoopbackStream() override {
    in_->on_readable = Task();
    LoopbackStream::abort();
  }

  Result<Bytes> read() override {
    while (!in_->readable()) VARVE_TRY(in_->readers.wait("loopback bytes"));
    if (in_->reset) return Status(Code::kUnavailable, "connection reset");
    if (in_->pieces.empty()) return Bytes();
    Bytes& front = in_->pieces.front();
    size_t count = front.size();
    if (random_ != nullptr && count > 1 && random_->chance(300000))
      count = random_->between(1, count);
    Bytes piece = front.slice(0, count);
    if (count == front.size()) {
      in_->pieces.pop_front();
    } else {
      front = front.slice(count);
    }
    in_->queued -= count;
    in_->writers.wake_all();
    return piece;
  }
  using Stream::write;
  Status write(std::vector<Bytes> data) override {
    if (out_->reset || out_->ended) return Status(Code::kUnavailable, "stream is closed");
    ++out_->writes;
    for (Bytes& piece : data) {
      if (piece.empty()) continue;
      out_->queued += piece.size();
      out_->carried += piece.size();
      out_->pieces.push_back(std::move(piece));
    }
    out_->changed();
    while (out_->queued > out_->high_water && !out_->reset) {
      VARVE_TRY(out_->writers.wait("loopback room"));
    }
    return out_->reset ? Status(Code::kUnavailable, "connection reset") : Status();
  }
  Status close_write() override {
    out_->ended = true;
    out_->changed();
    return Status();
  }
  void abort() override {
    for (Pipe* pipe : {in_.get(), out_.get()}) {
      // What was sent with an orderly end still arrives.
      if (pipe == in_.get() || !pipe->ended) pipe->reset = true;
      pipe->changed();
      pipe->writers.wake_all();
    }
  }
  void on_readable(Task spawn) override {
    if (in_->readable()) {
      spawn();
    } else {
      in_->on_readable = std::move(spawn);
    }
  }
  const Address& peer() const override { return peer_; }
  Pipe& in() { return *in_; }
  Pipe& out() { return *out_; }

 private:
  std::shared_ptr<Pipe> in_;
  std::shared_ptr<Pipe> out_;
  RandomStream* random_;
  Address peer_{"loopback", 1};
};

struct StreamPair {
  std::unique_ptr<LoopbackStream> client;
  std::unique_ptr<LoopbackStream> server;
};

inline StreamPair make_streams(RandomStream* random = nullptr) {
  auto up = std::make_shared<Pipe>();
  auto down = std::make_shared<Pipe>();
  return {std::make_unique<LoopbackStream>(down, up, random),
          std::make_unique<LoopbackStream>(up, down, random)};
}

}  // namespace varve::testing
