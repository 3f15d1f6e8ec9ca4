#include "sim/port/child.h"

#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "runtime/port/stack.h"

namespace varve::sim::port {
namespace {

Duration from_timeval(const timeval& t) {
  return Duration::micros(t.tv_sec * 1000000LL + t.tv_usec);
}

// Leaves free blocks of drawn sizes between blocks in use, so that the order of later addresses is
// another.
void shuffle_heap(uint32_t seed) {
  RandomStream random(seed, "heap");
  std::vector<void*> blocks;
  for (int i = 0; i < 4000; ++i) blocks.push_back(std::malloc(random.between(8, 600)));
  for (size_t i = blocks.size(); i > 1; --i) std::swap(blocks[i - 1], blocks[random.below(i)]);
  for (size_t i = 0; i < blocks.size() / 2; ++i) std::free(blocks[i]);
}

// Leaves `fill` where the frames of what is called next will lie.
__attribute__((noinline)) void fill_stack(uint8_t fill) {
  volatile uint8_t garbage[64 << 10];
  for (size_t i = 0; i < sizeof garbage; ++i) garbage[i] = fill;
}

void perturb(const Perturbation& perturbation) {
  ::setenv("VARVE_SIM_PADDING", std::string(perturbation.environment_bytes, 'x').c_str(), 1);
#if !defined(__SANITIZE_ADDRESS__)  // which has its own heap, and fills it itself
  ::mallopt(M_PERTURB, perturbation.fill);
  // Memory stays with the heap once it is there: filling pages that the kernel hands out anew for
  // each slab was a third of a run. It also means that old content is found again more often.
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
  if (perturbation.heap_offset != 0) (void)!std::malloc(perturbation.heap_offset);
  if (perturbation.heap_shuffle != 0) shuffle_heap(perturbation.heap_shuffle);
  varve::port::fill_fresh_stacks(perturbation.fill);
  fill_stack(perturbation.fill);
}

[[noreturn]] void run_child(const std::function<void()>& body, const Perturbation& perturbation,
                            Duration processor_time, int output) {
  ::dup2(output, STDERR_FILENO);
  const itimerval limit{{}, {processor_time.to_millis() / 1000, 0}};
  ::setitimer(ITIMER_PROF, &limit, nullptr);
  perturb(perturbation);
  body();
  ::_exit(0);
}

std::string tail_of(int file) {
  constexpr off_t kMost = 16 << 10;
  const off_t size = ::lseek(file, 0, SEEK_END);
  const off_t start = size > kMost ? size - kMost : 0;
  std::string text(static_cast<size_t>(size - start), '\0');
  const ssize_t got = ::pread(file, text.data(), text.size(), start);
  text.resize(got < 0 ? 0 : static_cast<size_t>(got));
  return text;
}

}  // namespace

SharedMemory::SharedMemory(size_t size) : size_(size) {
  data_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                 -1, 0);
  VARVE_CHECK_MSG(data_ != MAP_FAILED, "no address space for shared memory");
}
SharedMemory::~SharedMemory() {
  ::munmap(data_, size_);
}

Perturbation perturbation(int side) {
  if (side == 0) return {0x5A, 0, 0, 16};
  return {0xC3, 4096 * 3 + 48, 77, 4000};
}

Child start_child(const std::function<void()>& body, const Perturbation& perturbation,
                  Duration processor_time) {
  Child child;
  child.output = ::memfd_create("output", MFD_CLOEXEC);
  VARVE_CHECK_MSG(child.output >= 0, "no memory file for a child's output");
  child.pid = ::fork();
  VARVE_CHECK_MSG(child.pid >= 0, "no process for an execution");
  if (child.pid == 0) run_child(body, perturbation, processor_time, child.output);
  return child;
}

ChildOutcome wait_for(const Child& child) {
  int status = 0;
  while (::waitpid(child.pid, &status, 0) < 0) VARVE_CHECK(errno == EINTR);
  ChildOutcome outcome;
  outcome.output = tail_of(child.output);
  ::close(child.output);
  if (WIFSIGNALED(status)) {
    outcome.death = WTERMSIG(status) == SIGPROF
                        ? "used more processor time than it may"
                        : "died of signal " + std::to_string(WTERMSIG(status));
  } else if (WEXITSTATUS(status) != 0) {
    outcome.death = "exited with " + std::to_string(WEXITSTATUS(status));
  } else {
    outcome.good = true;
  }
  return outcome;
}

Duration processor_time_used() {
  rusage self{};
  rusage children{};
  ::getrusage(RUSAGE_SELF, &self);
  ::getrusage(RUSAGE_CHILDREN, &children);
  return from_timeval(self.ru_utime) + from_timeval(self.ru_stime) +
         from_timeval(children.ru_utime) + from_timeval(children.ru_stime);
}

Duration machine_time() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return Duration::seconds(t.tv_sec) + Duration::nanos(t.tv_nsec);
}

}  // namespace varve::sim::port
