#include "real_io/postgres/process_family.h"

#include <dirent.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>

#include "real_io/errors.h"
#include "real_io/postgres/files.h"

extern "C" {  // glibc 2.36 has forgotten it
#include <sys/pidfd.h>
}

namespace varve::real_io {
namespace {

struct Seen {
  std::string name;
  char state = 0;
  pid_t parent = 0;
  pid_t session = 0;
  uint64_t started = 0;
};

// proc(5): "pid (name) state ppid pgrp session …", starttime is field 22. The name may hold
// anything, so the last parenthesis ends it.
std::optional<Seen> look_at(pid_t pid) {
  const auto text = read_text("/proc/" + std::to_string(pid) + "/stat");
  if (!text.ok()) return std::nullopt;
  const size_t open = text->find('(');
  const size_t close = text->rfind(')');
  if (open == std::string::npos || close == std::string::npos || close + 2 >= text->size())
    return std::nullopt;
  Seen seen;
  seen.name = text->substr(open + 1, close - open - 1);
  seen.state = (*text)[close + 2];
  const char* at = text->c_str() + close + 3;
  for (int field = 4; field <= 22; ++field) {
    char* end = nullptr;
    const long long value = std::strtoll(at, &end, 10);
    if (end == at) return std::nullopt;
    if (field == 4) seen.parent = static_cast<pid_t>(value);
    if (field == 6) seen.session = static_cast<pid_t>(value);
    if (field == 22) seen.started = static_cast<uint64_t>(value);
    at = end;
  }
  return seen;
}

std::map<pid_t, Seen> look_around() {
  std::map<pid_t, Seen> all;
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return all;
  while (const dirent* item = ::readdir(proc)) {
    const auto pid = static_cast<pid_t>(std::strtol(item->d_name, nullptr, 10));
    if (pid <= 0) continue;
    if (auto seen = look_at(pid)) all.emplace(pid, std::move(*seen));
  }
  ::closedir(proc);
  return all;
}

bool works_in(pid_t pid, const std::string& data) {
  if (data.empty()) return false;
  std::array<char, PATH_MAX> link;
  const std::string name = "/proc/" + std::to_string(pid) + "/cwd";
  const ssize_t length = ::readlink(name.c_str(), link.data(), link.size());
  if (length <= 0) return false;
  const std::string_view directory(link.data(), static_cast<size_t>(length));
  // The kernel adds " (deleted)" when the directory is gone.
  return directory.starts_with(data) &&
         (directory.size() == data.size() || directory[data.size()] == '/' ||
          directory[data.size()] == ' ');
}

bool dead(const Seen& seen) {
  return seen.state == 'Z' || seen.state == 'X';
}

std::set<pid_t> members_of(const ProcessFamily& family, const std::map<pid_t, Seen>& all) {
  const pid_t self = ::getpid();
  const pid_t session = ::getsid(0);
  std::set<pid_t> members;
  for (const auto& [pid, seen] : all) {
    if (pid == self || dead(seen)) continue;
    const bool orphan = family.orphans && seen.parent == self && seen.session != pid &&
                        seen.session != session && seen.session != 0;
    if (pid == family.postmaster || orphan || works_in(pid, family.data)) members.insert(pid);
  }
  for (bool grown = true; grown;) {
    grown = false;
    for (const auto& [pid, seen] : all) {
      const bool below = members.contains(seen.parent) || seen.parent == family.postmaster;
      if (pid != self && below && seen.parent > 1 && !dead(seen))
        grown = members.insert(pid).second || grown;
    }
  }
  return members;
}

}  // namespace

Status become_subreaper() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0) return Status();
  return error_status(errno, "become the reaper of Postgres' orphans", "prctl");
}

size_t signal_family(const ProcessFamily& family, int signal) {
  const std::map<pid_t, Seen> all = look_around();
  size_t alive = 0;
  for (const pid_t pid : members_of(family, all)) {
    const int pidfd = ::pidfd_open(pid, 0);
    if (pidfd < 0) continue;
    const auto again = look_at(pid);
    if (again && !dead(*again) && again->started == all.at(pid).started) {
      (void)::pidfd_send_signal(pidfd, signal, nullptr, 0);
      ++alive;
    }
    ::close(pidfd);
  }
  // A backend leads its session; the postmaster is waited for by whoever has its pidfd.
  for (const auto& [pid, seen] : all) {
    if (!family.orphans || !dead(seen) || seen.parent != ::getpid()) continue;
    if (pid == family.postmaster || seen.session == ::getsid(0)) continue;
    if (seen.session == pid && seen.name != "postgres") continue;
    (void)::waitpid(pid, nullptr, WNOHANG);
  }
  return alive;
}

}  // namespace varve::real_io
