#include "real_io/transfer.h"

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace varve::real_io {
namespace {

constexpr size_t kMaxPieces = 64;
// One call moves at most this much; the kernel's own limit is 2 GiB less a page.
constexpr size_t kMaxCall = 64 << 20;

}  // namespace

Transfer::Transfer(Kind kind, std::shared_ptr<OpenFile> file, uint64_t offset)
    : kind_(kind), file_(std::move(file)), offset_(offset) {}

std::unique_ptr<Transfer> Transfer::read(std::shared_ptr<OpenFile> file, uint64_t offset,
                                         size_t length) {
  std::unique_ptr<Transfer> transfer(new Transfer(Kind::kRead, std::move(file), offset));
  transfer->target_ = MutableBytes(length);
  transfer->left_ = length;
  if (length != 0) transfer->pieces_.push_back({transfer->target_.data(), length});
  return transfer;
}

std::unique_ptr<Transfer> Transfer::write(std::shared_ptr<OpenFile> file, uint64_t offset,
                                          std::vector<Bytes> data, bool durable) {
  std::unique_ptr<Transfer> transfer(
      new Transfer(durable ? Kind::kWriteDurable : Kind::kWrite, std::move(file), offset));
  transfer->source_ = std::move(data);
  for (const Bytes& piece : transfer->source_) {
    if (piece.empty()) continue;
    transfer->pieces_.push_back({const_cast<uint8_t*>(piece.data()), piece.size()});
    transfer->left_ += piece.size();
  }
  return transfer;
}

std::span<const iovec> Transfer::window(size_t limit) {
  window_.clear();
  limit = std::min(limit, kMaxCall);
  for (size_t i = next_piece_; i < pieces_.size() && limit > 0 && window_.size() < kMaxPieces;
       ++i) {
    window_.push_back({pieces_[i].iov_base, std::min(pieces_[i].iov_len, limit)});
    limit -= window_.back().iov_len;
  }
  return window_;
}

void Transfer::skip(size_t bytes) {
  VARVE_CHECK_MSG(bytes <= left_, "the kernel moved more than it was asked to");
  left_ -= bytes;
  offset_ += bytes;
  while (bytes > 0) {
    iovec& piece = pieces_[next_piece_];
    const size_t step = std::min(piece.iov_len, bytes);
    piece.iov_base = static_cast<uint8_t*>(piece.iov_base) + step;
    piece.iov_len -= step;
    bytes -= step;
    if (piece.iov_len == 0) ++next_piece_;
  }
}

bool Transfer::account(ssize_t answer) {
  if (answer == -EINTR || answer == -EAGAIN) return false;
  if (answer < 0) {
    error_ = static_cast<int>(-answer);
    return true;
  }
  if (answer == 0 && left_ > 0) {
    // The end of the file for a read. A write that moves nothing without a reason would do so for
    // ever.
    if (kind_ != Kind::kRead) error_ = EIO;
    return true;
  }
  skip(static_cast<size_t>(answer));
  return left_ == 0;
}

void Transfer::perform(Syscalls& syscalls) {
  const auto begin = std::chrono::steady_clock::now();
  move_and_sync(syscalls);
  nanoseconds_ = (std::chrono::steady_clock::now() - begin) / std::chrono::nanoseconds(1);
}

void Transfer::move_and_sync(Syscalls& syscalls) {
  bool done = left_ == 0 || error_ != 0;
  while (!done) {
    const auto pieces = window(kMaxCall);
    const int count = static_cast<int>(pieces.size());
    const auto at = static_cast<off_t>(offset_);
    done = account(kind_ == Kind::kRead ? syscalls.preadv(fd(), pieces.data(), count, at, 0)
                                        : syscalls.pwritev(fd(), pieces.data(), count, at));
  }
  if (kind_ != Kind::kWriteDurable || error_ != 0) return;
  int synced = 0;
  while ((synced = syscalls.fdatasync(fd())) == -EINTR) {
  }
  if (synced < 0) {
    error_ = -synced;
    sync_failed_ = true;
  }
}

Bytes Transfer::take_data() {
  VARVE_CHECK(error_ == 0 && kind_ == Kind::kRead);
  target_.resize(target_.size() - left_);
  return std::move(target_).freeze();
}

}  // namespace varve::real_io
