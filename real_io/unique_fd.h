// A file descriptor with one owner.
#pragma once

#include <utility>

#include "real_io/syscalls.h"

namespace varve::real_io {

class UniqueFd {
 public:
  UniqueFd() = default;
  // `fd` may be negative: none. `syscalls` must outlive this.
  UniqueFd(Syscalls& syscalls, int fd) : syscalls_(&syscalls), fd_(fd) {}
  UniqueFd(UniqueFd&& o) noexcept : syscalls_(o.syscalls_), fd_(std::exchange(o.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& o) noexcept {
    std::swap(syscalls_, o.syscalls_);
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  // Linux frees the number even when close() fails or is interrupted: it is never called twice.
  void reset() {
    if (fd_ >= 0) (void)syscalls_->close(std::exchange(fd_, -1));
  }

 private:
  Syscalls* syscalls_ = nullptr;
  int fd_ = -1;
};

}  // namespace varve::real_io
