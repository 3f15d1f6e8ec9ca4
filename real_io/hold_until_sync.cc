#include "real_io/hold_until_sync.h"

#include <algorithm>
#include <map>

#include "real_io/disk.h"
#include "real_io/held_content.h"
#include "runtime/scheduler.h"
#include "runtime/sync.h"

namespace varve::real_io {
namespace {

constexpr const char* kHidden = ".held";

// A file or directory as its users see it. `real_parent` and `real_name` say where it is on the
// real disk, if it is there at all: under its durable name, or hidden.
struct Node {
  bool is_directory = false;
  Node* parent = nullptr;  // null: the root, or removed
  std::string name;
  Node* real_parent = nullptr;
  std::string real_name;
  // Of a directory: what its users see, and what is durable.
  bool loaded = false;
  std::map<std::string, std::shared_ptr<Node>, std::less<>> entries;
  std::map<std::string, std::shared_ptr<Node>, std::less<>> real_entries;
  // Of a file: made by the first open.
  std::unique_ptr<HeldContent> content;
  uint64_t listed_size = 0;  // while there is no content
  Mutex mutex;               // around `content`
};
using NodePointer = std::shared_ptr<Node>;

Status not_found(std::string_view path) {
  return Status(Code::kNotFound, "no such file or directory").with_object(std::string(path));
}

class HoldingDisk final : public Disk {
 public:
  explicit HoldingDisk(Disk& disk);

  Result<std::unique_ptr<File>> open(std::string_view path, OpenMode mode) override;
  Status make_directory(std::string_view path) override;
  Status rename(std::string_view from, std::string_view to) override;
  Status remove(std::string_view path) override;
  Result<std::vector<DirectoryEntry>> list(std::string_view path) override;
  Status sync_directory(std::string_view path) override;
  Status sync_all() override;
  Result<DiskSpace> space() override { return disk_.space(); }

  // Gives a file in memory a hidden real one. Takes the name lock.
  Status make_real(Node& node);

 private:
  Status prepare();
  Status load(Node& directory);
  // The directory that holds the last part of `path`, and that part.
  Result<std::pair<Node*, std::string>> locate(std::string_view path);
  Result<NodePointer> find(std::string_view path);
  std::string real_path(const Node& node) const;
  Status hide(Node& node);
  Status move_real(const NodePointer& node, Node& directory, const std::string& name);
  Status reconcile(Node& directory);
  Status open_content(Node& node);
  void files_below(const NodePointer& node, std::vector<NodePointer>& files) const;
  Status reconcile_below(Node& directory);

  Disk& disk_;
  NodePointer root_;
  NodePointer hidden_;
  bool prepared_ = false;
  uint64_t next_hidden_ = 0;
  Mutex names_;
};

class HeldFile final : public File {
 public:
  HeldFile(HoldingDisk& disk, NodePointer node, std::string path, bool writable)
      : disk_(disk), node_(std::move(node)), path_(std::move(path)), writable_(writable) {}

  Result<std::vector<Bytes>> read(std::vector<ReadOperation> operations) override;
  Status write(uint64_t offset, std::vector<Bytes> data) override;
  Status write_durable(uint64_t offset, std::vector<Bytes> data) override;
  Status sync() override;
  Status truncate(uint64_t size) override;
  Status punch(uint64_t offset, uint64_t length) override;
  Result<uint64_t> size() override { return node_->content->size(); }
  const std::string& path() const override { return path_; }

 private:
  Status check_writable() const;
  // Invariant: node_->mutex is held.
  Status sync_held(bool whole, uint64_t offset, uint64_t length);

  HoldingDisk& disk_;
  NodePointer node_;
  std::string path_;
  bool writable_;
};

Status HeldFile::check_writable() const {
  if (writable_) return Status();
  return Status(Code::kRefused, "the file was opened for reading only").with_object(path_);
}

Result<std::vector<Bytes>> HeldFile::read(std::vector<ReadOperation> operations) {
  const MutexGuard guard(node_->mutex, "held file");
  VARVE_TRY(guard.status());
  std::vector<Bytes> pieces;
  for (const ReadOperation& operation : operations) {
    VARVE_TRY_ASSIGN(Bytes piece, node_->content->read(operation.offset, operation.length));
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

Status HeldFile::write(uint64_t offset, std::vector<Bytes> data) {
  VARVE_TRY(check_writable());
  const MutexGuard guard(node_->mutex, "held file");
  VARVE_TRY(guard.status());
  for (const Bytes& piece : data) {
    node_->content->write(offset, piece);
    offset += piece.size();
  }
  return Status();
}

Status HeldFile::sync_held(bool whole, uint64_t offset, uint64_t length) {
  // A caller that left in the middle would leave the real file half written, and refusing
  // everything from then on.
  const Shield shield;
  // What has no name any more can't be found after a power cut: nothing to keep.
  if (node_->parent == nullptr && !node_->content->has_real()) return Status();
  if (!node_->content->has_real()) VARVE_TRY(disk_.make_real(*node_));
  return whole ? node_->content->sync() : node_->content->sync_range(offset, length);
}

Status HeldFile::write_durable(uint64_t offset, std::vector<Bytes> data) {
  VARVE_TRY(check_writable());
  const MutexGuard guard(node_->mutex, "held file");
  VARVE_TRY(guard.status());
  uint64_t end = offset;
  for (const Bytes& piece : data) {
    node_->content->write(end, piece);
    end += piece.size();
  }
  return sync_held(false, offset, end - offset);
}

Status HeldFile::sync() {
  const MutexGuard guard(node_->mutex, "held file");
  VARVE_TRY(guard.status());
  return sync_held(true, 0, 0);
}

Status HeldFile::truncate(uint64_t size) {
  VARVE_TRY(check_writable());
  const MutexGuard guard(node_->mutex, "held file");
  VARVE_TRY(guard.status());
  node_->content->truncate(size);
  return Status();
}

Status HeldFile::punch(uint64_t offset, uint64_t length) {
  VARVE_TRY(check_writable());
  const MutexGuard guard(node_->mutex, "held file");
  VARVE_TRY(guard.status());
  node_->content->punch(offset, length);
  return Status();
}

// --- Names ---

HoldingDisk::HoldingDisk(Disk& disk)
    : disk_(disk), root_(std::make_shared<Node>()), hidden_(std::make_shared<Node>()) {
  root_->is_directory = true;
  hidden_->is_directory = true;
  hidden_->real_parent = root_.get();
  hidden_->real_name = kHidden;
}

Status HoldingDisk::prepare() {
  if (prepared_) return Status();
  VARVE_TRY(remove_tree(disk_, kHidden));
  VARVE_TRY(disk_.make_directory(kHidden));
  VARVE_TRY(load(*root_));
  prepared_ = true;
  return Status();
}

std::string HoldingDisk::real_path(const Node& node) const {
  if (&node == root_.get()) return "";
  VARVE_CHECK(node.real_parent != nullptr);
  const std::string above = real_path(*node.real_parent);
  return above.empty() ? node.real_name : above + "/" + node.real_name;
}

Status HoldingDisk::load(Node& directory) {
  if (directory.loaded) return Status();
  const bool real = &directory == root_.get() || directory.real_parent != nullptr;
  if (real) {
    VARVE_TRY_ASSIGN(const auto entries, disk_.list(real_path(directory)));
    for (const DirectoryEntry& entry : entries) {
      if (&directory == root_.get() && entry.name == kHidden) continue;
      auto node = std::make_shared<Node>();
      node->is_directory = entry.is_directory;
      node->parent = node->real_parent = &directory;
      node->name = node->real_name = entry.name;
      node->listed_size = entry.size;
      directory.entries.emplace(entry.name, node);
      directory.real_entries.emplace(entry.name, node);
    }
  }
  directory.loaded = true;
  return Status();
}

Result<NodePointer> HoldingDisk::find(std::string_view path) {
  NodePointer node = root_;
  const std::string_view whole = path;
  while (!path.empty()) {
    if (!node->is_directory)
      return Status(Code::kInvalid, "not a directory").with_object(std::string(whole));
    VARVE_TRY(load(*node));
    const size_t end = std::min(path.find('/'), path.size());
    const auto entry = node->entries.find(path.substr(0, end));
    if (entry == node->entries.end()) return not_found(whole);
    node = entry->second;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  if (node->is_directory) VARVE_TRY(load(*node));
  return node;
}

Result<std::pair<Node*, std::string>> HoldingDisk::locate(std::string_view path) {
  VARVE_TRY(check_path(path));
  const std::string_view above = parent_directory(path);
  VARVE_TRY_ASSIGN(const NodePointer directory, find(above));
  if (!directory->is_directory)
    return Status(Code::kInvalid, "not a directory").with_object(std::string(above));
  std::string name(above.empty() ? path : path.substr(above.size() + 1));
  return std::pair<Node*, std::string>(directory.get(), std::move(name));
}

Status HoldingDisk::open_content(Node& node) {
  if (node.content != nullptr) return Status();
  auto real = disk_.open(real_path(node), OpenMode::kReadWrite);
  if (real.is(Code::kRefused)) real = disk_.open(real_path(node), OpenMode::kRead);
  VARVE_TRY(real.status());
  VARVE_TRY_ASSIGN(const uint64_t size, (*real)->size());
  node.content = std::make_unique<HeldContent>(std::move(*real), size);
  return Status();
}

Result<std::unique_ptr<File>> HoldingDisk::open(std::string_view path, OpenMode mode) {
  const MutexGuard guard(names_, "held names");
  VARVE_TRY(guard.status());
  VARVE_TRY(prepare());
  VARVE_TRY_ASSIGN(const auto place, locate(path));
  auto& [directory, name] = place;
  const auto entry = directory->entries.find(name);
  NodePointer node;
  if (entry != directory->entries.end()) {
    node = entry->second;
    if (node->is_directory)
      return Status(Code::kInvalid, "is a directory").with_object(std::string(path));
    if (mode == OpenMode::kCreateNew)
      return Status(Code::kExists, "exists already").with_object(std::string(path));
    VARVE_TRY(open_content(*node));
  } else {
    if (mode == OpenMode::kRead || mode == OpenMode::kReadWrite) return not_found(path);
    node = std::make_shared<Node>();
    node->parent = directory;
    node->name = name;
    node->content = std::make_unique<HeldContent>(nullptr, 0);
    directory->entries.emplace(name, node);
  }
  return std::unique_ptr<File>(
      new HeldFile(*this, node, std::string(path), mode != OpenMode::kRead));
}

Status HoldingDisk::make_directory(std::string_view path) {
  const MutexGuard guard(names_, "held names");
  VARVE_TRY(guard.status());
  VARVE_TRY(check_path(path));
  VARVE_TRY(prepare());
  Node* directory = root_.get();
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string name(path.substr(begin, end - begin));
    begin = end + 1;
    VARVE_TRY(load(*directory));
    auto& node = directory->entries[name];
    if (node == nullptr) {
      node = std::make_shared<Node>();
      node->is_directory = node->loaded = true;
      node->parent = directory;
      node->name = name;
    }
    if (!node->is_directory) {
      return Status(Code::kExists, "a file of that name is in the way")
          .with_object(std::string(path));
    }
    directory = node.get();
  }
  return Status();
}

Status HoldingDisk::rename(std::string_view from, std::string_view to) {
  const MutexGuard guard(names_, "held names");
  VARVE_TRY(guard.status());
  VARVE_TRY(prepare());
  VARVE_TRY_ASSIGN(const auto source, locate(from));
  VARVE_TRY_ASSIGN(const auto target, locate(to));
  const auto entry = source.first->entries.find(source.second);
  if (entry == source.first->entries.end()) return not_found(from);
  const NodePointer node = entry->second;
  for (const Node* above = target.first; above != nullptr; above = above->parent) {
    if (above == node.get()) {
      return Status(Code::kInvalid, "a directory can't go below itself")
          .with_object(std::string(to));
    }
  }
  NodePointer& place = target.first->entries[target.second];
  if (place == node) return Status();
  if (place != nullptr) {
    if (place->is_directory) VARVE_TRY(load(*place));
    if (place->is_directory != node->is_directory || !place->entries.empty()) {
      return Status(Code::kExists, "what is there can't be replaced").with_object(std::string(to));
    }
    place->parent = nullptr;
  }
  place = node;
  source.first->entries.erase(source.second);
  node->parent = target.first;
  node->name = target.second;
  return Status();
}

Status HoldingDisk::remove(std::string_view path) {
  const MutexGuard guard(names_, "held names");
  VARVE_TRY(guard.status());
  VARVE_TRY(prepare());
  VARVE_TRY_ASSIGN(const auto place, locate(path));
  const auto entry = place.first->entries.find(place.second);
  if (entry == place.first->entries.end()) return not_found(path);
  Node& node = *entry->second;
  if (node.is_directory) VARVE_TRY(load(node));
  if (!node.entries.empty()) {
    return Status(Code::kExists, "directory is not empty").with_object(std::string(path));
  }
  node.parent = nullptr;
  place.first->entries.erase(entry);
  return Status();
}

Result<std::vector<DirectoryEntry>> HoldingDisk::list(std::string_view path) {
  const MutexGuard guard(names_, "held names");
  VARVE_TRY(guard.status());
  if (!path.empty()) VARVE_TRY(check_path(path));
  VARVE_TRY(prepare());
  VARVE_TRY_ASSIGN(const NodePointer directory, find(path));
  if (!directory->is_directory)
    return Status(Code::kInvalid, "not a directory").with_object(std::string(path));
  std::vector<DirectoryEntry> entries;
  for (const auto& [name, node] : directory->entries) {
    const uint64_t size = node->is_directory         ? 0
                          : node->content != nullptr ? node->content->size()
                                                     : node->listed_size;
    entries.push_back({name, node->is_directory, size});
  }
  return entries;
}

// --- Names become real ---

// Makes sure that `node` is somewhere on the real disk: under the hidden directory if it is nowhere
// yet, or if its durable name is about to go.
Status HoldingDisk::hide(Node& node) {
  const std::string name = std::to_string(++next_hidden_);
  const std::string path = std::string(kHidden) + "/" + name;
  if (node.real_parent != nullptr) {
    VARVE_TRY(disk_.rename(real_path(node), path));
    node.real_parent->real_entries.erase(node.real_name);
  } else if (node.is_directory) {
    VARVE_TRY(disk_.make_directory(path));
  } else {
    VARVE_TRY_ASSIGN(auto file, disk_.open(path, OpenMode::kCreateNew));
    if (!node.content->has_real()) node.content->set_real(std::move(file));
  }
  node.real_parent = hidden_.get();
  node.real_name = name;
  return Status();
}

Status HoldingDisk::make_real(Node& node) {
  const MutexGuard guard(names_, "held names");
  VARVE_TRY(guard.status());
  // A directory sync may have been first.
  return node.content->has_real() ? Status() : hide(node);
}

// Gives `node` its durable name, replacing what had it.
Status HoldingDisk::move_real(const NodePointer& node, Node& directory, const std::string& name) {
  if (node->real_parent == nullptr) VARVE_TRY(hide(*node));
  const auto old = directory.real_entries.find(name);
  if (old != directory.real_entries.end()) {
    const NodePointer replaced = old->second;
    if (replaced->parent != nullptr || replaced->is_directory) {
      VARVE_TRY(
          hide(*replaced));  // it lives on under another name, or is not to be replaced by a rename
    } else {
      directory.real_entries.erase(old);
      replaced->real_parent = nullptr;
    }
  }
  const std::string above = real_path(directory);
  VARVE_TRY(disk_.rename(real_path(*node), above.empty() ? name : above + "/" + name));
  node->real_parent->real_entries.erase(node->real_name);
  node->real_parent = &directory;
  node->real_name = name;
  directory.real_entries[name] = node;
  return Status();
}

Status HoldingDisk::reconcile(Node& directory) {
  if (&directory != root_.get() && directory.real_parent == nullptr) VARVE_TRY(hide(directory));
  const auto wanted = directory.entries;
  for (const auto& [name, node] : wanted) {
    const auto real = directory.real_entries.find(name);
    if (real != directory.real_entries.end() && real->second == node) continue;
    VARVE_TRY(move_real(node, directory, name));
  }
  const auto present = directory.real_entries;
  for (const auto& [name, node] : present) {
    if (directory.entries.contains(name)) continue;
    if (node->parent != nullptr) {
      VARVE_TRY(hide(*node));
      continue;
    }
    VARVE_TRY(node->is_directory ? remove_tree(disk_, real_path(*node))
                                 : disk_.remove(real_path(*node)));
    directory.real_entries.erase(name);
    node->real_parent = nullptr;
  }
  return disk_.sync_directory(real_path(directory));
}

Status HoldingDisk::sync_directory(std::string_view path) {
  const MutexGuard guard(names_, "held names");
  VARVE_TRY(guard.status());
  const Shield shield;
  if (!path.empty()) VARVE_TRY(check_path(path));
  VARVE_TRY(prepare());
  VARVE_TRY_ASSIGN(const NodePointer directory, find(path));
  if (!directory->is_directory)
    return Status(Code::kInvalid, "not a directory").with_object(std::string(path));
  return reconcile(*directory);
}

void HoldingDisk::files_below(const NodePointer& node, std::vector<NodePointer>& files) const {
  if (!node->is_directory) {
    if (node->content != nullptr) files.push_back(node);
    return;
  }
  for (const auto& [name, child] : node->entries) files_below(child, files);
}

Status HoldingDisk::reconcile_below(Node& directory) {
  if (!directory.loaded) return Status();  // nothing below was touched
  VARVE_TRY(reconcile(directory));
  const auto entries = directory.entries;
  for (const auto& [name, child] : entries) {
    if (child->is_directory) VARVE_TRY(reconcile_below(*child));
  }
  return Status();
}

Status HoldingDisk::sync_all() {
  const Shield shield;
  std::vector<NodePointer> files;
  {
    const MutexGuard guard(names_, "held names");
    VARVE_TRY(guard.status());
    VARVE_TRY(prepare());
    files_below(root_, files);
  }
  // Without the name lock: a file's lock comes before it.
  for (const NodePointer& node : files) {
    HeldFile file(*this, node, node->name, true);
    VARVE_TRY(file.sync());
  }
  const MutexGuard guard(names_, "held names");
  VARVE_TRY(guard.status());
  VARVE_TRY(reconcile_below(*root_));
  return disk_.sync_all();
}

}  // namespace

std::unique_ptr<Disk> hold_until_sync(Disk& disk) {
  return std::make_unique<HoldingDisk>(disk);
}

}  // namespace varve::real_io
