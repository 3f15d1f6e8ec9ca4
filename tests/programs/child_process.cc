#include "tests/programs/child_process.h"

#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>

namespace varve::programs {
namespace {

using Clock = std::chrono::steady_clock;

Status os_error(const std::string& what, const std::string& object) {
  return Status(Code::kInternal, what + ": " + std::strerror(errno)).with_object(object);
}

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
};

Result<std::optional<User>> find_user(const std::string& name) {
  if (name.empty() || geteuid() != 0) return std::optional<User>();
  const passwd* entry = getpwnam(name.c_str());
  if (entry == nullptr) return Status(Code::kNotFound, "there is no user '" + name + "'");
  return std::optional<User>(User{entry->pw_uid, entry->pw_gid});
}

// In the child: only calls that are safe after fork.
[[noreturn]] void become(char* const* arguments, char* const* environment,
                         const std::optional<User>& user, pid_t parent, int out, int errors) {
  if (user && (setgroups(0, nullptr) != 0 || setgid(user->gid) != 0 || setuid(user->uid) != 0))
    _exit(126);
  // After the change of user, which clears it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(125);
  // A program of another user can't stand in a directory that this one may not enter.
  if (user && chdir("/") != 0) _exit(124);
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, 0);
  dup2(out, 1);
  dup2(errors, 2);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(arguments[0], arguments, environment);
  _exit(127);
}

Result<pid_t> start(const Program& program, int out, int errors) {
  VARVE_TRY_ASSIGN(const std::optional<User> user, find_user(program.user));
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) variables.emplace_back(*entry);
  for (const auto& [name, value] : program.environment) {
    std::erase_if(variables, [&, head = name + "="](const std::string& variable) {
      return variable.starts_with(head);
    });
    variables.push_back(name + "=" + value);
  }
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  std::vector<std::string> command = program.command;
  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return os_error("fork", program.command[0]);
  if (pid == 0) become(arguments.data(), environment.data(), user, parent, out, errors);
  return pid;
}

struct Pipe {
  int read = -1;
  int write = -1;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == 0) std::tie(read, write) = std::pair(ends[0], ends[1]);
  }
  Pipe(const Pipe&) = delete;
  ~Pipe() {
    close(read);
    close(write);
  }
};

// Reads both to their ends. False at the deadline.
bool drain(int out, int errors, ProgramResult& result, Clock::time_point deadline) {
  pollfd ends[] = {{out, POLLIN, 0}, {errors, POLLIN, 0}};
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    if (poll(ends, 2, static_cast<int>(left)) < 0 && errno != EINTR) return false;
    for (pollfd& end : ends) {
      if (end.fd < 0 || end.revents == 0) continue;
      char buffer[16384];
      const ssize_t n = read(end.fd, buffer, sizeof buffer);
      if (n <= 0) {
        end.fd = -1;
        continue;
      }
      (end.fd == out ? result.out : result.errors).append(buffer, static_cast<size_t>(n));
    }
  }
  return true;
}

std::string last_words(const ProgramResult& result) {
  const std::string& text = result.errors.empty() ? result.out : result.errors;
  return text.size() <= 2000 ? text : "... " + text.substr(text.size() - 2000);
}

}  // namespace

std::string postgres_user() {
  return geteuid() == 0 ? "postgres" : "";
}

Result<ChildProcess> ChildProcess::spawn(const Program& program) {
  const std::string log = program.log.empty() ? "/dev/null" : program.log;
  const int file = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return os_error("can't open the log", log);
  Result<pid_t> pid = start(program, file, file);
  close(file);
  VARVE_TRY(pid.status());
  return ChildProcess(*pid);
}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(ended_, other.ended_);
  std::swap(exit_code_, other.exit_code_);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (pid_ == 0 || ended_) return;
  signal(SIGKILL);
  reap(0);
}

bool ChildProcess::reap(int options) {
  int status = 0;
  if (ended_ || waitpid(pid_, &status, options) != pid_) return ended_;
  ended_ = true;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return true;
}

bool ChildProcess::running() {
  return pid_ != 0 && !reap(WNOHANG);
}

void ChildProcess::signal(int number) {
  if (running()) kill(pid_, number);
}

Result<int> ChildProcess::wait(Duration limit) {
  const auto deadline = Clock::now() + std::chrono::nanoseconds(limit.nanoseconds);
  while (running()) {
    if (Clock::now() > deadline)
      return Status(Code::kDeadlineExceeded, "process " + std::to_string(pid_) +
                                                 " still runs after " +
                                                 std::to_string(limit.to_millis()) + " ms");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return exit_code_;
}

Result<ProgramResult> run(const Program& program, Duration limit) {
  auto out = std::make_unique<Pipe>();
  auto errors = std::make_unique<Pipe>();
  VARVE_TRY_ASSIGN(const pid_t pid, start(program, out->write, errors->write));
  close(std::exchange(out->write, -1));
  close(std::exchange(errors->write, -1));
  ProgramResult result;
  const bool ended = drain(out->read, errors->read, result,
                           Clock::now() + std::chrono::nanoseconds(limit.nanoseconds));
  if (!ended) kill(pid, SIGKILL);
  int status = 0;
  waitpid(pid, &status, 0);
  if (!ended)
    return Status(Code::kDeadlineExceeded, "no end after " + std::to_string(limit.to_millis()) +
                                               " ms; it said: " + last_words(result))
        .with_object(program.command[0]);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

Result<std::string> output_of(const Program& program, Duration limit) {
  VARVE_TRY_ASSIGN(const ProgramResult result, run(program, limit));
  if (result.exit_code == 0) return result.out;
  std::string line;
  for (const std::string& word : program.command) line += (line.empty() ? "" : " ") + word;
  return Status(Code::kInternal,
                "exit code " + std::to_string(result.exit_code) + ": " + last_words(result))
      .with_object(line);
}

Result<uint16_t> free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool bound = bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  close(socket);
  if (!bound) return os_error("no free port", "127.0.0.1");
  return ntohs(address.sin_port);
}

}  // namespace varve::programs
