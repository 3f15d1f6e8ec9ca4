// Every system call of the real world, as one table.
//
// A table is an object with a virtual function per call; the base class is the kernel itself. Each
// function answers as the kernel does: a value, or minus the error number; `errno` means nothing
// here. A derived table (seeded_syscalls.h) may answer anything that a kernel may legally answer,
// which is how the code above is shown the results that a quiet machine never gives.
//
// All functions may be called from any thread at any time.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

namespace varve::real_io {

class Syscalls {
 public:
  virtual ~Syscalls() = default;

  // --- Names and files ---
  virtual int openat(int directory, const char* path, int flags, mode_t mode);
  virtual int close(int fd);
  virtual ssize_t preadv(int fd, const iovec* pieces, int count, off_t offset, int flags);
  virtual ssize_t pwritev(int fd, const iovec* pieces, int count, off_t offset);
  virtual int fdatasync(int fd);
  virtual int fsync(int fd);
  virtual int syncfs(int fd);
  virtual int ftruncate(int fd, off_t size);
  virtual int fallocate(int fd, int mode, off_t offset, off_t length);
  virtual int fstat(int fd, struct stat* out);
  virtual int fstatat(int directory, const char* path, struct stat* out, int flags);
  virtual int fstatfs(int fd, struct statfs* out);
  virtual int mkdirat(int directory, const char* path, mode_t mode);
  virtual int renameat(int directory, const char* from, const char* to);
  virtual int unlinkat(int directory, const char* path, int flags);
  virtual ssize_t getdents(int fd, void* buffer, size_t size);
  // The decision about a read or write that goes through a ring instead of a call: 0 lets it go on,
  // perhaps with a smaller `*length`; minus an error number is its result. A kernel's table lets
  // everything through.
  virtual int ring_transfer(bool write, size_t* length);

  // --- Sockets ---
  virtual int socket(int domain, int type, int protocol);
  virtual int bind(int fd, const sockaddr* address, socklen_t length);
  virtual int listen(int fd, int backlog);
  virtual int accept4(int fd, sockaddr* address, socklen_t* length, int flags);
  virtual int connect(int fd, const sockaddr* address, socklen_t length);
  virtual int getsockname(int fd, sockaddr* address, socklen_t* length);
  virtual int getsockopt(int fd, int level, int option, void* value, socklen_t* length);
  virtual int setsockopt(int fd, int level, int option, const void* value, socklen_t length);
  virtual int shutdown(int fd, int how);
  virtual ssize_t recv(int fd, void* buffer, size_t size, int flags);
  virtual ssize_t sendmsg(int fd, const msghdr* message, int flags);

  // --- Waiting ---
  virtual int epoll_create();
  virtual int epoll_ctl(int epoll, int operation, int fd, epoll_event* event);
  // Waits up to `nanoseconds`; negative means without end.
  virtual int epoll_wait(int epoll, epoll_event* events, int capacity, int64_t nanoseconds);
  virtual int eventfd();
  virtual ssize_t read(int fd, void* buffer, size_t size);
  virtual ssize_t write(int fd, const void* buffer, size_t size);

  // --- The rest ---
  virtual int clock_gettime(clockid_t clock, timespec* out);
  virtual ssize_t getrandom(void* buffer, size_t size);
};

// The kernel's own table. Shared; it has no state.
Syscalls& kernel();

}  // namespace varve::real_io
