#include "real_io/postgres/files.h"

#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "real_io/errors.h"

namespace varve::real_io {

int open_beneath(int directory, const char* path, int flags, unsigned mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC | O_NONBLOCK;
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  if ((flags & O_PATH) != 0) how.flags &= ~static_cast<uint64_t>(O_NONBLOCK);
  const auto fd = static_cast<int>(::syscall(SYS_openat2, directory, path, &how, sizeof how));
  if (fd < 0) return -errno;
  struct stat about {};
  if ((flags & (O_PATH | O_DIRECTORY)) == 0 &&
      (::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))) {
    ::close(fd);
    return -EINVAL;
  }
  return fd;
}

int unlink_beneath(int directory, const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const int fd = open_beneath(directory, parent.c_str(), O_PATH | O_DIRECTORY);
  if (fd < 0) return -fd;
  const int error = ::unlinkat(fd, name.c_str(), 0) == 0 ? 0 : errno;
  ::close(fd);
  return error;
}

int write_all(int fd, std::span<const uint8_t> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return put < 0 ? errno : ENOSPC;
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return 0;
}

int64_t read_all(int fd, std::span<uint8_t> out, uint64_t offset) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return static_cast<int64_t>(done);
}

Result<std::string> read_text(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return error_status(errno, "open", path);
  std::string text;
  char piece[8192];
  ssize_t got;
  while ((got = ::read(fd, piece, sizeof piece)) > 0 || (got < 0 && errno == EINTR)) {
    if (got > 0) text.append(piece, static_cast<size_t>(got));
  }
  const int error = got < 0 ? errno : 0;
  ::close(fd);
  if (error != 0) return error_status(error, "read", path);
  return text;
}

Status remove_tree(const std::string& path) {
  const auto remove_one = [](const char* name, const struct stat*, int, struct FTW*) -> int {
    return ::remove(name) == 0 || errno == ENOENT ? 0 : errno;
  };
  const int result = ::nftw(path.c_str(), remove_one, 64, FTW_DEPTH | FTW_PHYS);
  if (result == 0) return Status();
  const int error = result > 0 ? result : errno;
  return error == ENOENT ? Status() : error_status(error, "remove a compute's directory", path);
}

}  // namespace varve::real_io
