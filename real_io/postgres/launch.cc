#include "real_io/postgres/launch.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "real_io/errors.h"

extern "C" {  // glibc 2.36 has forgotten it
#include <sys/pidfd.h>
}

namespace varve::real_io {
namespace {

// Made before the fork: between fork and exec only async-signal-safe calls are allowed.
struct Child {
  std::vector<char*> arguments;
  std::vector<char*> environment;
  const std::vector<int>* kept = nullptr;
  const char* directory = nullptr;
  PostgresUser user;
  int input = -1;
  int output = -1;
  int report = -1;  // closed by a successful exec, else gets the error number
  pid_t parent = 0;
};

[[noreturn]] void report_and_exit(const Child& child) {
  const int error = errno;
  (void)!::write(child.report, &error, sizeof error);
  ::_exit(127);
}

void drop_to(const Child& child) {
  if (::geteuid() != 0) return;
  const gid_t group = child.user.gid;
  if (::setgroups(1, &group) != 0 || ::setresgid(group, group, group) != 0 ||
      ::setresuid(child.user.uid, child.user.uid, child.user.uid) != 0) {
    report_and_exit(child);
  }
}

// When memory runs out the backends go before whoever keeps their promises.
void volunteer() {
  const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd >= 0) (void)!::write(fd, "300", 3);
}

[[noreturn]] void become(const Child& child) {
  volunteer();
  if (::setsid() < 0) report_and_exit(child);
  drop_to(child);
  // After the change of user, which clears it; and had the parent died before, no signal would
  // come.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) report_and_exit(child);
  if (::getppid() != child.parent) ::_exit(127);
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) (void)::sigaction(signal, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
  (void)::umask(077);
  if (::dup2(child.input, STDIN_FILENO) < 0 || ::dup2(child.output, STDOUT_FILENO) < 0 ||
      ::dup2(child.output, STDERR_FILENO) < 0 || ::chdir(child.directory) != 0) {
    report_and_exit(child);
  }
  (void)::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  for (const int fd : *child.kept) (void)::fcntl(fd, F_SETFD, 0);
  ::execve(child.arguments[0], child.arguments.data(), child.environment.data());
  report_and_exit(child);
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const std::string& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

}  // namespace

Result<Launched> launch(Syscalls& syscalls, const Launch& launch) {
  Child child;
  child.arguments = pointers(launch.arguments);
  child.environment = pointers(launch.environment);
  child.kept = &launch.kept;
  child.directory = launch.directory.c_str();
  child.user = launch.user;
  child.parent = ::getpid();
  const std::string& log = launch.output_path;
  const UniqueFd output(syscalls,
                        ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!output.valid()) return error_status(errno, "open Postgres' log", log);
  const UniqueFd input(syscalls, ::open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::array<int, 2> report{-1, -1};
  if (!input.valid() || ::pipe2(report.data(), O_CLOEXEC) != 0)
    return error_status(errno, "start Postgres", launch.arguments[0]);
  const UniqueFd report_in(syscalls, report[0]);
  UniqueFd report_out(syscalls, report[1]);
  child.input = input.get();
  child.output = output.get();
  child.report = report_out.get();
  const pid_t pid = ::fork();
  if (pid == 0) become(child);
  if (pid < 0) return error_status(errno, "start Postgres", launch.arguments[0]);
  report_out.reset();
  int error = 0;
  ssize_t got;
  while ((got = syscalls.read(report_in.get(), &error, sizeof error)) == -EINTR) {
  }
  Launched launched{pid, UniqueFd(syscalls, got == 0 ? ::pidfd_open(pid, 0) : -1)};
  if (launched.pidfd.valid()) return launched;
  if (got == 0) error = errno;
  (void)::kill(pid, SIGKILL);  // ours to wait for, so the number can't have gone to another
  (void)::waitpid(pid, nullptr, 0);
  return error_status(error, "execute postgres", launch.arguments[0]);
}

}  // namespace varve::real_io
