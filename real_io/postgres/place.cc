#include "real_io/postgres/place.h"

#include <pwd.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <vector>

#include "base/random.h"
#include "real_io/errors.h"
#include "real_io/postgres/files.h"

namespace varve::real_io {
namespace {

std::optional<PostgresUser> find_user(const std::string& name) {
  std::array<char, 4096> space;
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwnam_r(name.c_str(), &entry, space.data(), space.size(), &found) != 0 ||
      found == nullptr) {
    return std::nullopt;
  }
  return PostgresUser{name, found->pw_uid, found->pw_gid};
}

// mkdir -p. Directories on the way that are made are open to all, as `mkdir` makes them.
Status make_directories(const std::string& path) {
  for (size_t at = 1; at != std::string::npos;) {
    at = path.find('/', at + 1);
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) {
      return error_status(errno, "make a directory for computes", part);
    }
  }
  return Status();
}

Result<std::string> absolute(const std::string& path) {
  std::string whole = path;
  if (whole.empty() || whole[0] != '/') {
    std::array<char, PATH_MAX> here;
    if (::getcwd(here.data(), here.size()) == nullptr)
      return error_status(errno, "find the working directory", ".");
    whole = std::string(here.data()) + "/" + path;
  }
  return whole;
}

Result<std::string> made_and_resolved(const std::string& path) {
  VARVE_TRY(make_directories(path));
  std::array<char, PATH_MAX> real;
  if (::realpath(path.c_str(), real.data()) == nullptr)
    return error_status(errno, "resolve a directory for computes", path);
  return std::string(real.data());
}

bool may_search(const struct stat& about, const PostgresUser& user) {
  if (about.st_uid == user.uid) return (about.st_mode & S_IXUSR) != 0;
  if (about.st_gid == user.gid) return (about.st_mode & S_IXGRP) != 0;
  return (about.st_mode & S_IXOTH) != 0;
}

std::string why_not(const std::string& path, const PostgresUser& user) {
  if (path.size() > kLongestPlace) {
    return "its path has " + std::to_string(path.size()) + " bytes, and sockets below it allow " +
           std::to_string(kLongestPlace);
  }
  return why_unusable(path, user);
}

}  // namespace

Result<PostgresUser> choose_postgres_user(const std::string& wanted) {
  if (::geteuid() != 0) {
    PostgresUser own{"", ::geteuid(), ::getegid()};
    if (!wanted.empty()) {
      const auto named = find_user(wanted);
      if (!named || named->uid != own.uid) {
        return Status(Code::kUnsupported, "only root can run Postgres as another user")
            .with_object(wanted);
      }
    }
    return own;
  }
  const std::vector<std::string> names =
      wanted.empty() ? std::vector<std::string>{"varve", "postgres"} : std::vector{wanted};
  for (const std::string& name : names) {
    const auto user = find_user(name);
    if (user && user->uid != 0) return *user;
  }
  return Status(Code::kUnsupported,
                "there is no unprivileged user for Postgres, which refuses root")
      .with_object(names.front())
      .with_hint("make one: useradd --system --no-create-home varve");
}

Result<PostgresUser> numbered_user(uint32_t number) {
  if (::geteuid() != 0) return Status(Code::kUnsupported, "only root can become another user");
  for (const char* map : {"/proc/self/uid_map", "/proc/self/gid_map"}) {
    VARVE_TRY_ASSIGN(const std::string text, read_text(map));
    std::istringstream lines(text);
    bool mapped = false;
    uint64_t first = 0;
    uint64_t outside = 0;
    uint64_t count = 0;
    while (lines >> first >> outside >> count) {
      mapped = mapped || (number >= first && number - first < count);
    }
    if (!mapped) {
      return Status(Code::kUnsupported, "no user " + std::to_string(number) + " exists here")
          .with_object(map);
    }
  }
  return PostgresUser{"", number, number};
}

std::string why_unusable(const std::string& path, const PostgresUser& user) {
  for (size_t at = 0; at != std::string::npos;) {
    at = path.find('/', at + 1);
    const std::string part = path.substr(0, at);
    struct stat about {};
    if (::stat(part.c_str(), &about) != 0) return part + ": " + error_text(errno);
    if (!S_ISDIR(about.st_mode)) return part + " is no directory";
    const std::string name = user.uid == ::geteuid() ? "this user"
                             : user.name.empty()     ? "user " + std::to_string(user.uid)
                                                     : "user " + user.name;
    if (!may_search(about, user)) return name + " can't enter " + part;
  }
  struct statvfs system {};
  if (::statvfs(path.c_str(), &system) == 0 && (system.f_flag & ST_NOEXEC) != 0)
    return path + " is mounted noexec";
  return "";
}

Result<PostgresPlace> choose_place(const std::string& wanted, const PostgresUser& user) {
  VARVE_TRY_ASSIGN(const std::string whole, absolute(wanted));
  PostgresPlace place;
  VARVE_TRY_ASSIGN(place.directory, made_and_resolved(whole));
  place.moved_because = why_not(place.directory, user);
  if (place.moved_because.empty()) return place;
  char hash[17];
  std::snprintf(hash, sizeof hash, "%016llx",
                static_cast<unsigned long long>(mix64(hash_label(place.directory))));
  std::vector<std::string> others = {"/var/lib/varve", "/run/varve"};
  if (::geteuid() != 0) others.push_back("/var/tmp/varve-" + std::to_string(::geteuid()));
  std::string problems;
  for (const std::string& other : others) {
    auto resolved = made_and_resolved(other + "/" + hash);
    // Where everybody may write, a directory of that name may be somebody else's.
    struct stat about {};
    const bool ours = resolved.ok() && ::stat(resolved->c_str(), &about) == 0 &&
                      about.st_uid == ::geteuid() && ::chmod(resolved->c_str(), 0711) == 0;
    std::string problem = !resolved.ok() ? resolved.status().message()
                          : !ours        ? "it is not ours"
                                         : why_not(*resolved, user);
    if (problem.empty()) return PostgresPlace{*resolved, place.moved_because};
    problems += "; " + other + ": " + problem;
  }
  return Status(Code::kRefused, "Postgres can't run here: " + place.moved_because + problems)
      .with_object(place.directory)
      .with_hint("choose a data directory that the Postgres user can enter");
}

AsUser::AsUser(const PostgresUser& user) {
  if (user.uid == ::geteuid()) return;
  gid_ = ::setfsgid(user.gid);
  uid_ = ::setfsuid(user.uid);
  VARVE_CHECK_MSG(::setfsuid(user.uid) == static_cast<int>(user.uid),
                  "the Postgres user can't be taken");
}

AsUser::~AsUser() {
  if (uid_ < 0) return;
  (void)::setfsuid(static_cast<uid_t>(uid_));
  (void)::setfsgid(static_cast<gid_t>(gid_));
  (void)::prctl(PR_SET_DUMPABLE, 1);  // lost by the change, for the whole process
}

}  // namespace varve::real_io
