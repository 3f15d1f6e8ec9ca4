#include "tools/varve/machine.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "real_io/unique_fd.h"
#include "tools/varve/files.h"

namespace varve::tool {

using real_io::UniqueFd;

namespace {

constexpr std::array<std::string_view, 4> kDaemonVerbs = {"control", "safekeeper", "pageserver",
                                                          "compute"};

template <class F>
void for_each_entry(const std::string& directory, F function) {
  DIR* open = ::opendir(directory.c_str());
  if (open == nullptr) return;
  while (const dirent* entry = ::readdir(open)) function(std::string(entry->d_name));
  (void)::closedir(open);
}

template <class F>
void for_each_process(F function) {
  for_each_entry("/proc", [&](const std::string& name) {
    char* end = nullptr;
    const long pid = std::strtol(name.c_str(), &end, 10);
    if (*end == '\0' && pid > 0) function(static_cast<pid_t>(pid));
  });
}

std::string in_proc(pid_t pid, const char* name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

// The inode of the socket that listens on `port` at any address; 0 when none does.
uint64_t listening_inode(uint16_t port) {
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    const Result<std::string> text = read_file(table);
    if (!text.ok()) continue;
    for (size_t line = text->find('\n'); line != std::string::npos;
         line = text->find('\n', line + 1)) {
      unsigned local = 0;
      unsigned state = 0;
      uint64_t inode = 0;
      const int fields = std::sscanf(
          text->c_str() + line + 1,
          " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %" SCNu64,
          &local, &state, &inode);
      constexpr unsigned kListen = 0x0A;
      if (fields == 3 && local == port && state == kListen) return inode;
    }
  }
  return 0;
}

bool holds_socket(pid_t pid, const std::string& socket) {
  bool found = false;
  const std::string folder = in_proc(pid, "fd");
  for_each_entry(folder, [&](const std::string& name) {
    char target[64];
    const ssize_t n = ::readlink((folder + "/" + name).c_str(), target, sizeof(target));
    if (n > 0 && std::string_view(target, static_cast<size_t>(n)) == socket) found = true;
  });
  return found;
}

std::vector<std::string> command_line(pid_t pid) {
  std::vector<std::string> arguments;
  const Result<std::string> text = read_file(in_proc(pid, "cmdline"));
  if (!text.ok()) return arguments;
  for (size_t begin = 0; begin < text->size();) {
    const size_t end = std::min(text->find('\0', begin), text->size());
    arguments.push_back(text->substr(begin, end - begin));
    begin = end + 1;
  }
  return arguments;
}

// Field 22 of stat, behind the name, which may hold anything, brackets and blanks too.
std::optional<uint64_t> start_time(pid_t pid) {
  const Result<std::string> text = read_file(in_proc(pid, "stat"));
  if (!text.ok()) return std::nullopt;
  size_t at = text->rfind(')');
  if (at == std::string::npos) return std::nullopt;
  constexpr int kFieldsBetween = 20;  // from the bracket to field 22
  for (int field = 0; field < kFieldsBetween; ++field) {
    at = text->find(' ', at + 1);
    if (at == std::string::npos) return std::nullopt;
  }
  return std::strtoull(text->c_str() + at + 1, nullptr, 10);
}

std::string value_of(const std::vector<std::string>& arguments, std::string_view flag) {
  for (size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (arguments[i] == flag) return arguments[i + 1];
  }
  return "";
}

// A descriptor of the process, not of whoever has its number by now.
UniqueFd open_process(const Leftover& leftover) {
  UniqueFd process(real_io::kernel(), static_cast<int>(::syscall(SYS_pidfd_open, leftover.pid, 0)));
  if (process.valid() && start_time(leftover.pid) != leftover.start_time) process.reset();
  return process;
}

}  // namespace

bool port_is_free(const std::string& host, uint16_t port) {
  const UniqueFd probe(real_io::kernel(), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  (void)::setsockopt(probe.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) return true;  // listen() will say
  address.sin_port = htons(port);
  if (::bind(probe.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return false;
  }
  // With SO_REUSEADDR a bind succeeds beside a connection that still closes, and so does this; only
  // a listener is in the way.
  return ::listen(probe.get(), 1) == 0;
}

std::string port_holder(uint16_t port) {
  const uint64_t inode = listening_inode(port);
  if (inode == 0) return "";
  const std::string socket = "socket:[" + std::to_string(inode) + "]";
  std::string holder;
  for_each_process([&](pid_t pid) {
    if (!holder.empty() || !holds_socket(pid, socket)) return;
    Result<std::string> name = read_file(in_proc(pid, "comm"));
    holder = name.ok() ? name->substr(0, name->find('\n')) : "a process";
    holder += " (pid " + std::to_string(pid) + ")";
  });
  return holder;
}

std::vector<Leftover> find_leftovers(const std::string& directory) {
  std::vector<Leftover> found;
  for_each_process([&](pid_t pid) {
    // The time first: a number that changes hands in between gives a time that doesn't fit.
    const std::optional<uint64_t> since = start_time(pid);
    struct stat owner;
    if (!since || pid == ::getpid() || ::stat(in_proc(pid, "").c_str(), &owner) != 0 ||
        owner.st_uid != ::geteuid()) {
      return;
    }
    const std::vector<std::string> arguments = command_line(pid);
    if (arguments.size() < 2 || value_of(arguments, "--data") != directory ||
        std::find(kDaemonVerbs.begin(), kDaemonVerbs.end(), arguments[1]) == kDaemonVerbs.end()) {
      return;
    }
    const std::string incarnation = value_of(arguments, "--incarnation");
    if (!incarnation.empty()) found.push_back({pid, *since, arguments[1], incarnation});
  });
  return found;
}

Status end_leftovers(const std::vector<Leftover>& leftovers) {
  constexpr int kLimitMillis = 5000;
  for (const Leftover& leftover : leftovers) {
    const UniqueFd process = open_process(leftover);
    if (!process.valid()) continue;
    (void)::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
    pollfd gone{process.get(), POLLIN, 0};
    if (::poll(&gone, 1, kLimitMillis) != 1) {
      return Status(Code::kUnavailable, "a leftover " + leftover.verb + " (pid " +
                                            std::to_string(leftover.pid) + ") can't be killed")
          .with_hint("it hangs in the kernel, as on a disk that doesn't answer");
    }
  }
  return Status();
}

}  // namespace varve::tool
