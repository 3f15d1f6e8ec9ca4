#include "real_io/postgres/data_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "compute/arena/arena.h"
#include "real_io/disk.h"
#include "real_io/errors.h"
#include "real_io/postgres/files.h"
#include "real_io/unique_fd.h"

namespace varve::real_io {
namespace {

Result<UniqueFd> make_file(int data, const std::string& path) {
  UniqueFd fd(kernel(), -1);
  const int made = open_beneath(data, path.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
  if (made < 0) return error_status(-made, "make a file of the data directory", path);
  return UniqueFd(kernel(), made);
}

Status put(int fd, const Bytes& bytes, uint64_t offset, const std::string& path) {
  const int error = write_all(fd, bytes, offset);
  return error == 0 ? Status() : error_status(error, "write a file of the data directory", path);
}

Result<UniqueFd> make_hole(int data, const std::string& path, uint64_t size) {
  VARVE_TRY_ASSIGN(UniqueFd fd, make_file(data, path));
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0)
    return error_status(errno, "give a sparse file its size", path);
  return fd;
}

Status make_file_with(int data, const PostgresFile& file) {
  VARVE_TRY_ASSIGN(const UniqueFd fd, make_file(data, file.path));
  return put(fd.get(), file.content, 0, file.path);
}

Result<UniqueFd> open_data(const std::string& data) {
  UniqueFd fd(kernel(), ::open(data.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return error_status(errno, "open the data directory", data);
  return fd;
}

Status check_name(const std::string& path, std::set<std::string>& seen) {
  VARVE_TRY(check_path(path));
  if (!seen.insert(path).second)
    return Status(Code::kInvalid, "a plan names a path twice").with_object(path);
  return Status();
}

}  // namespace

Status check_plan(const PostgresPlan& plan) {
  std::set<std::string> seen;
  if (plan.nonce.value == 0) return Status(Code::kInvalid, "a plan needs a nonce");
  if (plan.wal_segment_size == 0 || (plan.wal_segment_size & (plan.wal_segment_size - 1)) != 0)
    return Status(Code::kInvalid, "a log segment's size must be a power of two");
  for (const std::string& path : plan.directories) VARVE_TRY(check_name(path, seen));
  for (const PostgresFile& file : plan.files) VARVE_TRY(check_name(file.path, seen));
  for (const PostgresSparseFile& file : plan.sparse_files) {
    VARVE_TRY(check_name(file.path, seen));
    for (const auto& piece : file.pieces) {
      if (piece.offset > file.size || piece.content.size() > file.size - piece.offset)
        return Status(Code::kInvalid, "a piece lies outside of its file").with_object(file.path);
    }
  }
  for (const PostgresLazyFile& file : plan.lazy_files) {
    VARVE_TRY(check_name(file.path, seen));
    if (file.blocks == 0 || file.blocks > VARVE_SEGMENT_BLOCKS)
      return Status(Code::kInvalid, "a lazy file has 1 to 131072 blocks").with_object(file.path);
  }
  for (const PostgresResidentPage& page : plan.resident_pages) {
    if (page.file >= plan.lazy_files.size() || page.block >= plan.lazy_files[page.file].blocks ||
        page.page.size() != kBlockSize) {
      return Status(Code::kInvalid, "a resident page that is no page of a lazy file");
    }
  }
  for (const std::string& setting : plan.settings) {
    if (setting.find('=') == std::string::npos || setting.find('\0') != std::string::npos)
      return Status(Code::kInvalid, "a setting is name=value").with_object(setting);
  }
  return check_name(plan.control_file.path, seen);
}

Status build_fixed_files(const std::string& data, const PostgresPlan& plan,
                         const PostgresUser& user) {
  const AsUser as_user(user);
  VARVE_TRY_ASSIGN(const UniqueFd root, open_data(data));
  for (const std::string& path : plan.directories) {
    if (::mkdirat(root.get(), path.c_str(), 0700) != 0)
      return error_status(errno, "make a directory of the data directory", path);
  }
  for (const PostgresFile& file : plan.files) VARVE_TRY(make_file_with(root.get(), file));
  for (const PostgresSparseFile& file : plan.sparse_files) {
    VARVE_TRY_ASSIGN(const UniqueFd fd, make_hole(root.get(), file.path, file.size));
    for (const auto& piece : file.pieces)
      VARVE_TRY(put(fd.get(), piece.content, piece.offset, file.path));
  }
  return make_hole(root.get(), plan.control_file.path, plan.control_file.content.size()).status();
}

Status build_lazy_files(const std::string& data, const PostgresPlan& plan, const PostgresUser& user,
                        size_t part, size_t parts) {
  const AsUser as_user(user);
  VARVE_TRY_ASSIGN(const UniqueFd root, open_data(data));
  for (size_t i = part; i < plan.lazy_files.size(); i += parts) {
    const PostgresLazyFile& file = plan.lazy_files[i];
    VARVE_TRY(make_hole(root.get(), file.path, uint64_t{file.blocks} * kBlockSize).status());
  }
  return Status();
}

Status put_resident_pages(const std::string& data, const PostgresPlan& plan,
                          const PostgresUser& user) {
  const AsUser as_user(user);
  VARVE_TRY_ASSIGN(const UniqueFd root, open_data(data));
  for (const PostgresResidentPage& page : plan.resident_pages) {
    const std::string& path = plan.lazy_files[page.file].path;
    const int opened = open_beneath(root.get(), path.c_str(), O_WRONLY);
    if (opened < 0) return error_status(-opened, "open a lazy file", path);
    const UniqueFd fd(kernel(), opened);
    VARVE_TRY(put(fd.get(), page.page, uint64_t{page.block} * kBlockSize, path));
  }
  return Status();
}

Status write_control_file(const std::string& path, const Bytes& content, const PostgresUser& user) {
  const UniqueFd fd(kernel(), ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return error_status(errno, "make the control file", path);
  if (::geteuid() == 0 && ::fchown(fd.get(), user.uid, user.gid) != 0)
    return error_status(errno, "give the control file to the Postgres user", path);
  return put(fd.get(), content, 0, path);
}

Status remove_control_file(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return Status();
  return error_status(errno, "take the control file away", path);
}

Result<std::string> read_data_file(const std::string& data, const std::string& path, size_t limit,
                                   const PostgresUser& user) {
  VARVE_TRY(check_path(path));
  const AsUser as_user(user);
  VARVE_TRY_ASSIGN(const UniqueFd root, open_data(data));
  const int opened = open_beneath(root.get(), path.c_str(), O_RDONLY);
  if (opened < 0) return error_status(-opened, "open a file of the data directory", path);
  const UniqueFd fd(kernel(), opened);
  std::string text(limit + 1, '\0');
  const int64_t got = read_all(fd.get(), {reinterpret_cast<uint8_t*>(text.data()), text.size()}, 0);
  if (got < 0) {
    return error_status(static_cast<int>(-got), "read a file of the data directory", path);
  }
  if (static_cast<size_t>(got) > limit)
    return Status(Code::kFull, "not a small file").with_object(path);
  text.resize(static_cast<size_t>(got));
  return text;
}

}  // namespace varve::real_io
