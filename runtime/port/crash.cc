#include "runtime/port/crash.h"

#include <execinfo.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "base/check.h"

namespace varve::port {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
constexpr size_t kSize = 64 << 10;

void print(const char* text) {
  (void)!::write(STDERR_FILENO, text, std::strlen(text));
}

void print_hex(uintptr_t value) {
  char digits[2 + 2 * sizeof value + 1];
  char* end = digits + sizeof digits;
  char* place = end;
  *--place = '\0';
  do {
    *--place = "0123456789abcdef"[value % 16];
    value /= 16;
  } while (value != 0);
  *--place = 'x';
  *--place = '0';
  print(place);
}

// Under a sanitizer, which prints by itself, nobody installs it.
void on_crash(int signal, siginfo_t* info, void*) {
  print("\nvarve: killed by ");
  const char* name = ::sigabbrev_np(signal);
  print("SIG");
  print(name == nullptr ? "?" : name);
  if (signal != SIGABRT) {
    print(" at ");
    print_hex(reinterpret_cast<uintptr_t>(info->si_addr));
  }
  print("\n");
  void* frames[64];
  const int count = ::backtrace(frames, 64);
  ::backtrace_symbols_fd(frames, count, STDERR_FILENO);
  // SA_RESETHAND has restored the default action; the signal is raised again when this returns.
  ::raise(signal);
}

}  // namespace

AlternateStack::AlternateStack() : memory_(nullptr) {
  if (kSanitized) return;  // it has its own, and minds its removal
  void* memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  VARVE_CHECK(memory != MAP_FAILED);
  memory_ = static_cast<std::byte*>(memory);
  stack_t stack{};
  stack.ss_sp = memory_;
  stack.ss_size = kSize;
  VARVE_CHECK(::sigaltstack(&stack, nullptr) == 0);
}

AlternateStack::~AlternateStack() {
  if (memory_ == nullptr) return;
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  (void)::sigaltstack(&none, nullptr);
  (void)::munmap(memory_, kSize);
}

void install_crash_print() {
  if (kSanitized) return;
  // The unwinder is loaded at its first use, which allocates: use it once while that is allowed.
  void* frame = nullptr;
  (void)::backtrace(&frame, 1);
  struct sigaction action {};
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND;
  for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) {
    (void)::sigaction(signal, &action, nullptr);
  }
}

}  // namespace varve::port
