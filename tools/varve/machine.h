// What /proc and the socket table say of this machine: who listens on a port, and which processes
// an earlier supervisor of a data directory has left. Blocks; for the time before a world exists.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace varve::tool {

// Whether a server could listen there. `host` is a literal IPv4 address.
bool port_is_free(const std::string& host, uint16_t port);
// "python3 (pid 123)", as far as /proc tells; empty when it doesn't (another user's process).
std::string port_holder(uint16_t port);

// A daemon of ours on this data directory.
struct Leftover {
  pid_t pid = 0;
  uint64_t start_time = 0;  // with it the pid means one process
  std::string verb;
  std::string incarnation;
};

// Processes of this user whose command line is a daemon's on `directory`, with an incarnation. Call
// it while holding the directory's lock: then no living supervisor owns them.
std::vector<Leftover> find_leftovers(const std::string& directory);
// Kills them and waits until they are gone, at most five seconds. A number that has gone to another
// process meanwhile is left alone.
Status end_leftovers(const std::vector<Leftover>& leftovers);

}  // namespace varve::tool
