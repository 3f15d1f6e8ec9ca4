// Randomness whose every draw can be named.
//
// A stream is keyed by (seed, label) and its n-th draw depends on the key and n alone, so that a
// new draw in one place shifts nothing elsewhere, and a recorded run can be replayed draw by draw.
// The mixing function is SplitMix64's finaliser (Steele, Lea, Flood 2014) over a Weyl sequence. No
// floating point and no standard distributions: their results differ between libraries.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/check.h"

namespace varve {

constexpr uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// FNV-1a, for turning labels into keys. Not for hostile input.
constexpr uint64_t hash_label(std::string_view label) {
  uint64_t hash = 0xCBF29CE484222325ull;
  for (char c : label) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3ull;
  return hash;
}

class RandomStream {
 public:
  constexpr RandomStream(uint64_t seed, std::string_view label)
      : key_(mix64(seed ^ mix64(hash_label(label)))) {}

  // The next draw.
  constexpr uint64_t next() { return mix64(key_ + 0x9E3779B97F4A7C15ull * ++counter_); }
  // Uniform in [0, bound). Invariant: bound > 0.
  constexpr uint64_t below(uint64_t bound) {
    VARVE_CHECK(bound > 0);
    return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
  // Uniform in [low, high].
  constexpr uint64_t between(uint64_t low, uint64_t high) {
    VARVE_CHECK(low <= high);
    if (low == 0 && high == ~uint64_t{0}) return next();
    return low + below(high - low + 1);
  }
  // True `per_million` times in a million.
  constexpr bool chance(uint32_t per_million) { return below(1000000) < per_million; }
  constexpr uint64_t draws() const { return counter_; }
  // An independent stream below this one.
  constexpr RandomStream fork(std::string_view label) const { return RandomStream(key_, label); }

 private:
  uint64_t key_;
  uint64_t counter_ = 0;
};

}  // namespace varve
