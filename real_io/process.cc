#include "real_io/process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <vector>

#include "real_io/disk.h"
#include "real_io/errors.h"
#include "real_io/unique_fd.h"

extern "C" {  // glibc 2.36 has forgotten it
#include <sys/pidfd.h>
}

namespace varve::real_io {
namespace {

int signal_number(ProcessSignal signal) {
  switch (signal) {
    case ProcessSignal::kStop:
      return SIGTERM;
    case ProcessSignal::kKill:
      return SIGKILL;
    case ProcessSignal::kPause:
      return SIGSTOP;
    case ProcessSignal::kContinue:
      return SIGCONT;
  }
  VARVE_UNREACHABLE("no such signal");
}

class RealProcess final : public Process, public Watcher {
 public:
  RealProcess(Reactor& reactor, pid_t pid, UniqueFd pidfd, std::string name)
      : reactor_(reactor), pid_(pid), pidfd_(std::move(pidfd)), name_(std::move(name)) {}
  ~RealProcess() override {
    VARVE_CHECK_MSG(!waiter_.waiting(), "a process object ended under its waiter");
    if (!exit_code_) {
      (void)::pidfd_send_signal(pidfd_.get(), SIGKILL, nullptr, 0);
      reap(0);
    }
    if (watched_) reactor_.unwatch(pidfd_.get());
  }

  Status attach() {
    VARVE_TRY(reactor_.watch(pidfd_.get(), this));
    watched_ = true;
    return Status();
  }

  int64_t pid() const override { return pid_; }

  Status signal(ProcessSignal signal) override {
    if (exit_code_) return Status(Code::kNotFound, "the process has ended").with_object(name_);
    if (::pidfd_send_signal(pidfd_.get(), signal_number(signal), nullptr, 0) == 0) return Status();
    const int error = errno;
    if (error == ESRCH) return Status(Code::kNotFound, "the process has ended").with_object(name_);
    return error_status(error, "signal a process", name_);
  }

  Result<int> wait() override {
    while (!exit_code_) {
      reap(WNOHANG);
      if (!exit_code_) VARVE_TRY(waiter_.wait("the end of a process"));
    }
    return *exit_code_;
  }

  void ready(uint32_t) override { waiter_.wake(reactor_.scheduler()); }

 private:
  void reap(int flags) {
    siginfo_t info{};
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED | flags) < 0) {
      VARVE_CHECK_MSG(errno == EINTR, "somebody else has waited for a child of ours");
    }
    if (info.si_pid == 0) return;
    exit_code_ = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
  }

  Reactor& reactor_;
  pid_t pid_;
  UniqueFd pidfd_;
  std::string name_;
  std::optional<int> exit_code_;
  Waiter waiter_;
  bool watched_ = false;
};

// Everything the child needs, made before the fork: between fork and exec only async-signal-safe
// calls are allowed.
struct Plan {
  std::vector<char*> arguments;
  std::vector<std::string> environment_text;
  std::vector<char*> environment;
  int input = -1;
  int output = -1;
  int report = -1;  // closed by a successful exec, else gets the error number
  pid_t parent = 0;
};

[[noreturn]] void report_and_exit(const Plan& plan) {
  const int error = errno;
  (void)!::write(plan.report, &error, sizeof error);
  ::_exit(127);
}

[[noreturn]] void become(const Plan& plan) {
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) report_and_exit(plan);
  // Had the parent died before the call above, no signal would ever come.
  if (::getppid() != plan.parent) ::_exit(127);
  if (::setsid() < 0) report_and_exit(plan);
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) (void)::sigaction(signal, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::dup2(plan.input, STDIN_FILENO) < 0 || ::dup2(plan.output, STDOUT_FILENO) < 0 ||
      ::dup2(plan.output, STDERR_FILENO) < 0) {
    report_and_exit(plan);
  }
  // All of ours are close-on-exec; this is for those of libraries. The report pipe closes by the
  // exec.
  (void)::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  ::execve(plan.arguments[0], plan.arguments.data(), plan.environment.data());
  report_and_exit(plan);
}

Plan make_plan(const ProcessCommand& command) {
  Plan plan;
  for (const std::string& argument : command.arguments) {
    plan.arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  plan.arguments.push_back(nullptr);
  std::map<std::string, std::string> environment{{"PATH", "/usr/local/bin:/usr/bin:/bin"},
                                                 {"LANG", "C.UTF-8"}};
  for (const char* inherited : {"HOME", "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS"}) {
    if (const char* value = ::getenv(inherited)) environment[inherited] = value;
  }
  for (const auto& [name, value] : command.environment) environment[name] = value;
  for (const auto& [name, value] : environment) plan.environment_text.push_back(name + "=" + value);
  for (std::string& text : plan.environment_text) plan.environment.push_back(text.data());
  plan.environment.push_back(nullptr);
  plan.parent = ::getpid();
  return plan;
}

class RealProcessHost final : public ProcessHost {
 public:
  RealProcessHost(Reactor& reactor, std::string root) : reactor_(reactor), root_(std::move(root)) {}

  Result<std::unique_ptr<Process>> spawn(const ProcessCommand& command) override;

 private:
  Result<UniqueFd> open_output(const std::string& path);

  Reactor& reactor_;
  std::string root_;
};

Result<UniqueFd> RealProcessHost::open_output(const std::string& path) {
  std::string full = "/dev/null";
  if (!path.empty()) {
    VARVE_TRY(check_path(path));
    full = root_ + "/" + path;
  }
  Syscalls& syscalls = reactor_.syscalls();
  const int fd =
      syscalls.openat(AT_FDCWD, full.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return error_status(-fd, "open the output file", full);
  return UniqueFd(syscalls, fd);
}

Result<std::unique_ptr<Process>> RealProcessHost::spawn(const ProcessCommand& command) {
  if (command.arguments.empty()) return Status(Code::kInvalid, "a process needs an executable");
  const std::string& executable = command.arguments[0];
  Syscalls& syscalls = reactor_.syscalls();
  Plan plan = make_plan(command);
  VARVE_TRY_ASSIGN(const UniqueFd output, open_output(command.output_path));
  const UniqueFd input(syscalls, syscalls.openat(AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0));
  std::array<int, 2> report{-1, -1};
  if (!input.valid() || ::pipe2(report.data(), O_CLOEXEC) != 0) {
    return error_status(EMFILE, "start a process", command.name);
  }
  const UniqueFd report_in(syscalls, report[0]);
  UniqueFd report_out(syscalls, report[1]);
  plan.input = input.get();
  plan.output = output.get();
  plan.report = report_out.get();
  const pid_t pid = ::fork();
  if (pid == 0) become(plan);
  if (pid < 0) return error_status(errno, "start a process", command.name);
  report_out.reset();
  // Blocks until the exec: some hundred microseconds, and only the supervisor starts processes.
  int error = 0;
  ssize_t got;
  while ((got = syscalls.read(report_in.get(), &error, sizeof error)) == -EINTR) {
  }
  if (got == static_cast<ssize_t>(sizeof error)) {
    (void)::waitpid(pid, nullptr, 0);
    return error_status(error, "start " + executable, command.name);
  }
  // The child is ours to wait for, so its number can't have gone to another.
  UniqueFd pidfd(syscalls, ::pidfd_open(pid, 0));
  if (!pidfd.valid()) {
    const int failed = errno;
    (void)::kill(pid, SIGKILL);
    (void)::waitpid(pid, nullptr, 0);
    return error_status(failed, "watch a process", command.name);
  }
  auto process = std::make_unique<RealProcess>(reactor_, pid, std::move(pidfd), command.name);
  VARVE_TRY(process->attach());
  return std::unique_ptr<Process>(std::move(process));
}

}  // namespace

std::unique_ptr<ProcessHost> make_process_host(Reactor& reactor, std::string root) {
  return std::make_unique<RealProcessHost>(reactor, std::move(root));
}

}  // namespace varve::real_io
