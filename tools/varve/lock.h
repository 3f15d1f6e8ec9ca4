// DIR/lock: held by the supervisor of a data directory as long as it lives, with its pid inside.
//
// The kernel lets go of it when the holder dies, however that happens, so a lock file is never
// stale and nobody has to judge a pid that may belong to a stranger by now.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/status.h"
#include "real_io/unique_fd.h"

namespace varve::tool {

class DirectoryLock {
 public:
  // Refused, naming the pid, when another process holds it.
  static Result<DirectoryLock> take(const std::string& directory);
  // The pid of who holds it; 0 when nobody does (or it was never made).
  static Result<pid_t> holder(const std::string& directory);

 private:
  explicit DirectoryLock(real_io::UniqueFd file) : file_(std::move(file)) {}
  real_io::UniqueFd file_;
};

}  // namespace varve::tool
