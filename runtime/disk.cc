#include "runtime/disk.h"

namespace varve {

Result<Bytes> File::read_at(uint64_t offset, size_t length) {
  VARVE_TRY_ASSIGN(std::vector<Bytes> pieces, read({ReadOperation{offset, length}}));
  VARVE_CHECK(pieces.size() == 1);
  return std::move(pieces[0]);
}

Result<Bytes> read_file(Disk& disk, std::string_view path, uint64_t limit) {
  VARVE_TRY_ASSIGN(auto file, disk.open(path, OpenMode::kRead));
  VARVE_TRY_ASSIGN(const uint64_t size, file->size());
  if (size > limit) {
    return Status(Code::kFull, "file of " + std::to_string(size) + " bytes where at most " +
                                   std::to_string(limit) + " are expected")
        .with_object(std::string(path));
  }
  if (size == 0) return Bytes();
  return file->read_at(0, size);
}

Status replace_file(Disk& disk, std::string_view path, Bytes data) {
  const std::string temporary = std::string(path) + ".tmp";
  {
    VARVE_TRY_ASSIGN(auto file, disk.open(temporary, OpenMode::kCreate));
    VARVE_TRY(file->truncate(0));  // a crash may have left one
    std::vector<Bytes> pieces;
    pieces.push_back(std::move(data));
    VARVE_TRY(file->write(0, std::move(pieces)));
    VARVE_TRY(file->sync());
  }
  VARVE_TRY(disk.rename(temporary, path));
  return disk.sync_directory(parent_directory(path));
}

Status remove_tree(Disk& disk, std::string_view path) {
  auto entries = disk.list(path);
  if (entries.is(Code::kNotFound)) return Status();
  VARVE_TRY(entries.status());
  for (const DirectoryEntry& entry : *entries) {
    const std::string child = std::string(path) + "/" + entry.name;
    VARVE_TRY(entry.is_directory ? remove_tree(disk, child) : disk.remove(child));
  }
  return disk.remove(path);
}

std::string_view parent_directory(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

}  // namespace varve
