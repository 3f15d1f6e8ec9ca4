#include "tools/varve/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "tools/varve/files.h"

namespace varve::tool {

using real_io::UniqueFd;

namespace {

// A holder that was killed holds it until the kernel has taken it apart, and holder() for a moment.
constexpr int kLooks = 50;
constexpr std::chrono::milliseconds kBetweenLooks{20};

// What stands in it; 0 between a take and the write of the pid.
pid_t read_pid(int file) {
  char text[32] = {};
  const ssize_t n = ::pread(file, text, sizeof(text) - 1, 0);
  return n > 0 ? static_cast<pid_t>(std::strtol(text, nullptr, 10)) : 0;
}

}  // namespace

Result<DirectoryLock> DirectoryLock::take(const std::string& directory) {
  const std::string path = directory + "/lock";
  UniqueFd file(real_io::kernel(),
                ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file.valid()) return os_error("cannot open", path);
  for (int look = 1; ::flock(file.get(), LOCK_EX | LOCK_NB) != 0; ++look) {
    if (errno != EWOULDBLOCK) return os_error("cannot lock", path);
    if (look < kLooks) {
      std::this_thread::sleep_for(kBetweenLooks);
      continue;
    }
    return Status(Code::kRefused,
                  "another `varve up` (pid " + std::to_string(read_pid(file.get())) + ") runs here")
        .with_object(directory)
        .with_hint("`varve down` stops it");
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(file.get(), 0) != 0 ||
      ::pwrite(file.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return os_error("cannot write", path);
  }
  return DirectoryLock(std::move(file));
}

Result<pid_t> DirectoryLock::holder(const std::string& directory) {
  const std::string path = directory + "/lock";
  const UniqueFd file(real_io::kernel(), ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) {
    if (errno == ENOENT) return pid_t{0};
    return os_error("cannot open", path);
  }
  // Shared, so that two who ask at once don't see each other.
  if (::flock(file.get(), LOCK_SH | LOCK_NB) == 0) return pid_t{0};
  if (errno != EWOULDBLOCK) return os_error("cannot look at the lock", path);
  return read_pid(file.get());
}

}  // namespace varve::tool
