#include "storage/open_memory.h"

#include <algorithm>

#include "base/check.h"

namespace varve::storage {

Result<Reservation> OpenMemory::reserve(uint64_t bytes) {
  if (bytes > budget_.limit()) {
    return Status(Code::kInvalid, std::to_string(bytes) + " bytes exceed all of 'open layers'");
  }
  for (;;) {
    Result<Reservation> reservation = budget_.try_reserve(bytes);
    if (reservation.ok() || !reservation.is(Code::kFull)) return reservation;
    relieve();
    VARVE_TRY(waiters_.wait("open layers are flushed"));
  }
}

void OpenMemory::returned(uint64_t bytes) {
  VARVE_CHECK(returning_ >= bytes);
  returning_ -= bytes;
  waiters_.wake_all();
}

// One at a time: what is on its way back may be enough.
void OpenMemory::relieve() {
  if (returning_ > 0 || holders_.empty()) return;
  Holder* largest = *std::ranges::max_element(holders_, {}, &Holder::open_bytes);
  if (largest->open_bytes() > 0) largest->freeze_open();
}

}  // namespace varve::storage
