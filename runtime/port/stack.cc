#include "runtime/port/stack.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

namespace varve::port {
namespace {

size_t guard_size() {
  return static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

constexpr size_t kFilledBytes = 16 << 10;
uint8_t fresh_fill = 0;

}  // namespace

void fill_fresh_stacks(uint8_t fill) {
  fresh_fill = fill;
}

StackPool::~StackPool() {
  for (const Stack& stack : free_) {
#if defined(__SANITIZE_ADDRESS__)
    __lsan_unregister_root_region(stack.bottom, stack.size);
#endif
    ::munmap(stack.bottom - guard_size(), stack.size + guard_size());
  }
}

Stack StackPool::take() {
  if (!free_.empty()) {
    const Stack stack = free_.back();
    free_.pop_back();
    return stack;
  }
  void* mapping = ::mmap(nullptr, stack_size_ + guard_size(), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  VARVE_CHECK_MSG(mapping != MAP_FAILED, "no address space for a fiber stack");
  VARVE_CHECK(::mprotect(mapping, guard_size(), PROT_NONE) == 0);
  const Stack stack{static_cast<std::byte*>(mapping) + guard_size(), stack_size_};
  if (fresh_fill != 0) std::memset(stack.top() - kFilledBytes, fresh_fill, kFilledBytes);
#if defined(__SANITIZE_ADDRESS__)
  // The leak checker does not look into mappings; without this, what only a suspended fiber holds
  // is "leaked".
  __lsan_register_root_region(stack.bottom, stack.size);
#endif
  return stack;
}

void StackPool::give(Stack stack) {
  free_.push_back(stack);
}

}  // namespace varve::port
