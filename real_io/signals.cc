#include "real_io/signals.h"

#include <pthread.h>
#include <sys/signalfd.h>

#include <csignal>

#include "base/check.h"

namespace varve::real_io {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

void block_stop_signals() {
  const sigset_t set = stop_signals();
  VARVE_CHECK(::pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
}

StopSignals::StopSignals(Reactor& reactor, std::function<void(uint64_t)> on_stop)
    : reactor_(reactor), on_stop_(std::move(on_stop)) {
  const sigset_t set = stop_signals();
  fd_ = UniqueFd(reactor.syscalls(), ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  VARVE_CHECK_MSG(fd_.valid() && reactor_.watch(fd_.get(), this).ok(), "signals can't be watched");
}

StopSignals::~StopSignals() {
  reactor_.unwatch(fd_.get());
}

void StopSignals::ready(uint32_t) {
  signalfd_siginfo info{};
  while (reactor_.syscalls().read(fd_.get(), &info, sizeof info) ==
         static_cast<ssize_t>(sizeof info)) {
    on_stop_(++count_);
  }
}

}  // namespace varve::real_io
