// Executions in processes of their own, and what makes two of them differ in everything that must
// not matter.
//
// The parent is forked as it stands, so what it has loaded and warmed is there at once; a child
// that dies, however, takes nothing with it. Only this folder of sim/ asks the machine for
// anything.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/time.h"

namespace varve::sim::port {

// Memory that a parent shares with the children that it forks later. Zeros at first.
class SharedMemory {
 public:
  explicit SharedMemory(size_t size);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* data_;
  size_t size_;
};

// What differs between two executions of one seed. Nothing that a program may rightly depend on is
// among it.
struct Perturbation {
  uint8_t fill = 0;              // of fresh and freed heap memory, and of fresh stacks
  size_t heap_offset = 0;        // bytes by which later allocations are shifted
  uint32_t heap_shuffle = 0;     // seed for which small free blocks are left lying about
  size_t environment_bytes = 0;  // added, which shifts the process' stack, and one variable's value
};

// The two sides of a pair.
Perturbation perturbation(int side);

// A child under way. Wait for it exactly once.
struct Child {
  int pid = -1;
  int output = -1;
};

struct ChildOutcome {
  bool good = false;   // `body` returned
  std::string death;   // else how it ended: "signal 6", "used more than 30 s of processor time"
  std::string output;  // the end of what it wrote to stderr
};

// Runs body() in a child that may use `processor_time`; its exit runs no destructor and no handler.
Child start_child(const std::function<void()>& body, const Perturbation& perturbation,
                  Duration processor_time);
ChildOutcome wait_for(const Child& child);

// Processor time of this process and of all children that were waited for.
Duration processor_time_used();
// A monotonic reading, for deciding when a campaign ends. Never for anything inside a simulation.
Duration machine_time();

}  // namespace varve::sim::port
