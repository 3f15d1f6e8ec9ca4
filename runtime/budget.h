// Memory that may be used, as a tree: process → pool → account. A reservation is counted at its
// node and at all above; it fails or waits when any of them is at its limit. Open layers, caches,
// receive windows, send queues and uploads draw from it, so that no input can make the process grow
// without bound.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/status.h"
#include "runtime/sync.h"

namespace varve {

class Budget;

// Bytes taken from a Budget, given back when it goes. Movable.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& o) noexcept
      : budget_(std::exchange(o.budget_, nullptr)), bytes_(std::exchange(o.bytes_, 0)) {}
  Reservation& operator=(Reservation&& o) noexcept {
    std::swap(budget_, o.budget_);
    std::swap(bytes_, o.bytes_);
    return *this;
  }
  ~Reservation();
  uint64_t bytes() const { return bytes_; }
  // Gives back all but `bytes`. Invariant: bytes <= bytes().
  void shrink(uint64_t bytes);

 private:
  friend class Budget;
  Reservation(Budget* budget, uint64_t bytes) : budget_(budget), bytes_(bytes) {}
  Budget* budget_ = nullptr;
  uint64_t bytes_ = 0;
};

class Budget {
 public:
  // `parent` (null for the root) must outlive this. `name` is for errors and metrics.
  Budget(std::string name, uint64_t limit, Budget* parent = nullptr);
  // Invariant: everything was given back.
  ~Budget();
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // Full, with the name of the node at its limit, when there is no room now. Never suspends.
  Result<Reservation> try_reserve(uint64_t bytes);
  // Waits for room, first come first served at each node. Invalid if `bytes` exceeds a limit on the
  // way: it could wait for ever.
  Result<Reservation> reserve(uint64_t bytes);
  uint64_t used() const { return used_; }
  uint64_t limit() const { return limit_; }
  const std::string& name() const { return name_; }

 private:
  friend class Reservation;
  Budget* blocking_node(uint64_t bytes);
  void give_back(uint64_t bytes);

  std::string name_;
  uint64_t limit_;
  Budget* parent_;
  uint64_t used_ = 0;
  WaitQueue waiters_;
};

}  // namespace varve
