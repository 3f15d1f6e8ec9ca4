#include "sim/disk_image.h"

#include <algorithm>

namespace varve::sim {
namespace {

Status missing(std::string_view path) {
  return Status(Code::kNotFound, "no such file or directory").with_object(std::string(path));
}

// Calls `step(name)` for each component; false from it ends the walk.
Status check_path(std::string_view path) {
  size_t start = 0;
  while (start <= path.size()) {
    const size_t slash = std::min(path.find('/', start), path.size());
    const std::string_view name = path.substr(start, slash - start);
    if (name.empty() || name == "." || name == "..") {
      return Status(Code::kInvalid, "paths are relative, without empty, '.' and '..' components")
          .with_object(std::string(path));
    }
    start = slash + 1;
  }
  return Status();
}

}  // namespace

Result<std::shared_ptr<DirectoryNode>> DiskImage::directory_at(std::string_view path) const {
  std::shared_ptr<DirectoryNode> directory = root_;
  if (path.empty()) return directory;
  VARVE_TRY(check_path(path));
  for (size_t start = 0; start < path.size();) {
    const size_t slash = std::min(path.find('/', start), path.size());
    const auto found = directory->current.find(path.substr(start, slash - start));
    if (found == directory->current.end()) return missing(path);
    if (found->second.directory == nullptr) {
      return Status(Code::kInvalid, "not a directory").with_object(std::string(path));
    }
    directory = found->second.directory;
    start = slash + 1;
  }
  return directory;
}

Result<DiskImage::Place> DiskImage::place_of(std::string_view path) const {
  VARVE_TRY(check_path(path));
  const std::string_view parent = parent_directory(path);
  VARVE_TRY_ASSIGN(auto directory, directory_at(parent));
  return Place{std::move(directory),
               std::string(path.substr(parent.empty() ? 0 : parent.size() + 1))};
}

Result<std::shared_ptr<FileContent>> DiskImage::open(std::string_view path, OpenMode mode) {
  VARVE_TRY_ASSIGN(const Place place, place_of(path));
  const auto found = place.directory->current.find(place.name);
  if (found != place.directory->current.end()) {
    if (mode == OpenMode::kCreateNew) {
      return Status(Code::kExists, "exists already").with_object(std::string(path));
    }
    if (found->second.file == nullptr) {
      return Status(Code::kInvalid, "is a directory").with_object(std::string(path));
    }
    return found->second.file;
  }
  if (mode == OpenMode::kRead || mode == OpenMode::kReadWrite) return missing(path);
  const Entry entry{std::make_shared<FileContent>(), nullptr};
  place.directory->current.emplace(place.name, entry);
  pending_.push_back({NameStep::Kind::kLink, nullptr, place.directory, "", place.name, entry});
  return entry.file;
}

Status DiskImage::make_directory(std::string_view path) {
  if (path.empty()) return Status();
  VARVE_TRY(check_path(path));
  std::shared_ptr<DirectoryNode> directory = root_;
  for (size_t start = 0; start < path.size();) {
    const size_t slash = std::min(path.find('/', start), path.size());
    const std::string name(path.substr(start, slash - start));
    const auto found = directory->current.find(name);
    if (found == directory->current.end()) {
      const Entry entry{nullptr, std::make_shared<DirectoryNode>()};
      directory->current.emplace(name, entry);
      pending_.push_back({NameStep::Kind::kLink, nullptr, directory, "", name, entry});
      directory = entry.directory;
    } else if (found->second.directory == nullptr) {
      return Status(Code::kExists, "a file of that name is in the way")
          .with_object(std::string(path));
    } else {
      directory = found->second.directory;
    }
    start = slash + 1;
  }
  return Status();
}

Status DiskImage::rename(std::string_view from, std::string_view to) {
  VARVE_TRY_ASSIGN(const Place source, place_of(from));
  VARVE_TRY_ASSIGN(const Place target, place_of(to));
  const auto moved = source.directory->current.find(source.name);
  if (moved == source.directory->current.end()) return missing(from);
  const Entry entry = moved->second;
  const auto replaced = target.directory->current.find(target.name);
  if (replaced != target.directory->current.end()) {
    if (replaced->second == entry) return Status();
    const bool kinds_differ = (replaced->second.file == nullptr) != (entry.file == nullptr);
    const bool full =
        replaced->second.directory != nullptr && !replaced->second.directory->current.empty();
    if (kinds_differ || full) {
      return Status(Code::kExists, full ? "directory is not empty"
                                        : "a file and a directory can't replace each other")
          .with_object(std::string(to));
    }
  }
  source.directory->current.erase(moved);
  target.directory->current.insert_or_assign(target.name, entry);
  pending_.push_back(
      {NameStep::Kind::kMove, source.directory, target.directory, source.name, target.name, entry});
  return Status();
}

Status DiskImage::remove(std::string_view path) {
  VARVE_TRY_ASSIGN(const Place place, place_of(path));
  const auto found = place.directory->current.find(place.name);
  if (found == place.directory->current.end()) return missing(path);
  const Entry entry = found->second;
  if (entry.directory != nullptr && !entry.directory->current.empty()) {
    return Status(Code::kExists, "directory is not empty").with_object(std::string(path));
  }
  place.directory->current.erase(found);
  pending_.push_back({NameStep::Kind::kUnlink, place.directory, nullptr, place.name, "", entry});
  return Status();
}

Result<std::vector<DirectoryEntry>> DiskImage::list(std::string_view path) const {
  VARVE_TRY_ASSIGN(const auto directory, directory_at(path));
  std::vector<DirectoryEntry> entries;
  for (const auto& [name, entry] : directory->current) {
    entries.push_back(
        {name, entry.directory != nullptr, entry.file == nullptr ? 0 : entry.file->size()});
  }
  return entries;
}

bool DiskImage::apply_durably(const NameStep& step) {
  const auto holds = [&](const std::shared_ptr<DirectoryNode>& directory, const std::string& name) {
    const auto found = directory->durable.find(name);
    return found != directory->durable.end() && found->second == step.entry;
  };
  switch (step.kind) {
    case NameStep::Kind::kLink:
      step.to_directory->durable.insert_or_assign(step.to_name, step.entry);
      return true;
    case NameStep::Kind::kUnlink:
      if (!holds(step.from_directory, step.from_name)) return false;
      step.from_directory->durable.erase(step.from_name);
      return true;
    case NameStep::Kind::kMove:
      if (!holds(step.from_directory, step.from_name)) return false;
      step.from_directory->durable.erase(step.from_name);
      step.to_directory->durable.insert_or_assign(step.to_name, step.entry);
      return true;
  }
  VARVE_UNREACHABLE("no such step");
}

Status DiskImage::sync_directory(std::string_view path) {
  VARVE_TRY_ASSIGN(const auto directory, directory_at(path));
  // A move into this directory can't become durable without the steps before it that made what it
  // moves, wherever they were made; so steps on the same entry go along, as they do in a journal.
  std::vector<bool> take(pending_.size());
  std::vector<const void*> needed;
  for (size_t i = pending_.size(); i-- > 0;) {
    const NameStep& step = pending_[i];
    const void* identity = step.entry.file != nullptr
                               ? static_cast<const void*>(step.entry.file.get())
                               : step.entry.directory.get();
    const bool touches = step.from_directory == directory || step.to_directory == directory;
    take[i] = touches || std::find(needed.begin(), needed.end(), identity) != needed.end();
    if (take[i]) needed.push_back(identity);
  }
  std::vector<NameStep> rest;
  for (size_t i = 0; i < take.size(); ++i) {
    if (take[i]) {
      (void)apply_durably(pending_[i]);
    } else {
      rest.push_back(std::move(pending_[i]));
    }
  }
  pending_ = std::move(rest);
  return Status();
}

void DiskImage::sync_names() {
  for (const NameStep& step : pending_) (void)apply_durably(step);
  pending_.clear();
}

namespace {

void walk(const DirectoryNode& directory, const std::string& prefix,
          const std::function<void(const std::string&, FileContent&)>& visit) {
  for (const auto& [name, entry] : directory.current) {
    if (entry.file != nullptr) {
      visit(prefix + name, *entry.file);
    } else {
      walk(*entry.directory, prefix + name + "/", visit);
    }
  }
}

}  // namespace

void DiskImage::for_each_file(
    const std::function<void(const std::string& path, FileContent&)>& visit) const {
  walk(*root_, "", visit);
}

uint64_t DiskImage::allocated() const {
  uint64_t sum = 0;
  for_each_file([&](const std::string&, const FileContent& file) { sum += file.allocated(); });
  return sum;
}

void DiskImage::process_crash() {
  for_each_file([](const std::string&, FileContent& file) {
    file.writing.clear();
    file.abandoned_write = false;
  });
}

void DiskImage::forget_unsynced(DirectoryNode& directory) {
  directory.current = directory.durable;
  for (const auto& [name, entry] : directory.current) {
    if (entry.directory != nullptr) forget_unsynced(*entry.directory);
  }
}

DiskImage::Damage DiskImage::power_cut(uint32_t keep_sector, uint32_t tear_sector,
                                       uint32_t keep_name, RandomStream& random) {
  Damage damage;
  for (const NameStep& step : std::exchange(pending_, {})) {
    const bool happened = random.chance(keep_name) && apply_durably(step);
    damage.lost_name |= !happened;
  }
  forget_unsynced(*root_);
  for_each_file([&](const std::string&, FileContent& file) {
    if (!file.dirty()) return;
    const FileContent::Damage lost = file.power_cut(keep_sector, tear_sector, random);
    damage.lost_sector |= lost.lost;
    damage.torn_sector |= lost.torn;
  });
  process_crash();
  return damage;
}

}  // namespace varve::sim
