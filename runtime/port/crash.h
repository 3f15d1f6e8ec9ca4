// The last words of a dying process: signal, address and return addresses on stderr, then the
// default action, so that whoever waits sees the true signal. Runs on an alternate stack, since the
// usual reason on a fiber is that the fiber's own has run out; allocates nothing.
#pragma once

#include <cstddef>

namespace varve::port {

// The handler's stack of the calling thread, while this lives.
class AlternateStack {
 public:
  AlternateStack();
  ~AlternateStack();
  AlternateStack(const AlternateStack&) = delete;
  AlternateStack& operator=(const AlternateStack&) = delete;

 private:
  std::byte* memory_;
};

// For SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT, once per process. Does nothing under a
// sanitizer, which prints better.
void install_crash_print();

}  // namespace varve::port
