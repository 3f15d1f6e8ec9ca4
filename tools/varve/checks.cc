#include "tools/varve/checks.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>

#include "real_io/postgres/place.h"
#include "tools/varve/files.h"
#include "tools/varve/layout.h"

namespace varve::tool {
namespace {

// What exists of a path; the rest will be made so that it can be entered.
std::string existing_part(std::string path) {
  if (!path.starts_with('/')) path = "./" + path;
  while (path.size() > 1 && !exists(path)) path.resize(std::max<size_t>(path.rfind('/'), 1));
  char whole[PATH_MAX];
  return ::realpath(path.c_str(), whole) != nullptr ? whole : path;
}

}  // namespace

Result<std::string> check_postgres(const Settings& settings) {
  std::string looked;
  for (const uint32_t major : kPostgresMajors) {
    std::string folder = settings.postgres_host.binaries;
    const size_t percent = folder.find('%');
    if (percent != std::string::npos) folder.replace(percent, 1, std::to_string(major));
    if (::access((folder + "/postgres").c_str(), X_OK) == 0 &&
        ::access((folder + "/initdb").c_str(), X_OK) == 0) {
      return folder;
    }
    looked += (looked.empty() ? "" : ", ") + folder;
  }
  return Status(Code::kNotFound, "there is no Postgres that Varve knows how to run")
      .with_object(looked)
      .with_hint("install the Debian package postgresql-" + std::to_string(kPostgresMajors[0]) +
                 ", or say where it is: postgres_binaries in varve.toml");
}

Result<std::string> check_shim() {
  return shim_path();
}

Result<std::string> check_postgres_user(const std::string& directory) {
  VARVE_TRY_ASSIGN(const real_io::PostgresUser user, real_io::choose_postgres_user(""));
  const std::string who = user.name.empty() ? "this user" : "user " + user.name;
  const std::string obstacle = real_io::why_unusable(existing_part(directory), user);
  if (obstacle.empty()) return "runs as " + who + ", below the data directory";
  return "runs as " + who + ", below /var/lib/varve, since " + obstacle;
}

Result<std::string> check_space(const std::string& directory) {
  struct statvfs found;
  if (::statvfs(existing_part(directory).c_str(), &found) != 0) {
    return os_error("cannot look at", directory);
  }
  const uint64_t mebibytes = found.f_bavail * found.f_frsize >> 20;
  constexpr uint64_t kEnough = 1024;
  if (mebibytes < kEnough) {
    return Status(Code::kFull, "only " + std::to_string(mebibytes) + " MiB are free")
        .with_object(directory)
        .with_hint("a small database needs about 1 GiB; make room, or name another --data");
  }
  return std::to_string(mebibytes >> 10) + " GiB are free";
}

}  // namespace varve::tool
