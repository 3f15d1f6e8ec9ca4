// Memory of the open layers of all timelines of a process, under one limit.
//
// A timeline reserves as its open layer grows. When there is no room, the largest open layer of all
// is frozen, whoever's it is: an idle branch must not keep the memory that a busy one waits for.
// What is frozen gives its memory back once it is flushed.
#pragma once

#include <cstdint>
#include <list>

#include "runtime/budget.h"
#include "runtime/sync.h"

namespace varve::storage {

class OpenMemory {
 public:
  // Who holds open layers. None of these suspends.
  class Holder {
   public:
    virtual ~Holder() = default;
    virtual uint64_t open_bytes() const = 0;
    // Freezes what is open; its memory comes back through freed().
    virtual void freeze_open() = 0;
  };

  // `limit` in bytes; `parent` as a Budget's.
  explicit OpenMemory(uint64_t limit, Budget* parent = nullptr)
      : budget_("open layers", limit, parent) {}

  // `holder` is removed before it goes.
  void add(Holder& holder) { holders_.push_back(&holder); }
  void remove(Holder& holder) { holders_.remove(&holder); }

  // Suspends until there is room. Cancelled or DeadlineExceeded otherwise; Invalid for more than
  // the limit.
  Result<Reservation> reserve(uint64_t bytes);
  // Told when reserved memory will come back soon, and after it did.
  void returning(uint64_t bytes) { returning_ += bytes; }
  void returned(uint64_t bytes);

  uint64_t used() const { return budget_.used(); }

 private:
  void relieve();

  Budget budget_;
  std::list<Holder*> holders_;  // in order of arrival
  uint64_t returning_ = 0;
  WaitQueue waiters_;
};

}  // namespace varve::storage
