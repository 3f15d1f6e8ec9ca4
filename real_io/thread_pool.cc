#include "real_io/thread_pool.h"

#include <csignal>

#include "runtime/port/crash.h"

namespace varve::real_io {
namespace {

constexpr size_t kReservedClasses = 2;  // kCommit and kRead

}  // namespace

ThreadPool::ThreadPool(Reactor& reactor, size_t threads) : reactor_(reactor) {
  VARVE_CHECK(threads > 0);
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  common_.changed.notify_all();
  reserved_.changed.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::start(Operation* operation) {
  operation->work_class = fiber_context().work_class;
  reactor_.begin(operation);
  submit(operation);
}

void ThreadPool::submit(Operation* operation) {
  const auto index = static_cast<size_t>(operation->work_class);
  std::lock_guard lock(mutex_);
  queues_[index].push_back(operation);
  // Wakes one thread that may take it, and no more: a second one would only find nothing.
  Group& group = index < kReservedClasses && reserved_.idle > 0 ? reserved_ : common_;
  if (group.idle == 0) return;  // all busy; the first that is free looks at the queues
  --group.idle;
  ++group.called;
  group.changed.notify_one();
}

Operation* ThreadPool::take(size_t classes) {
  for (size_t i = 0; i < classes; ++i) {
    if (queues_[i].empty()) continue;
    Operation* operation = queues_[i].front();
    queues_[i].pop_front();
    return operation;
  }
  return nullptr;
}

void ThreadPool::work(size_t index) {
  sigset_t all;
  sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, nullptr);
  const port::AlternateStack stack;
  const bool reserved = index % 2 == 1;
  const size_t classes = reserved ? kReservedClasses : kWorkClasses;
  Group& group = reserved ? reserved_ : common_;
  std::unique_lock lock(mutex_);
  for (;;) {
    if (Operation* operation = take(classes)) {
      lock.unlock();
      operation->perform(reactor_.syscalls());
      reactor_.finished(operation);
      lock.lock();
      continue;
    }
    if (stopping_) return;
    ++group.idle;
    group.changed.wait(lock, [&] { return group.called > 0 || stopping_; });
    if (group.called > 0) --group.called;
  }
}

void RealOffload::run(std::function<void()> work) {
  Shield shield;  // `work` may refer to the caller's stack, so the caller must not leave
  const Status done = run_on(pool_, "offloaded work", [work = std::move(work)](Syscalls&) {
    work();
    return Status();
  });
  VARVE_CHECK_MSG(done.ok(), "offloaded work can't be cancelled");
}

}  // namespace varve::real_io
