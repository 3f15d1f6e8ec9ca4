// The machine's clocks and the kernel's randomness.
#pragma once

#include "real_io/syscalls.h"
#include "runtime/clock.h"
#include "runtime/random.h"

namespace varve::real_io {

class RealClock final : public Clock {
 public:
  explicit RealClock(Syscalls& syscalls) : syscalls_(syscalls) {}
  // CLOCK_MONOTONIC: steady while the machine runs; it stands still while the machine sleeps.
  Instant now() const override;
  WallTime wall() const override;

 private:
  Syscalls& syscalls_;
};

class RealRandom final : public Random {
 public:
  explicit RealRandom(Syscalls& syscalls) : syscalls_(syscalls) {}
  uint64_t below(uint64_t bound, std::string_view label) override;
  std::array<uint8_t, 16> unique_bytes(std::string_view label) override;

 private:
  void fill(void* buffer, size_t size);

  Syscalls& syscalls_;
};

}  // namespace varve::real_io
