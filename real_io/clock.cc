#include "real_io/clock.h"

#include <time.h>

#include <cerrno>

#include "base/check.h"

namespace varve::real_io {

Instant RealClock::now() const {
  timespec time{};
  VARVE_CHECK(syscalls_.clock_gettime(CLOCK_MONOTONIC, &time) == 0);
  return Instant{time.tv_sec * 1000000000 + time.tv_nsec};
}

WallTime RealClock::wall() const {
  timespec time{};
  VARVE_CHECK(syscalls_.clock_gettime(CLOCK_REALTIME, &time) == 0);
  return WallTime::from_unix_micros(time.tv_sec * 1000000 + time.tv_nsec / 1000);
}

void RealRandom::fill(void* buffer, size_t size) {
  auto* place = static_cast<uint8_t*>(buffer);
  while (size > 0) {
    const ssize_t got = syscalls_.getrandom(place, size);
    if (got == -EINTR) continue;
    VARVE_CHECK_MSG(got > 0, "the kernel gives no randomness");
    place += got;
    size -= static_cast<size_t>(got);
  }
}

uint64_t RealRandom::below(uint64_t bound, std::string_view) {
  VARVE_CHECK(bound > 0);
  // Rejection keeps it uniform: draws under `skip` would favour the small remainders.
  const uint64_t skip = (0 - bound) % bound;
  for (;;) {
    uint64_t draw = 0;
    fill(&draw, sizeof draw);
    if (draw >= skip) return draw % bound;
  }
}

std::array<uint8_t, 16> RealRandom::unique_bytes(std::string_view) {
  std::array<uint8_t, 16> bytes;
  fill(bytes.data(), bytes.size());
  return bytes;
}

}  // namespace varve::real_io
