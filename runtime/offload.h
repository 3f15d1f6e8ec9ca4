// Pure CPU work off the reactor: compression, redo of a long chain, password hashing.
#pragma once

#include <optional>
#include <type_traits>
#include <utility>

#include "runtime/scheduler.h"

namespace varve {

class Offload {
 public:
  virtual ~Offload() = default;
  // Runs `work` elsewhere and suspends until it is done; not cancellable. `work` must be pure: it
  // owns its inputs, touches no Bytes that others hold, no scheduler, no world. The simulator runs
  // it at hand-over or at completion or both, to catch those that are not.
  virtual void run(std::function<void()> work) = 0;
};

template <class F>
auto offload(Offload& pool, F function) {
  std::optional<std::invoke_result_t<F&>> result;
  pool.run([&] { result.emplace(function()); });
  return std::move(*result);
}

}  // namespace varve
