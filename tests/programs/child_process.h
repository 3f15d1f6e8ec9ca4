// Programs as children of a test or tool: run to the end, or kept and killed.
//
// Children die with the thread that started them, whatever ends it: start them from one that stays.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "base/time.h"

namespace varve::programs {

struct Program {
  std::vector<std::string> command;  // an absolute path and its arguments
  std::string user = {};  // as root: run as this user; otherwise, and when empty, as ourselves
  std::vector<std::pair<std::string, std::string>> environment = {};  // in addition to ours
  std::string log = {};  // stdout and stderr are appended to it; empty: /dev/null
};

// User "postgres" when we are root (Postgres' server programs refuse root), else "".
std::string postgres_user();
// Of Debian's package postgresql-15, with a slash behind.
inline constexpr char kPostgresPrograms[] = "/usr/lib/postgresql/15/bin/";

class ChildProcess {
 public:
  // Internal with errno's text; a program that can't be executed ends with exit code 127.
  static Result<ChildProcess> spawn(const Program& program);
  ChildProcess(ChildProcess&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  // SIGKILL if it still runs.
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  bool running();
  // Nothing when it has ended.
  void signal(int number);
  // Its exit code, 128 + n for signal n. DeadlineExceeded if it still runs after `limit`.
  Result<int> wait(Duration limit);

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}
  bool reap(int options);

  pid_t pid_ = 0;  // 0: moved from
  bool ended_ = false;
  int exit_code_ = 0;
};

struct ProgramResult {
  int exit_code = 0;
  std::string out;     // stdout
  std::string errors;  // stderr
};

// Runs it to the end (`log` is not used). DeadlineExceeded, with what it said, when it was killed
// for taking too long.
Result<ProgramResult> run(const Program& program, Duration limit);
// run() where a non-zero exit code is an error that shows the program's last words; its stdout.
Result<std::string> output_of(const Program& program, Duration limit);

// A TCP port of the loopback interface that nobody listens on.
Result<uint16_t> free_port();

}  // namespace varve::programs
