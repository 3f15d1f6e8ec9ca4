// Randomness of a component: ids, tokens, jitter. The real one is the kernel's; the simulated one
// is a seeded stream per (node, label), recorded on the tape.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/ids.h"

namespace varve {

class Random {
 public:
  virtual ~Random() = default;
  // Uniform in [0, bound); bound > 0. `label` names the purpose of the draw ("retry jitter"), not
  // its site.
  virtual uint64_t below(uint64_t bound, std::string_view label) = 0;
  // Sixteen bytes nobody can guess.
  virtual std::array<uint8_t, 16> unique_bytes(std::string_view label) = 0;
};

template <class Id>
Id new_id(Random& random, std::string_view label) {
  Id id;
  id.bytes = random.unique_bytes(label);
  return id;
}

}  // namespace varve
