#include "real_io/disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <map>

#include "base/codec.h"
#include "real_io/errors.h"
#include "real_io/file.h"

namespace varve::real_io {
namespace {

// Traversable, since Postgres runs as another user in a directory of its own further down; files
// are nobody else's business.
constexpr mode_t kDirectoryMode = 0711;
constexpr mode_t kFileMode = 0600;

template <class F>
int repeat_interrupted(F call) {
  int result;
  while ((result = call()) == -EINTR) {
  }
  return result;
}

int open_flags(OpenMode mode) {
  switch (mode) {
    case OpenMode::kRead:
      return O_RDONLY;
    case OpenMode::kReadWrite:
      return O_RDWR;
    case OpenMode::kCreate:
      return O_RDWR | O_CREAT;
    case OpenMode::kCreateNew:
      return O_RDWR | O_CREAT | O_EXCL;
  }
  VARVE_UNREACHABLE("no such open mode");
}

// The directory itself when `path` is empty.
const char* or_self(const std::string& path) {
  return path.empty() ? "." : path.c_str();
}

Result<std::vector<DirectoryEntry>> list_directory(Syscalls& syscalls, int root,
                                                   const std::string& path) {
  const UniqueFd fd(syscalls, repeat_interrupted([&] {
                      return syscalls.openat(root, or_self(path),
                                             O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
                    }));
  if (!fd.valid()) return error_status(-fd.get(), "list", path);
  std::vector<DirectoryEntry> entries;
  alignas(8) char buffer[32 << 10];
  for (;;) {
    const ssize_t got = syscalls.getdents(fd.get(), buffer, sizeof buffer);
    if (got == -EINTR) continue;
    if (got < 0) return error_status(static_cast<int>(-got), "list", path);
    if (got == 0) break;
    for (ssize_t at = 0; at < got;) {
      const auto* record = reinterpret_cast<const dirent64*>(buffer + at);
      at += record->d_reclen;
      const std::string_view name = record->d_name;
      if (name == "." || name == "..") continue;
      struct stat status {};
      const int result = repeat_interrupted(
          [&] { return syscalls.fstatat(fd.get(), record->d_name, &status, AT_SYMLINK_NOFOLLOW); });
      if (result == -ENOENT) continue;  // removed in between
      if (result < 0) return error_status(-result, "list", path + "/" + std::string(name));
      const bool directory = S_ISDIR(status.st_mode);
      entries.push_back(
          {std::string(name), directory, directory ? 0 : static_cast<uint64_t>(status.st_size)});
    }
  }
  std::sort(entries.begin(), entries.end(),
            [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; });
  return entries;
}

int make_directories(Syscalls& syscalls, int root, const std::string& path) {
  for (size_t slash = path.find('/');; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    const int result =
        repeat_interrupted([&] { return syscalls.mkdirat(root, part.c_str(), kDirectoryMode); });
    if (result < 0 && result != -EEXIST) return result;
    if (slash == std::string::npos) break;
  }
  struct stat status {};
  const int result =
      repeat_interrupted([&] { return syscalls.fstatat(root, path.c_str(), &status, 0); });
  if (result < 0) return result;
  return S_ISDIR(status.st_mode) ? 0 : -EEXIST;
}

class RealDisk final : public Disk {
 public:
  RealDisk(UniqueFd root, const DiskBackend& backend)
      : root_(std::make_shared<UniqueFd>(std::move(root))), backend_(backend) {
    if (backend_.pace == nullptr) backend_.pace = std::make_shared<SyncPace>();
  }

  Result<std::unique_ptr<File>> open(std::string_view path, OpenMode mode) override;
  Status make_directory(std::string_view path) override;
  Status rename(std::string_view from, std::string_view to) override;
  Status remove(std::string_view path) override;
  Result<std::vector<DirectoryEntry>> list(std::string_view path) override;
  Status sync_directory(std::string_view path) override;
  Status sync_all() override;
  Result<DiskSpace> space() override;

 private:
  // `call(Syscalls&, root)` on a thread, as a Status that names `action` and `object`.
  template <class F>
  Status change(const char* label, const char* action, std::string_view object, F call) {
    Result<int> result = run_on(backend_.threads, label, [root = root_, call](Syscalls& syscalls) {
      return Result<int>(repeat_interrupted([&] { return call(syscalls, root->get()); }));
    });
    VARVE_TRY(result.status());
    return *result >= 0 ? Status() : error_status(-*result, action, object);
  }

  std::shared_ptr<FileState> state_of(std::pair<dev_t, ino_t> inode);

  std::shared_ptr<UniqueFd> root_;
  DiskBackend backend_;
  // Of files that are open or written to. The number of a removed file may be given to a new one,
  // but not before the last descriptor of the old one is closed, and then its state has gone, too.
  std::map<std::pair<dev_t, ino_t>, std::weak_ptr<FileState>> states_;
  size_t sweep_at_ = 64;
};

std::shared_ptr<FileState> RealDisk::state_of(std::pair<dev_t, ino_t> inode) {
  if (states_.size() >= sweep_at_) {
    std::erase_if(states_, [](const auto& entry) { return entry.second.expired(); });
    sweep_at_ = 2 * states_.size() + 64;
  }
  std::weak_ptr<FileState>& known = states_[inode];
  std::shared_ptr<FileState> state = known.lock();
  if (state == nullptr) known = state = std::make_shared<FileState>();
  return state;
}

Result<std::unique_ptr<File>> RealDisk::open(std::string_view path, OpenMode mode) {
  VARVE_TRY(check_path(path));
  struct Opened {
    UniqueFd fd;
    std::pair<dev_t, ino_t> inode;
  };
  Result<Opened> opened =
      run_on(backend_.threads, "file open",
             [root = root_, path = std::string(path), mode](Syscalls& syscalls) -> Result<Opened> {
               const int flags = open_flags(mode) | O_CLOEXEC | O_NOCTTY;
               UniqueFd fd(syscalls, repeat_interrupted([&] {
                             return syscalls.openat(root->get(), path.c_str(), flags, kFileMode);
                           }));
               if (!fd.valid()) return error_status(-fd.get(), "open", path);
               struct stat status {};
               const int result = syscalls.fstat(fd.get(), &status);
               if (result < 0) return error_status(-result, "open", path);
               if (!S_ISREG(status.st_mode)) return error_status(EISDIR, "open", path);
               return Opened{std::move(fd), {status.st_dev, status.st_ino}};
             });
  VARVE_TRY(opened.status());
  auto file = std::make_shared<OpenFile>(OpenFile{
      std::move(opened->fd), std::string(path), mode != OpenMode::kRead, state_of(opened->inode)});
  return std::unique_ptr<File>(new RealFile(std::move(file), backend_));
}

Status RealDisk::make_directory(std::string_view path) {
  VARVE_TRY(check_path(path));
  return change("directory creation", "make directory", path,
                [path = std::string(path)](Syscalls& syscalls, int root) {
                  return make_directories(syscalls, root, path);
                });
}

Status RealDisk::rename(std::string_view from, std::string_view to) {
  VARVE_TRY(check_path(from));
  VARVE_TRY(check_path(to));
  return change("rename", "rename", std::string(from) + " -> " + std::string(to),
                [from = std::string(from), to = std::string(to)](Syscalls& syscalls, int root) {
                  return syscalls.renameat(root, from.c_str(), to.c_str());
                });
}

Status RealDisk::remove(std::string_view path) {
  VARVE_TRY(check_path(path));
  return change(
      "removal", "remove", path, [path = std::string(path)](Syscalls& syscalls, int root) {
        const int result = syscalls.unlinkat(root, path.c_str(), 0);
        return result == -EISDIR ? syscalls.unlinkat(root, path.c_str(), AT_REMOVEDIR) : result;
      });
}

Result<std::vector<DirectoryEntry>> RealDisk::list(std::string_view path) {
  if (!path.empty()) VARVE_TRY(check_path(path));
  return run_on(backend_.threads, "directory listing",
                [root = root_, path = std::string(path)](Syscalls& syscalls) {
                  return list_directory(syscalls, root->get(), path);
                });
}

Status RealDisk::sync_directory(std::string_view path) {
  if (!path.empty()) VARVE_TRY(check_path(path));
  bool failed_sync = false;
  // The first number is the result of the open, the second of the sync.
  using Results = std::pair<int, int>;
  Result<Results> results =
      run_on(backend_.threads, "directory sync",
             [root = root_, path = std::string(path)](Syscalls& syscalls) -> Result<Results> {
               const UniqueFd fd(syscalls, repeat_interrupted([&] {
                                   return syscalls.openat(root->get(), or_self(path),
                                                          O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
                                 }));
               if (!fd.valid()) return Results{fd.get(), 0};
               return Results{0, repeat_interrupted([&] { return syscalls.fsync(fd.get()); })};
             });
  VARVE_TRY(results.status());
  failed_sync = results->second < 0;
  const int error = failed_sync ? -results->second : -std::min(results->first, 0);
  if (error == 0) return Status();
  Status failed = error_status(error, "sync directory", path);
  if (failed_sync) backend_.on_failed_sync(failed);
  return failed;
}

Status RealDisk::sync_all() {
  Status synced = change("disk sync", "sync disk", "",
                         [](Syscalls& syscalls, int root) { return syscalls.syncfs(root); });
  const bool failed =
      !synced.ok() && !synced.is(Code::kCancelled) && !synced.is(Code::kDeadlineExceeded);
  if (failed) backend_.on_failed_sync(synced);
  return synced;
}

Result<DiskSpace> RealDisk::space() {
  return run_on(backend_.threads, "disk space",
                [root = root_](Syscalls& syscalls) -> Result<DiskSpace> {
                  struct statfs status {};
                  const int result =
                      repeat_interrupted([&] { return syscalls.fstatfs(root->get(), &status); });
                  if (result < 0) return error_status(-result, "disk space", "");
                  const auto block = static_cast<uint64_t>(status.f_frsize);
                  return DiskSpace{status.f_blocks * block, status.f_bavail * block};
                });
}

}  // namespace

Status check_path(std::string_view path) {
  bool good = !path.empty();
  for (size_t begin = 0; good && begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    good = !part.empty() && part != "." && part != ".." && part.find('\0') == part.npos;
    begin = end + 1;
  }
  if (good) return Status();
  return Status(Code::kInvalid,
                "'" + std::string(path) + "' is not a path below the node's directory");
}

void end_on_failed_sync(const Status& status) {
  const std::string text =
      "varve: " + status.to_string() +
      "\nvarve: after a failed sync nobody knows what the disk holds; this process "
      "ends, and starts again from what is really there\n";
  (void)!::write(STDERR_FILENO, text.data(), text.size());
  ::_exit(74);  // EX_IOERR
}

Result<std::unique_ptr<Disk>> open_disk(Syscalls& syscalls, const std::string& root,
                                        const DiskBackend& backend) {
  const int fd = repeat_interrupted([&] {
    return syscalls.openat(AT_FDCWD, or_self(root), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  });
  if (fd < 0) return error_status(-fd, "open the data directory", root);
  return std::unique_ptr<Disk>(new RealDisk(UniqueFd(syscalls, fd), backend));
}

}  // namespace varve::real_io
