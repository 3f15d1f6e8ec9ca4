// The postmaster's process: postgres itself, never a shell or pg_ctl, as its user, in its own
// session, with the shim before it, and killed by the kernel when this process dies.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "real_io/postgres/place.h"
#include "real_io/unique_fd.h"

namespace varve::real_io {

struct Launch {
  std::vector<std::string> arguments;    // [0]: the executable
  std::vector<std::string> environment;  // whole: "name=value"
  std::vector<int> kept;                 // descriptors that it inherits under their numbers
  std::string directory;                 // to start in
  std::string output_path;               // both outputs are appended here
  PostgresUser user;
};

struct Launched {
  pid_t pid = 0;
  UniqueFd pidfd;
};

// Call on the thread that lives as long as the process: the death signal is bound to it. Blocks
// until the exec, some hundred microseconds. An error of the exec is this function's.
Result<Launched> launch(Syscalls& syscalls, const Launch& launch);

}  // namespace varve::real_io
