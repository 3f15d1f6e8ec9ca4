// What fibers of one scheduler wait on for each other. All waits return Cancelled or
// DeadlineExceeded when the fiber's scope or deadline says so; wake-ups are in order of arrival, so
// that runs repeat.
#pragma once

#include <deque>
#include <list>
#include <optional>
#include <utility>

#include "base/status.h"
#include "runtime/scheduler.h"

namespace varve {

// A line of waiting fibers; the base of everything below. Destroying one with waiters is a broken
// invariant.
class WaitQueue {
 public:
  WaitQueue() = default;
  ~WaitQueue();
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;

  // Suspends until woken. `label` names the wait. A fiber that was woken AND cancelled reports
  // success: the signal is not lost.
  Status wait(const char* label, Instant deadline = Instant::never());
  // Wakes the first waiter; false when there is none. Never suspends.
  bool wake_one();
  void wake_all();
  bool empty() const { return waiters_.empty(); }
  size_t size() const { return waiters_.size(); }

 private:
  std::list<Fiber*> waiters_;
};

// Mutual exclusion across waits. Prefer to need none.
class Mutex {
 public:
  // Suspends while another fiber holds it. Fair.
  Status lock(const char* label = "mutex");
  bool try_lock();
  // Invariant: held by the caller.
  void unlock();

 private:
  bool held_ = false;
  WaitQueue queue_;
};

// Holds a Mutex while it lives. Check status() first: a cancelled wait holds nothing.
class MutexGuard {
 public:
  explicit MutexGuard(Mutex& mutex, const char* label = "mutex")
      : mutex_(mutex), status_(mutex.lock(label)) {}
  ~MutexGuard() {
    if (status_.ok()) mutex_.unlock();
  }
  MutexGuard(const MutexGuard&) = delete;
  MutexGuard& operator=(const MutexGuard&) = delete;
  const Status& status() const { return status_; }

 private:
  Mutex& mutex_;
  Status status_;
};

// A counted permit.
class Semaphore {
 public:
  explicit Semaphore(uint64_t permits) : available_(permits) {}
  Status acquire(uint64_t count = 1, const char* label = "semaphore");
  bool try_acquire(uint64_t count = 1);
  void release(uint64_t count = 1);
  uint64_t available() const { return available_; }

 private:
  struct Waiting {
    uint64_t count;
    bool granted = false;
    Fiber* fiber;
  };
  void grant();
  uint64_t available_;
  // first come, first served: a large request is not starved by small ones
  std::list<Waiting*> queue_;
};

// Set once; waiting after that doesn't suspend.
class Event {
 public:
  Status wait(const char* label = "event") { return set_ ? Status() : queue_.wait(label); }
  void set() {
    set_ = true;
    queue_.wake_all();
  }
  bool is_set() const { return set_; }

 private:
  bool set_ = false;
  WaitQueue queue_;
};

// The newest value of something that moves forward (an LSN, a state); many watch it.
template <class T>
class Watch {
 public:
  explicit Watch(T value) : value_(std::move(value)) {}

  const T& get() const { return value_; }
  void set(T value) {
    value_ = std::move(value);
    queue_.wake_all();
  }
  // Suspends until predicate(value) holds.
  template <class P>
  Status wait_until(P predicate, const char* label, Instant deadline = Instant::never()) {
    while (!predicate(value_)) VARVE_TRY(queue_.wait(label, deadline));
    return Status();
  }
  // Suspends until the next set().
  Status wait_change(const char* label, Instant deadline = Instant::never()) {
    return queue_.wait(label, deadline);
  }

 private:
  T value_;
  WaitQueue queue_;
};

// A bounded queue between fibers. After close() senders get Cancelled, receivers drain and then get
// NotFound.
template <class T>
class Channel {
 public:
  explicit Channel(size_t capacity) : capacity_(capacity) { VARVE_CHECK(capacity > 0); }

  // Suspends while the channel is full.
  Status send(T value, const char* label = "channel full") {
    while (items_.size() >= capacity_ && !closed_) VARVE_TRY(senders_.wait(label));
    if (closed_) return Status(Code::kCancelled, "channel closed");
    items_.push_back(std::move(value));
    receivers_.wake_one();
    return Status();
  }
  // False when full or closed; never suspends.
  bool try_send(T value) {
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(value));
    receivers_.wake_one();
    return true;
  }
  // Suspends while the channel is empty.
  Result<T> receive(const char* label = "channel empty") {
    while (items_.empty()) {
      if (closed_) return Status(Code::kNotFound, "channel closed and drained");
      VARVE_TRY(receivers_.wait(label));
    }
    return pop();
  }
  std::optional<T> try_receive() {
    if (items_.empty()) return std::nullopt;
    return pop();
  }
  void close() {
    closed_ = true;
    senders_.wake_all();
    receivers_.wake_all();
  }
  bool closed() const { return closed_; }
  size_t size() const { return items_.size(); }

 private:
  T pop() {
    T value = std::move(items_.front());
    items_.pop_front();
    senders_.wake_one();
    // A signal may have gone to a receiver that was cancelled; the next one must not sleep over an
    // item.
    if (!items_.empty()) receivers_.wake_one();
    return value;
  }
  size_t capacity_;
  bool closed_ = false;
  std::deque<T> items_;
  WaitQueue senders_;
  WaitQueue receivers_;
};

}  // namespace varve
