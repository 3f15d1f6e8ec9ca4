// Guarded fiber stacks, pooled: making one costs a mapping and a protection change (about 11 µs),
// taking one from the pool costs nothing. The page below each stack can't be touched, so an
// overflow is a fault at once and not a corrupted neighbour.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace varve::port {

struct Stack {
  std::byte* bottom = nullptr;  // lowest usable address
  size_t size = 0;
  std::byte* top() const { return bottom + size; }
};

// From now on fresh stacks of this process hold `fill` where the first frames will lie, instead of
// zeros: the simulator's way of finding code that reads what it never wrote.
void fill_fresh_stacks(uint8_t fill);

class StackPool {
 public:
  explicit StackPool(size_t stack_size) : stack_size_(stack_size) {}
  // Unmaps what is in the pool. Stacks that were taken and not given back are the taker's; a
  // simulated crash leaves them mapped on purpose.
  ~StackPool();
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  // Never fails softly: a process without address space for a stack can't go on.
  Stack take();
  void give(Stack stack);

 private:
  size_t stack_size_;
  std::vector<Stack> free_;
};

}  // namespace varve::port
