#include "tools/varve/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "real_io/unique_fd.h"

namespace varve::tool {

using real_io::UniqueFd;

Status os_error(const std::string& what, const std::string& object) {
  const int error = errno;
  Code code = Code::kInternal;
  if (error == ENOENT) code = Code::kNotFound;
  if (error == EACCES || error == EPERM || error == EROFS) code = Code::kRefused;
  if (error == ENOSPC || error == EDQUOT) code = Code::kFull;
  return Status(code, what + ": " + std::strerror(error)).with_object(object);
}

Result<std::string> read_file(const std::string& path) {
  const UniqueFd file(real_io::kernel(), ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return os_error("cannot open", path);
  std::string content;
  char buffer[4096];
  for (;;) {
    const ssize_t n = ::read(file.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("cannot read", path);
    if (n == 0) return content;
    content.append(buffer, static_cast<size_t>(n));
  }
}

Status write_file(const std::string& path, std::string_view content, unsigned mode) {
  const std::string temporary = path + ".new";
  const UniqueFd file(
      real_io::kernel(),
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
  if (file.get() < 0) return os_error("cannot create", temporary);
  while (!content.empty()) {
    const ssize_t n = ::write(file.get(), content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("cannot write", temporary);
    content.remove_prefix(static_cast<size_t>(n));
  }
  if (::fsync(file.get()) != 0) return os_error("cannot sync", temporary);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return os_error("cannot rename", temporary);
  const std::string parent = path.substr(0, path.rfind('/'));
  const UniqueFd folder(real_io::kernel(),
                        ::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0 || ::fsync(folder.get()) != 0) return os_error("cannot sync", parent);
  return Status();
}

Status make_directory(const std::string& path, unsigned mode) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) return os_error("cannot make", part);
    if (slash == std::string::npos) break;
  }
  struct stat found;
  if (::stat(path.c_str(), &found) != 0) return os_error("cannot look at", path);
  if (!S_ISDIR(found.st_mode)) {
    return Status(Code::kRefused, "is not a directory").with_object(path);
  }
  return Status();
}

bool exists(const std::string& path) {
  struct stat found;
  return ::lstat(path.c_str(), &found) == 0;
}

}  // namespace varve::tool
