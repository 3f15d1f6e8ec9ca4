#include "real_io/postgres/incarnation.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

#include "real_io/errors.h"
#include "real_io/postgres/files.h"
#include "real_io/postgres/process_family.h"

namespace varve::real_io {
namespace {

constexpr int kKillRounds = 400;
constexpr useconds_t kRoundPause = 5000;

std::string name_of(Incarnation nonce) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(nonce.value));
  return text;
}

Status make_directory(const std::string& path, mode_t mode, const PostgresUser* owner) {
  if (::mkdir(path.c_str(), mode) != 0) return error_status(errno, "make a directory", path);
  if (::chmod(path.c_str(), mode) != 0) return error_status(errno, "open a directory up", path);
  if (owner != nullptr && ::geteuid() == 0 && ::chown(path.c_str(), owner->uid, owner->gid) != 0)
    return error_status(errno, "give a directory to the Postgres user", path);
  return Status();
}

// The lock file has its lock before it has its name, so that nobody takes it for a leftover's.
Result<UniqueFd> locked_file(const std::string& path) {
  const std::string draft = path + ".new";
  UniqueFd fd(kernel(), ::open(draft.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return error_status(errno, "make the lock of a compute", draft);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 || ::link(draft.c_str(), path.c_str()) != 0) {
    const int error = errno;
    (void)::unlink(draft.c_str());
    return error_status(error, "lock a compute's directory", path);
  }
  (void)::unlink(draft.c_str());
  return fd;
}

Status end_leftover(const std::string& path) {
  const ProcessFamily family{0, path, false};
  for (int round = 0; signal_family(family, SIGKILL) > 0; ++round) {
    if (round == kKillRounds) {
      return Status(Code::kRefused, "processes of an earlier compute don't end").with_object(path);
    }
    (void)::usleep(kRoundPause);
  }
  return remove_tree(path);
}

}  // namespace

Result<std::unique_ptr<IncarnationDirectory>> IncarnationDirectory::create(
    const std::string& place, Incarnation nonce, const PostgresUser& user) {
  std::unique_ptr<IncarnationDirectory> made(new IncarnationDirectory());
  made->path_ = place + "/" + name_of(nonce);
  VARVE_TRY_ASSIGN(made->lock_, locked_file(made->lock()));
  Status status = make_directory(made->path_, 0711, nullptr);
  if (status.ok()) status = make_directory(made->data(), 0700, &user);
  if (status.ok()) status = make_directory(made->run(), 0755, &user);
  if (status.ok()) return made;
  made->remove().ignore("the first error is the one to tell");
  return status;
}

Status IncarnationDirectory::copy_shim(const std::string& from) const {
  VARVE_TRY_ASSIGN(const std::string bytes, read_text(from));
  const UniqueFd fd(kernel(),
                    ::open(shim().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd.valid()) return error_status(errno, "make", shim());
  const int error =
      write_all(fd.get(), {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, 0);
  if (error != 0) return error_status(error, "write", shim());
  if (::fchmod(fd.get(), 0644) != 0) return error_status(errno, "open up", shim());
  return Status();
}

Status IncarnationDirectory::remove() {
  VARVE_TRY(remove_tree(path_));
  (void)::unlink(lock().c_str());
  return Status();
}

Result<std::vector<std::string>> remove_leftovers(const std::string& place) {
  std::vector<std::string> removed;
  DIR* directory = ::opendir(place.c_str());
  if (directory == nullptr) return error_status(errno, "look for leftovers", place);
  std::vector<std::string> locks;
  while (const dirent* item = ::readdir(directory)) {
    const std::string name = item->d_name;
    if (name.size() == 21 && name.ends_with(".lock")) locks.push_back(place + "/" + name);
  }
  ::closedir(directory);
  for (const std::string& lock : locks) {
    const UniqueFd fd(kernel(), ::open(lock.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd.valid() || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;  // it lives
    const std::string path = lock.substr(0, lock.size() - 5);
    VARVE_TRY(end_leftover(path));
    (void)::unlink(lock.c_str());
    removed.push_back(path);
  }
  return removed;
}

}  // namespace varve::real_io
