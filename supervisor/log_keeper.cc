#include "supervisor/log_keeper.h"

#include <algorithm>

namespace varve::supervisor {
namespace {

constexpr uint64_t kPiece = 1 << 20;

// Appends [*done, end of `log`) to `copy`. It may grow meanwhile.
Status copy_rest(File& log, File& copy, uint64_t& done) {
  for (;;) {
    VARVE_TRY_ASSIGN(const uint64_t size, log.size());
    if (done >= size) return Status();
    const auto length = static_cast<size_t>(std::min(kPiece, size - done));
    VARVE_TRY_ASSIGN(Bytes piece, log.read_at(done, length));
    if (piece.empty()) return Status();
    const uint64_t at = done;
    done += piece.size();
    VARVE_TRY(copy.write(at, {std::move(piece)}));
  }
}

Status rotate(Disk& disk, const std::string& path) {
  const std::string draft = path + ".new";
  VARVE_TRY_ASSIGN(const std::unique_ptr<File> log, disk.open(path, OpenMode::kReadWrite));
  uint64_t done = 0;
  {
    VARVE_TRY_ASSIGN(const std::unique_ptr<File> copy, disk.open(draft, OpenMode::kCreate));
    VARVE_TRY(copy->truncate(0));  // an attempt may have left one
    VARVE_TRY(copy_rest(*log, *copy, done));
    VARVE_TRY(copy->sync());
    VARVE_TRY(copy_rest(*log, *copy, done));
    VARVE_TRY(log->truncate(0));
  }
  VARVE_TRY(log->sync());
  return disk.rename(draft, path + ".1");
}

}  // namespace

Status keep_logs_once(World& world, uint64_t limit, const std::string& directory) {
  VARVE_TRY_ASSIGN(const std::vector<DirectoryEntry> entries, world.disk.list(directory));
  Status first;
  for (const DirectoryEntry& entry : entries) {
    if (entry.is_directory || entry.size <= limit || !entry.name.ends_with(".log")) continue;
    const std::string path = directory + "/" + entry.name;
    Status done = rotate(world.disk, path);
    VARVE_TRY(check_cancelled());
    if (done.ok() || done.is(Code::kNotFound)) continue;  // its endpoint was deleted
    // A draft that was begun takes space that others may need more.
    world.disk.remove(path + ".new").ignore("it may not be there");
    if (first.ok()) first = std::move(done).with_object(path);
  }
  return first;
}

Status keep_logs(World& world, const SupervisorOptions& options, const std::string& directory) {
  std::string told;
  for (;;) {
    VARVE_TRY(sleep_for(options.log_look));
    const Status kept = keep_logs_once(world, options.log_bytes, directory);
    VARVE_TRY(check_cancelled());
    if (!kept.ok() && kept.to_string() != told)
      world.log.warning("log_not_cut", "a log stays longer than its limit", {{"why", kept}});
    told = kept.ok() ? "" : kept.to_string();
  }
}

}  // namespace varve::supervisor
