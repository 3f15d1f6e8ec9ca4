#include "real_io/uring.h"

#include <liburing.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"

namespace varve::real_io {
namespace {

constexpr unsigned kEntries = 256;
// What a ring call moves at most: no single operation holds the device for long.
constexpr size_t kMaxStep = 4 << 20;

}  // namespace

std::unique_ptr<UringTransfers> UringTransfers::create(ThreadPool& threads) {
  auto ring = std::make_unique<io_uring>();
  io_uring_params parameters{};
  // Not SINGLE_ISSUER: a world may be made on one thread and run on another.
  parameters.flags = IORING_SETUP_COOP_TASKRUN;
  if (io_uring_queue_init_params(kEntries, ring.get(), &parameters) < 0) {
    parameters = {};  // unknown before 5.19
    if (io_uring_queue_init_params(kEntries, ring.get(), &parameters) < 0) return nullptr;
  }
  std::unique_ptr<UringTransfers> transfers(new UringTransfers(threads, std::move(ring)));
  if (!transfers->reactor_.watch(transfers->ring_->ring_fd, transfers.get()).ok()) {
    io_uring_queue_exit(transfers->ring_.get());
    transfers->ring_.reset();
    return nullptr;
  }
  return transfers;
}

UringTransfers::UringTransfers(ThreadPool& threads, std::unique_ptr<io_uring> ring)
    : threads_(threads), reactor_(threads.reactor()), ring_(std::move(ring)) {}

UringTransfers::~UringTransfers() {
  if (ring_ == nullptr) return;
  VARVE_CHECK_MSG(in_kernel_ == 0 && waiting_.empty(), "a ring ended under its operations");
  reactor_.forget(this);
  reactor_.unwatch(ring_->ring_fd);
  io_uring_queue_exit(ring_.get());
}

void UringTransfers::start(Transfer* transfer) {
  transfer->work_class = fiber_context().work_class;
  reactor_.begin(transfer);
  go_on(transfer);
}

// Asks for the next step of `transfer`, or ends it.
void UringTransfers::go_on(Transfer* transfer) {
  if (transfer->left() == 0) {
    reactor_.finished_here(transfer);
    return;
  }
  waiting_.push_back(transfer);
  reactor_.at_turn_end(this);
}

// False when the submission queue is full.
bool UringTransfers::prepare(Transfer* transfer) {
  const bool write = transfer->kind() != Transfer::Kind::kRead;
  size_t limit = std::min(transfer->left(), kMaxStep);
  const int verdict = reactor_.syscalls().ring_transfer(write, &limit);
  if (verdict < 0) {
    if (transfer->account(verdict)) {
      reactor_.finished_here(transfer);
    } else {
      threads_.submit(transfer);
    }
    return true;
  }
  io_uring_sqe* entry = io_uring_get_sqe(ring_.get());
  if (entry == nullptr) return false;
  const auto pieces = transfer->window(limit);
  const auto count = static_cast<unsigned>(pieces.size());
  if (write) {
    io_uring_prep_writev(entry, transfer->fd(), pieces.data(), count, transfer->offset());
  } else {
    io_uring_prep_readv(entry, transfer->fd(), pieces.data(), count, transfer->offset());
  }
  io_uring_sqe_set_data(entry, transfer);
  ++in_kernel_;
  return true;
}

void UringTransfers::turn_ended() {
  // In-flight operations are bounded by the completion queue, which is twice the submission queue.
  while (!waiting_.empty() && in_kernel_ < kEntries && prepare(waiting_.front()))
    waiting_.pop_front();
  int submitted;
  while ((submitted = io_uring_submit(ring_.get())) == -EINTR) {
  }
  // EAGAIN and EBUSY: the kernel is short of memory or wants completions taken first. What was
  // prepared stays in the queue and goes with the next turn.
  VARVE_CHECK_MSG(submitted >= 0 || submitted == -EAGAIN || submitted == -EBUSY,
                  "io_uring_enter failed");
  if (submitted < 0) reactor_.at_turn_end(this);
  reap();
}

void UringTransfers::ready(uint32_t) {
  reap();
}

void UringTransfers::reap() {
  io_uring_cqe* completion = nullptr;
  while (io_uring_peek_cqe(ring_.get(), &completion) == 0 && completion != nullptr) {
    auto* transfer = static_cast<Transfer*>(io_uring_cqe_get_data(completion));
    const int answer = completion->res;
    io_uring_cqe_seen(ring_.get(), completion);
    --in_kernel_;
    if (answer == -EAGAIN || answer == -EINVAL || answer == -EOPNOTSUPP) {
      threads_.submit(transfer);  // a blocking call tells the truth
    } else if (transfer->account(answer)) {
      reactor_.finished_here(transfer);
    } else {
      go_on(transfer);
    }
  }
  if (!waiting_.empty()) reactor_.at_turn_end(this);
}

}  // namespace varve::real_io
