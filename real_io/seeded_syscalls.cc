#include "real_io/seeded_syscalls.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace varve::real_io {
namespace {

// The first `limit` bytes of a scatter list.
std::vector<iovec> cut(const iovec* pieces, int count, size_t limit) {
  std::vector<iovec> shorter;
  for (int i = 0; i < count && limit > 0; ++i) {
    shorter.push_back({pieces[i].iov_base, std::min(pieces[i].iov_len, limit)});
    limit -= shorter.back().iov_len;
  }
  return shorter;
}

size_t total(const iovec* pieces, int count) {
  size_t size = 0;
  for (int i = 0; i < count; ++i) size += pieces[i].iov_len;
  return size;
}

}  // namespace

SyscallNoise SyscallNoise::delays() {
  SyscallNoise noise;
  noise.interrupted = 50000;
  noise.shorter = 150000;
  noise.not_now = 100000;
  noise.late_event = 150000;
  noise.early_event = 50000;
  return noise;
}

SyscallNoise SyscallNoise::everything() {
  SyscallNoise noise = delays();
  noise.disk_error = 15000;
  noise.disk_full = 15000;
  noise.no_descriptor = 15000;
  noise.reset = 5000;
  return noise;
}

const char* noise_name(NoiseKind kind) {
  switch (kind) {
    case NoiseKind::kInterrupted:
      return "interrupted";
    case NoiseKind::kShorter:
      return "shorter";
    case NoiseKind::kNotNow:
      return "not_now";
    case NoiseKind::kLateEvent:
      return "late_event";
    case NoiseKind::kEarlyEvent:
      return "early_event";
    case NoiseKind::kDiskError:
      return "disk_error";
    case NoiseKind::kDiskFull:
      return "disk_full";
    case NoiseKind::kNoDescriptor:
      return "no_descriptor";
    case NoiseKind::kReset:
      return "reset";
  }
  VARVE_UNREACHABLE("no such noise");
}

SeededSyscalls::SeededSyscalls(uint64_t seed, const SyscallNoise& noise)
    : random_(seed, "syscalls"), noise_(noise) {}

void SeededSyscalls::reseed(uint64_t seed, const SyscallNoise& noise) {
  std::lock_guard lock(mutex_);
  random_ = RandomStream(seed, "syscalls");
  noise_ = noise;
}

std::array<uint64_t, kNoiseKinds> SeededSyscalls::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

bool SeededSyscalls::chance(uint32_t SyscallNoise::*rate, NoiseKind kind) {
  std::lock_guard lock(mutex_);
  if (noise_.*rate == 0 || !random_.chance(noise_.*rate)) return false;
  ++counts_[static_cast<size_t>(kind)];
  return true;
}

// A length in [1, size], sometimes smaller than `size`.
size_t SeededSyscalls::fewer(size_t size) {
  if (size <= 1 || !chance(&SyscallNoise::shorter, NoiseKind::kShorter)) return size;
  std::lock_guard lock(mutex_);
  return random_.between(1, size - 1);
}

void SeededSyscalls::owe(int fd, uint32_t events) {
  std::lock_guard lock(mutex_);
  const auto found = watched_.find(fd);
  if (found != watched_.end()) found->second.owed |= events;
}

bool SeededSyscalls::is_broken(int fd) {
  std::lock_guard lock(mutex_);
  const auto found = watched_.find(fd);
  return found != watched_.end() && found->second.broken;
}

// Disconnecting an established socket sends a reset.
void SeededSyscalls::break_connection(int fd) {
  {
    std::lock_guard lock(mutex_);
    const auto found = watched_.find(fd);
    if (found != watched_.end()) {
      found->second.broken = true;
      found->second.owed |= EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP;
    }
  }
  sockaddr none{};
  none.sa_family = AF_UNSPEC;
  (void)Syscalls::connect(fd, &none, sizeof none);
}

int SeededSyscalls::openat(int directory, const char* path, int flags, mode_t mode) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::no_descriptor, NoiseKind::kNoDescriptor)) return -EMFILE;
  if ((flags & O_CREAT) != 0 && chance(&SyscallNoise::disk_full, NoiseKind::kDiskFull))
    return -ENOSPC;
  return Syscalls::openat(directory, path, flags, mode);
}

int SeededSyscalls::close(int fd) {
  {
    std::lock_guard lock(mutex_);
    watched_.erase(fd);
  }
  return Syscalls::close(fd);
}

ssize_t SeededSyscalls::preadv(int fd, const iovec* pieces, int count, off_t offset, int flags) {
  if ((flags & RWF_NOWAIT) != 0 && chance(&SyscallNoise::not_now, NoiseKind::kNotNow))
    return -EAGAIN;
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::disk_error, NoiseKind::kDiskError)) return -EIO;
  const auto shorter = cut(pieces, count, fewer(total(pieces, count)));
  return Syscalls::preadv(fd, shorter.data(), static_cast<int>(shorter.size()), offset, flags);
}

ssize_t SeededSyscalls::pwritev(int fd, const iovec* pieces, int count, off_t offset) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::disk_error, NoiseKind::kDiskError)) return -EIO;
  if (chance(&SyscallNoise::disk_full, NoiseKind::kDiskFull)) return -ENOSPC;
  const auto shorter = cut(pieces, count, fewer(total(pieces, count)));
  return Syscalls::pwritev(fd, shorter.data(), static_cast<int>(shorter.size()), offset);
}

int SeededSyscalls::fdatasync(int fd) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::disk_error, NoiseKind::kDiskError)) return -EIO;
  return Syscalls::fdatasync(fd);
}

int SeededSyscalls::fsync(int fd) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::disk_error, NoiseKind::kDiskError)) return -EIO;
  return Syscalls::fsync(fd);
}

int SeededSyscalls::ftruncate(int fd, off_t size) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::disk_error, NoiseKind::kDiskError)) return -EIO;
  return Syscalls::ftruncate(fd, size);
}

int SeededSyscalls::fallocate(int fd, int mode, off_t offset, off_t length) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::disk_full, NoiseKind::kDiskFull)) return -ENOSPC;
  if (chance(&SyscallNoise::not_now, NoiseKind::kNotNow)) return -EOPNOTSUPP;  // some file systems
  return Syscalls::fallocate(fd, mode, offset, length);
}

int SeededSyscalls::mkdirat(int directory, const char* path, mode_t mode) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::disk_full, NoiseKind::kDiskFull)) return -ENOSPC;
  return Syscalls::mkdirat(directory, path, mode);
}

int SeededSyscalls::renameat(int directory, const char* from, const char* to) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::disk_error, NoiseKind::kDiskError)) return -EIO;
  return Syscalls::renameat(directory, from, to);
}

int SeededSyscalls::unlinkat(int directory, const char* path, int flags) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::disk_error, NoiseKind::kDiskError)) return -EIO;
  return Syscalls::unlinkat(directory, path, flags);
}

ssize_t SeededSyscalls::getdents(int fd, void* buffer, size_t size) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  // A record has at most 280 bytes; the kernel may stop after any.
  return Syscalls::getdents(fd, buffer, std::max<size_t>(fewer(size), 512));
}

int SeededSyscalls::ring_transfer(bool write, size_t* length) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::not_now, NoiseKind::kNotNow)) return -EAGAIN;
  if (chance(&SyscallNoise::disk_error, NoiseKind::kDiskError)) return -EIO;
  if (write && chance(&SyscallNoise::disk_full, NoiseKind::kDiskFull)) return -ENOSPC;
  *length = fewer(*length);
  return 0;
}

int SeededSyscalls::socket(int domain, int type, int protocol) {
  if (chance(&SyscallNoise::no_descriptor, NoiseKind::kNoDescriptor)) return -EMFILE;
  return Syscalls::socket(domain, type, protocol);
}

int SeededSyscalls::accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::not_now, NoiseKind::kNotNow)) {
    owe(fd, EPOLLIN);
    return -EAGAIN;
  }
  if (chance(&SyscallNoise::no_descriptor, NoiseKind::kNoDescriptor)) return -EMFILE;
  return Syscalls::accept4(fd, address, length, flags);
}

int SeededSyscalls::connect(int fd, const sockaddr* address, socklen_t length) {
  if (chance(&SyscallNoise::reset, NoiseKind::kReset)) return -ECONNREFUSED;
  const int result = Syscalls::connect(fd, address, length);
  // It goes on all the same.
  if (result == -EINPROGRESS && chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted))
    return -EINTR;
  return result;
}

ssize_t SeededSyscalls::recv(int fd, void* buffer, size_t size, int flags) {
  if (is_broken(fd)) return -ECONNRESET;
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::not_now, NoiseKind::kNotNow)) {
    owe(fd, EPOLLIN);
    return -EAGAIN;
  }
  if (chance(&SyscallNoise::reset, NoiseKind::kReset)) {
    break_connection(fd);
    return -ECONNRESET;
  }
  // As if the rest arrived later: with an edge of its own.
  const size_t less = fewer(std::min<size_t>(size, 8192));
  if (less < size) owe(fd, EPOLLIN);
  return Syscalls::recv(fd, buffer, less, flags);
}

ssize_t SeededSyscalls::sendmsg(int fd, const msghdr* message, int flags) {
  if (is_broken(fd)) return -EPIPE;
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  if (chance(&SyscallNoise::not_now, NoiseKind::kNotNow)) {
    owe(fd, EPOLLOUT);
    return -EAGAIN;
  }
  if (chance(&SyscallNoise::reset, NoiseKind::kReset)) {
    break_connection(fd);
    return -ECONNRESET;
  }
  const int count = static_cast<int>(message->msg_iovlen);
  auto shorter = cut(message->msg_iov, count, fewer(total(message->msg_iov, count)));
  msghdr less = *message;
  less.msg_iov = shorter.data();
  less.msg_iovlen = shorter.size();
  return Syscalls::sendmsg(fd, &less, flags);
}

int SeededSyscalls::epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  const int result = Syscalls::epoll_ctl(epoll, operation, fd, event);
  if (result < 0) return result;
  std::lock_guard lock(mutex_);
  if (operation == EPOLL_CTL_DEL) watched_.erase(fd);
  if (operation == EPOLL_CTL_ADD) watched_[fd] = Watched{fd, event->data.u64};
  return result;
}

// Keeps some of the events for a later call; returns how many are left.
int SeededSyscalls::hold_back(epoll_event* events, int count) {
  int kept = 0;
  for (int i = 0; i < count; ++i) {
    const bool late = chance(&SyscallNoise::late_event, NoiseKind::kLateEvent);
    std::lock_guard lock(mutex_);
    const auto owner = std::find_if(watched_.begin(), watched_.end(), [&](const auto& entry) {
      return entry.second.data == events[i].data.u64;
    });
    if (late && owner != watched_.end()) {
      owner->second.owed |= events[i].events;
    } else {
      events[kept++] = events[i];
    }
  }
  return kept;
}

// Adds what is owed, now or later, and some events that say nothing new.
int SeededSyscalls::add_owed(epoll_event* events, int count, int capacity) {
  std::lock_guard lock(mutex_);
  for (auto& [fd, watched] : watched_) {
    if (count == capacity) break;
    const bool early = noise_.early_event != 0 && random_.chance(noise_.early_event);
    if (early) ++counts_[static_cast<size_t>(NoiseKind::kEarlyEvent)];
    const bool pay = watched.owed != 0 && (noise_.late_event == 0 || random_.chance(500000));
    if (!early && !pay) continue;
    epoll_event event{};
    event.data.u64 = watched.data;
    if (pay) event.events = std::exchange(watched.owed, 0);
    if (early) event.events |= EPOLLIN | EPOLLOUT;
    events[count++] = event;
  }
  return count;
}

int SeededSyscalls::epoll_wait(int epoll, epoll_event* events, int capacity, int64_t nanoseconds) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [fd, watched] : watched_) {
      if (watched.owed != 0) nanoseconds = 0;
    }
  }
  const int count = Syscalls::epoll_wait(epoll, events, capacity, nanoseconds);
  if (count < 0) return count;
  return add_owed(events, hold_back(events, count), capacity);
}

ssize_t SeededSyscalls::write(int fd, const void* buffer, size_t size) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  return Syscalls::write(fd, buffer, size);
}

ssize_t SeededSyscalls::getrandom(void* buffer, size_t size) {
  if (chance(&SyscallNoise::interrupted, NoiseKind::kInterrupted)) return -EINTR;
  return Syscalls::getrandom(buffer, size);
}

}  // namespace varve::real_io
