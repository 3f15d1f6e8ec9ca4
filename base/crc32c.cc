#include "base/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace varve {
namespace {

// Slicing by eight: tables[k][b] is the checksum of byte b followed by k zero bytes.
constexpr std::array<std::array<uint32_t, 256>, 8> make_tables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78u : 0);
    tables[0][i] = value;
  }
  for (uint32_t i = 0; i < 256; ++i) {
    for (size_t k = 1; k < 8; ++k) {
      tables[k][i] = (tables[k - 1][i] >> 8) ^ tables[0][tables[k - 1][i] & 255];
    }
  }
  return tables;
}

constexpr auto kTables = make_tables();

#if defined(__x86_64__)

// The instruction takes three cycles but a new one can begin in each, so long inputs are read in
// three lanes at once. The lanes' values are then joined: the checksum of A followed by B is that
// of A, moved past as many zero bytes as B has, xor that of B started from zero. Moving is linear
// in the 32 bits, so four tables of 256 do it (Adler, crc32c.c, 2013).
constexpr size_t kLane = 256;

constexpr std::array<std::array<uint32_t, 256>, 4> make_lane_shift() {
  std::array<std::array<uint32_t, 256>, 4> shift{};
  for (uint32_t bit = 0; bit < 32; ++bit) {
    uint32_t value = 1u << bit;
    for (size_t i = 0; i < kLane; ++i) value = (value >> 8) ^ kTables[0][value & 255];
    for (uint32_t other = 0; other < (1u << bit % 8); ++other)
      shift[bit / 8][(1u << bit % 8) + other] = value ^ shift[bit / 8][other];
  }
  return shift;
}

constexpr auto kLaneShift = make_lane_shift();

uint32_t move_past_lane(uint32_t state) {
  return kLaneShift[0][state & 255] ^ kLaneShift[1][state >> 8 & 255] ^
         kLaneShift[2][state >> 16 & 255] ^ kLaneShift[3][state >> 24];
}

template <class T>
T load(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

__attribute__((target("sse4.2"))) uint32_t crc32c_sse42(std::span<const uint8_t> bytes,
                                                        uint32_t crc) {
  uint64_t state = ~crc;
  const uint8_t* p = bytes.data();
  size_t n = bytes.size();
  for (; n >= 3 * kLane; n -= 3 * kLane, p += 3 * kLane) {
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t i = 0; i < kLane; i += 8) {
      state = _mm_crc32_u64(state, load<uint64_t>(p + i));
      second = _mm_crc32_u64(second, load<uint64_t>(p + kLane + i));
      third = _mm_crc32_u64(third, load<uint64_t>(p + 2 * kLane + i));
    }
    state = move_past_lane(static_cast<uint32_t>(state)) ^ second;
    state = move_past_lane(static_cast<uint32_t>(state)) ^ third;
  }
  for (; n >= 8; n -= 8, p += 8) state = _mm_crc32_u64(state, load<uint64_t>(p));
  auto narrow = static_cast<uint32_t>(state);
  if ((n & 4) != 0) {
    narrow = _mm_crc32_u32(narrow, load<uint32_t>(p));
    p += 4;
  }
  if ((n & 2) != 0) {
    narrow = _mm_crc32_u16(narrow, load<uint16_t>(p));
    p += 2;
  }
  if ((n & 1) != 0) narrow = _mm_crc32_u8(narrow, *p);
  return ~narrow;
}
#endif

}  // namespace

namespace internal {

uint32_t crc32c_portable(std::span<const uint8_t> bytes, uint32_t crc) {
  uint32_t state = ~crc;
  const uint8_t* p = bytes.data();
  size_t n = bytes.size();
  for (; n >= 8; n -= 8, p += 8) {
    uint32_t low;
    uint32_t high;
    std::memcpy(&low, p, 4);
    std::memcpy(&high, p + 4, 4);
    low ^= state;
    state = kTables[7][low & 255] ^ kTables[6][low >> 8 & 255] ^ kTables[5][low >> 16 & 255] ^
            kTables[4][low >> 24] ^ kTables[3][high & 255] ^ kTables[2][high >> 8 & 255] ^
            kTables[1][high >> 16 & 255] ^ kTables[0][high >> 24];
  }
  for (; n > 0; --n, ++p) state = (state >> 8) ^ kTables[0][(state ^ *p) & 255];
  return ~state;
}

}  // namespace internal

uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t crc) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return crc32c_sse42(bytes, crc);
#endif
  return internal::crc32c_portable(bytes, crc);
}

}  // namespace varve
