#include "real_io/syscalls.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace varve::real_io {
namespace {

template <class T>
T answer(T result) {
  return result < 0 ? static_cast<T>(-errno) : result;
}

}  // namespace

int Syscalls::openat(int directory, const char* path, int flags, mode_t mode) {
  return answer(::openat(directory, path, flags, mode));
}
int Syscalls::close(int fd) {
  return answer(::close(fd));
}
ssize_t Syscalls::preadv(int fd, const iovec* pieces, int count, off_t offset, int flags) {
  return answer(::preadv2(fd, pieces, count, offset, flags));
}
ssize_t Syscalls::pwritev(int fd, const iovec* pieces, int count, off_t offset) {
  return answer(::pwritev(fd, pieces, count, offset));
}
int Syscalls::fdatasync(int fd) {
  return answer(::fdatasync(fd));
}
int Syscalls::fsync(int fd) {
  return answer(::fsync(fd));
}
int Syscalls::syncfs(int fd) {
  return answer(::syncfs(fd));
}
int Syscalls::ftruncate(int fd, off_t size) {
  return answer(::ftruncate(fd, size));
}
int Syscalls::fallocate(int fd, int mode, off_t offset, off_t length) {
  return answer(::fallocate(fd, mode, offset, length));
}
int Syscalls::fstat(int fd, struct stat* out) {
  return answer(::fstat(fd, out));
}
int Syscalls::fstatat(int directory, const char* path, struct stat* out, int flags) {
  return answer(::fstatat(directory, path, out, flags));
}
int Syscalls::fstatfs(int fd, struct statfs* out) {
  return answer(::fstatfs(fd, out));
}
int Syscalls::mkdirat(int directory, const char* path, mode_t mode) {
  return answer(::mkdirat(directory, path, mode));
}
int Syscalls::renameat(int directory, const char* from, const char* to) {
  return answer(::renameat(directory, from, directory, to));
}
int Syscalls::unlinkat(int directory, const char* path, int flags) {
  return answer(::unlinkat(directory, path, flags));
}
ssize_t Syscalls::getdents(int fd, void* buffer, size_t size) {
  return answer(::getdents64(fd, buffer, size));
}
int Syscalls::ring_transfer(bool, size_t*) {
  return 0;
}

int Syscalls::socket(int domain, int type, int protocol) {
  return answer(::socket(domain, type, protocol));
}
int Syscalls::bind(int fd, const sockaddr* address, socklen_t length) {
  return answer(::bind(fd, address, length));
}
int Syscalls::listen(int fd, int backlog) {
  return answer(::listen(fd, backlog));
}
int Syscalls::accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  return answer(::accept4(fd, address, length, flags));
}
int Syscalls::connect(int fd, const sockaddr* address, socklen_t length) {
  return answer(::connect(fd, address, length));
}
int Syscalls::getsockname(int fd, sockaddr* address, socklen_t* length) {
  return answer(::getsockname(fd, address, length));
}
int Syscalls::getsockopt(int fd, int level, int option, void* value, socklen_t* length) {
  return answer(::getsockopt(fd, level, option, value, length));
}
int Syscalls::setsockopt(int fd, int level, int option, const void* value, socklen_t length) {
  return answer(::setsockopt(fd, level, option, value, length));
}
int Syscalls::shutdown(int fd, int how) {
  return answer(::shutdown(fd, how));
}
ssize_t Syscalls::recv(int fd, void* buffer, size_t size, int flags) {
  return answer(::recv(fd, buffer, size, flags));
}
ssize_t Syscalls::sendmsg(int fd, const msghdr* message, int flags) {
  return answer(::sendmsg(fd, message, flags));
}

int Syscalls::epoll_create() {
  return answer(::epoll_create1(EPOLL_CLOEXEC));
}
int Syscalls::epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  return answer(::epoll_ctl(epoll, operation, fd, event));
}
int Syscalls::epoll_wait(int epoll, epoll_event* events, int capacity, int64_t nanoseconds) {
  if (nanoseconds < 0) return answer(::epoll_wait(epoll, events, capacity, -1));
  if (nanoseconds == 0) return answer(::epoll_wait(epoll, events, capacity, 0));
  const timespec timeout{nanoseconds / 1000000000, nanoseconds % 1000000000};
  const int got = answer(::epoll_pwait2(epoll, events, capacity, &timeout, nullptr));
  if (got != -ENOSYS) return got;
  // Kernels before 5.11 know milliseconds only; round up, so that no timer is polled for.
  const int64_t milliseconds = (nanoseconds + 999999) / 1000000;
  return answer(::epoll_wait(epoll, events, capacity,
                             static_cast<int>(milliseconds > 60000 ? 60000 : milliseconds)));
}
int Syscalls::eventfd() {
  return answer(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}
ssize_t Syscalls::read(int fd, void* buffer, size_t size) {
  return answer(::read(fd, buffer, size));
}
ssize_t Syscalls::write(int fd, const void* buffer, size_t size) {
  return answer(::write(fd, buffer, size));
}

int Syscalls::clock_gettime(clockid_t clock, timespec* out) {
  return answer(::clock_gettime(clock, out));
}
ssize_t Syscalls::getrandom(void* buffer, size_t size) {
  return answer(::getrandom(buffer, size, 0));
}

Syscalls& kernel() {
  static Syscalls table;
  return table;
}

}  // namespace varve::real_io
