// A kernel with bad manners, by seed: the adversary of the contract suite.
//
// Everything it answers, a kernel may answer: short reads and writes, interruptions, "not now"
// followed by an edge later, readiness reported late, early or again, completions in pieces, and
// (as far as allowed) failures: a disk error, a full disk, no descriptors, a reset connection.
// Results are made by asking the real kernel for less, or by not asking it at all; what it was not
// asked to do has not happened. A connection that is said to be reset is reset, so that the peer
// learns it the same way.
//
// It knows the edge-triggered epoll that the reactor uses: whoever is told EAGAIN, or gets less
// than there was, is owed an edge, and gets it.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <vector>

#include "base/random.h"
#include "real_io/syscalls.h"

namespace varve::real_io {

// Chances per million calls.
struct SyscallNoise {
  // What only delays: the caller must not be able to tell.
  uint32_t interrupted = 0;
  uint32_t shorter = 0;
  uint32_t not_now = 0;
  uint32_t late_event = 0;
  uint32_t early_event = 0;
  // What changes outcomes.
  uint32_t disk_error = 0;
  uint32_t disk_full = 0;
  uint32_t no_descriptor = 0;
  uint32_t reset = 0;

  static SyscallNoise delays();
  static SyscallNoise everything();
};

enum class NoiseKind : uint8_t {
  kInterrupted,
  kShorter,
  kNotNow,
  kLateEvent,
  kEarlyEvent,
  kDiskError,
  kDiskFull,
  kNoDescriptor,
  kReset,
};
inline constexpr size_t kNoiseKinds = 9;
const char* noise_name(NoiseKind kind);

class SeededSyscalls final : public Syscalls {
 public:
  SeededSyscalls(uint64_t seed, const SyscallNoise& noise);

  // From now on another seed and other chances.
  void reseed(uint64_t seed, const SyscallNoise& noise);
  // How often each kind was done so far.
  std::array<uint64_t, kNoiseKinds> counts() const;

  int openat(int directory, const char* path, int flags, mode_t mode) override;
  int close(int fd) override;
  ssize_t preadv(int fd, const iovec* pieces, int count, off_t offset, int flags) override;
  ssize_t pwritev(int fd, const iovec* pieces, int count, off_t offset) override;
  int fdatasync(int fd) override;
  int fsync(int fd) override;
  int ftruncate(int fd, off_t size) override;
  int fallocate(int fd, int mode, off_t offset, off_t length) override;
  int mkdirat(int directory, const char* path, mode_t mode) override;
  int renameat(int directory, const char* from, const char* to) override;
  int unlinkat(int directory, const char* path, int flags) override;
  ssize_t getdents(int fd, void* buffer, size_t size) override;
  int ring_transfer(bool write, size_t* length) override;

  int socket(int domain, int type, int protocol) override;
  int accept4(int fd, sockaddr* address, socklen_t* length, int flags) override;
  int connect(int fd, const sockaddr* address, socklen_t length) override;
  ssize_t recv(int fd, void* buffer, size_t size, int flags) override;
  ssize_t sendmsg(int fd, const msghdr* message, int flags) override;

  int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) override;
  int epoll_wait(int epoll, epoll_event* events, int capacity, int64_t nanoseconds) override;
  ssize_t write(int fd, const void* buffer, size_t size) override;
  ssize_t getrandom(void* buffer, size_t size) override;

 private:
  struct Watched {
    int fd;
    uint64_t data;
    uint32_t owed = 0;  // events that it must still be told of
    bool broken = false;
  };

  bool chance(uint32_t SyscallNoise::*rate, NoiseKind kind);
  size_t fewer(size_t size);
  void owe(int fd, uint32_t events);
  bool is_broken(int fd);
  void break_connection(int fd);
  int hold_back(epoll_event* events, int count);
  int add_owed(epoll_event* events, int count, int capacity);

  mutable std::mutex mutex_;  // guards all below: file threads call, too
  RandomStream random_;
  SyscallNoise noise_;
  std::array<uint64_t, kNoiseKinds> counts_{};
  std::map<int, Watched> watched_;  // by descriptor; the reactor has one epoll
};

}  // namespace varve::real_io
