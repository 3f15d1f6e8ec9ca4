#include "objects/dir_store.h"

#include <algorithm>

#include "runtime/scheduler.h"

namespace varve::objects {
namespace {

constexpr char kDirectoryEnd = '+';
constexpr char kObjectEnd = '~';
constexpr const char* kTemporary = "tmp";  // has neither end, so no key leads there
constexpr size_t kMaxPart = 240;           // file names have at most 255 bytes

Result<std::string> path_of(std::string_view key) {
  VARVE_TRY(check_object_key(key));
  std::string path;
  for (;;) {
    const size_t end = std::min(key.find('/'), key.size());
    if (end > kMaxPart) {
      return Status(Code::kInvalid,
                    "a part of the key is longer than " + std::to_string(kMaxPart) + " bytes")
          .with_object(std::string(key));
    }
    path += key.substr(0, end);
    if (end == key.size()) return path + kObjectEnd;
    path += kDirectoryEnd;
    path += '/';
    key.remove_prefix(end + 1);
  }
}

// A missing object, and not some missing part of the way to it, is what the caller asked about.
Status as_object(Status status, std::string_view key) {
  if (!status.is(Code::kNotFound)) return status;
  return Status(Code::kNotFound, "no such object").with_object(std::string(key));
}

bool equal_pieces(const Bytes& whole, const std::vector<Bytes>& pieces) {
  size_t offset = 0;
  for (const Bytes& piece : pieces) {
    if (whole.view().substr(offset, piece.size()) != piece.view()) return false;
    offset += piece.size();
  }
  return offset == whole.size();
}

std::string hexadecimal(std::span<const uint8_t> bytes) {
  std::string text;
  for (const uint8_t byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace

Status DirStore::check_same(const std::string& path, std::string_view key,
                            const std::vector<Bytes>& content) {
  VARVE_TRY_ASSIGN(auto file, disk_.open(path, OpenMode::kRead));
  VARVE_TRY_ASSIGN(const uint64_t size, file->size());
  bool same = size == total_size(content);
  if (same && size != 0) {
    VARVE_TRY_ASSIGN(const Bytes present, file->read_at(0, size));
    same = equal_pieces(present, content);
  }
  if (same) return Status();
  return Status(Code::kExists, "another content was put under this key")
      .with_object(std::string(key));
}

// Its own name and all names above it survive a power cut, too. No directory is ever removed, so
// what was made durable once need not be synced again: a new timeline costs one sync, not one for
// each level above it.
Status DirStore::make_durable_directory(const std::string& directory) {
  if (durable_directories_.contains(directory)) return Status();
  VARVE_TRY(disk_.make_directory(directory));
  std::vector<std::string> made;
  for (std::string_view name = directory; !name.empty() && !durable_directories_.contains(name);) {
    made.emplace_back(name);
    name = parent_directory(name);
    VARVE_TRY(disk_.sync_directory(name));
  }
  durable_directories_.insert(made.begin(), made.end());
  return Status();
}

Status DirStore::write_temporary(const std::string& path, std::vector<Bytes> content) {
  VARVE_TRY_ASSIGN(auto file, disk_.open(path, OpenMode::kCreateNew));
  VARVE_TRY(file->write(0, std::move(content)));
  return file->sync();
}

Mutation DirStore::put(std::string_view key, std::vector<Bytes> content) {
  auto path = path_of(key);
  if (!path.ok()) return {path.status(), false};
  const std::string directory(parent_directory(*path));
  Status status = check_same(*path, key, content);
  // Present: perhaps by a put that died before its directory was synced.
  if (status.ok()) return {disk_.sync_directory(directory), true};
  if (!status.is(Code::kNotFound)) return {std::move(status), false};
  status = make_durable_directory(kTemporary);
  if (status.ok() && !directory.empty()) status = make_durable_directory(directory);
  if (!status.ok()) return {std::move(status), false};
  const std::string temporary =
      std::string(kTemporary) + "/" + hexadecimal(random_.unique_bytes("temporary name"));
  status = write_temporary(temporary, std::move(content));
  if (!status.ok()) {
    const Shield shield;
    disk_.remove(temporary).ignore("a leftover costs space only");
    return {std::move(status), false};
  }
  status = disk_.rename(temporary, *path);
  if (status.ok()) status = disk_.sync_directory(directory);
  return {std::move(status), true};
}

Result<Bytes> DirStore::get(std::string_view key, std::optional<ByteRange> range) {
  VARVE_TRY_ASSIGN(const std::string path, path_of(key));
  auto file = disk_.open(path, OpenMode::kRead);
  VARVE_TRY(as_object(file.status(), key));
  VARVE_TRY_ASSIGN(const uint64_t size, (*file)->size());
  const ByteRange wanted = range.value_or(ByteRange{0, size});
  if (wanted.offset > size || wanted.length > size - wanted.offset) {
    return Status(Code::kInvalid,
                  "the range does not lie inside the object of " + std::to_string(size) + " bytes")
        .with_object(std::string(key));
  }
  if (wanted.length == 0) return Bytes();
  VARVE_TRY_ASSIGN(Bytes data, (*file)->read_at(wanted.offset, wanted.length));
  if (data.size() != wanted.length) {
    return Status(Code::kCorrupt, "the object's file became shorter").with_object(std::string(key));
  }
  return data;
}

Result<ObjectInfo> DirStore::head(std::string_view key) {
  VARVE_TRY_ASSIGN(const std::string path, path_of(key));
  auto file = disk_.open(path, OpenMode::kRead);
  VARVE_TRY(as_object(file.status(), key));
  VARVE_TRY_ASSIGN(const uint64_t size, (*file)->size());
  return ObjectInfo{std::string(key), size};
}

struct DirStore::Walk {
  std::string_view prefix;
  std::string_view after;
  size_t limit;
  std::vector<ObjectInfo> found;

  // Whether a key that begins with `start` can be wanted.
  bool enters(const std::string& start) const {
    const size_t common = std::min(start.size(), prefix.size());
    if (start.compare(0, common, prefix.substr(0, common)) != 0) return false;
    // All of them sort before `after`, unless that begins with `start`, too.
    return start > after || after.substr(0, start.size()) == start;
  }
};

// `above` is what the keys in `directory` begin with. In the order of keys: a directory's name
// sorts as with its '/'.
Status DirStore::walk(Walk& walk, const std::string& directory, const std::string& above) {
  auto entries = disk_.list(directory);
  if (entries.is(Code::kNotFound)) return Status();
  VARVE_TRY(entries.status());
  std::vector<std::pair<std::string, const DirectoryEntry*>> sorted;
  for (const DirectoryEntry& entry : *entries) {
    const char end = entry.name.back();
    if (end != (entry.is_directory ? kDirectoryEnd : kObjectEnd)) continue;
    std::string name = above + entry.name.substr(0, entry.name.size() - 1);
    if (entry.is_directory) name += '/';
    sorted.emplace_back(std::move(name), &entry);
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [name, entry] : sorted) {
    if (walk.found.size() == walk.limit) return Status();
    if (entry->is_directory) {
      if (!walk.enters(name)) continue;
      VARVE_TRY(
          this->walk(walk, directory.empty() ? entry->name : directory + "/" + entry->name, name));
    } else if (name > walk.after && name.starts_with(walk.prefix)) {
      walk.found.push_back({name, entry->size});
    }
  }
  return Status();
}

Result<std::vector<ObjectInfo>> DirStore::list(std::string_view prefix, std::string_view after,
                                               size_t limit) {
  if (limit == 0 || limit > 1000) return Status(Code::kInvalid, "a list asks for 1 to 1,000 keys");
  Walk walk{prefix, after, limit, {}};
  VARVE_TRY(this->walk(walk, "", ""));
  return std::move(walk.found);
}

Mutation DirStore::remove(std::vector<std::string> keys) {
  std::set<std::string> directories;
  std::vector<std::string> paths;
  for (const std::string& key : keys) {
    auto path = path_of(key);
    if (!path.ok()) return {path.status(), false};
    paths.push_back(std::move(*path));
  }
  bool begun = false;
  for (const std::string& path : paths) {
    Status status = disk_.remove(path);
    if (!status.ok() && !status.is(Code::kNotFound)) {
      const bool left = status.is(Code::kCancelled) || status.is(Code::kDeadlineExceeded);
      return {std::move(status), begun || left};
    }
    begun = true;
    directories.insert(std::string(parent_directory(path)));
  }
  for (const std::string& directory : directories) {
    Status status = disk_.sync_directory(directory);
    if (!status.ok() && !status.is(Code::kNotFound)) return {std::move(status), true};
  }
  return {};
}

}  // namespace varve::objects
