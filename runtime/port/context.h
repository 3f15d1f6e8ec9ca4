// Switching stacks: raw fcontext, with the thread's exception state saved and the sanitizers told.
//
// Why the exception state: the C++ runtime keeps the stack of exceptions being handled per thread.
// Two fibers that are both inside a catch block would see each other's (tried). Why raw:
// boost::context::fiber unwinds a stack that is destroyed, and a simulated crash must not.
#pragma once

#include <cstddef>

#include "runtime/port/stack.h"

namespace varve::port {

// One side of a switch: the scheduler's own stack or a fiber's.
struct Context {
  void* position = nullptr;    // where the suspended side stands
  void* fake_stack = nullptr;  // AddressSanitizer's
  const void* stack_bottom = nullptr;
  size_t stack_size = 0;
  struct ExceptionState {
    void* caught = nullptr;
    unsigned int uncaught = 0;
  } exceptions;
};

// Prepares `context` so that the first switch to it calls entry(argument) on `stack`. `entry` must
// end with finish_switch().
void prepare_context(Context& context, const Stack& stack, void (*entry)(void*), void* argument);

// Suspends `from` (the running side) and continues `to`. Returns when somebody switches back.
void switch_context(Context& from, Context& to);

// Leaves the running side for good.
[[noreturn]] void finish_switch(Context& from, Context& to);

// True inside a catch block of the running side: suspending there is refused.
bool inside_catch();

}  // namespace varve::port
