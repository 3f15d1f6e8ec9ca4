// Child processes, for the supervisor. Postgres itself is behind PostgresHost, which knows more.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"

namespace varve {

struct ProcessCommand {
  std::string name;                                // for logs: "safekeeper-1"
  std::vector<std::string> arguments;              // [0] is the executable's path
  std::map<std::string, std::string> environment;  // added to a minimal one
  std::string output_path;  // both outputs are appended here, relative to the node's directory
};

enum class ProcessSignal : uint8_t { kStop, kKill, kPause, kContinue };

class Process {
 public:
  // Kills it if it still runs: no child outlives its owner.
  virtual ~Process() = default;
  virtual int64_t pid() const = 0;
  virtual Status signal(ProcessSignal signal) = 0;
  // Waits for its end: the exit code, or 128 + signal.
  virtual Result<int> wait() = 0;
};

class ProcessHost {
 public:
  virtual ~ProcessHost() = default;
  // In a session of its own (a Ctrl-C of the terminal reaches only the supervisor), and killed by
  // the kernel if this process dies.
  virtual Result<std::unique_ptr<Process>> spawn(const ProcessCommand& command) = 0;
};

}  // namespace varve
