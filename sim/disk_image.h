// What one node's disk holds: a durable tree, and over it what the kernel has and the platters
// don't.
//
// Files keep 4 KiB pages, shared between the two sides until one is written, and per page a bit for
// each 512-byte sector that differs from what is durable. Names are per directory; creates, renames
// and removes are a list of steps, and directory syncs make the steps that touch the directory
// durable.
//
// A power cut chooses for each unsynced sector whether the new content, the old, or a mix split at
// one byte is there, for the size of the file any value between old and new, and for each unsynced
// name step, in order, whether it happened, skipping those whose precondition a lost step took
// away. What a journalling file system may leave behind is one of the outcomes; most outcomes are
// worse.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"
#include "base/status.h"
#include "runtime/disk.h"

namespace varve::sim {

inline constexpr size_t kPageBytes = 4096;
inline constexpr size_t kSectorBytes = 512;

struct Page {
  uint8_t bytes[kPageBytes];
};
using PagePointer = std::shared_ptr<Page>;

// What sync() saw when it began: made durable when it ends.
struct SyncSnapshot {
  struct Part {
    uint64_t page;
    uint8_t sectors;
    PagePointer content;  // null = zeros
  };
  std::vector<Part> parts;
  uint64_t size = 0;
  uint64_t number = 0;  // of the file's syncs, in order of their beginning
};

// A file's content, without a name.
class FileContent {
 public:
  uint64_t size() const { return size_; }
  // Bytes of pages that are neither holes nor zeroed away.
  uint64_t allocated() const { return allocated_pages_ * kPageBytes; }
  // Bytes that writing this range would add to allocated().
  uint64_t growth(uint64_t offset, uint64_t length) const;

  // What a process sees; short at the end of the file.
  Bytes read(uint64_t offset, size_t length) const;
  void write(uint64_t offset, std::span<const uint8_t> data);
  void truncate(uint64_t size);
  void punch(uint64_t offset, uint64_t length);

  // What is unsynced now: everywhere, or in the sectors that [offset, end) touches.
  SyncSnapshot begin_sync(uint64_t offset = 0, uint64_t end = ~uint64_t{0});
  // In any order: a sync that ends after a later one takes nothing back from it.
  void finish_sync(const SyncSnapshot& snapshot);
  // A failed sync: each unsynced sector is durable or lost for good by draw, and none is dirty any
  // more. The kernel's copy of what was lost is dropped, too.
  void fail_sync(RandomStream& random);
  // What is left after a power cut. Returns whether anything was lost, and torn.
  struct Damage {
    bool lost = false;
    bool torn = false;
  };
  Damage power_cut(uint32_t keep_rate, uint32_t tear_rate, RandomStream& random);
  // Flips one bit of the byte at `offset`, durably; false for a hole, which has nothing to rot.
  // Invariant: offset < size().
  bool rot(uint64_t offset, RandomStream& random);
  bool dirty() const { return !dirty_.empty() || size_ != durable_size_; }

  // Writes under way: [offset, end). Overlapping ones are a broken invariant of the component.
  std::vector<std::pair<uint64_t, uint64_t>> writing;
  bool abandoned_write = false;

 private:
  Page& writable(uint64_t page);
  void mark_dirty(uint64_t offset, uint64_t end);
  void finish_late_sync(const SyncSnapshot& snapshot);

  uint64_t syncs_begun_ = 0;
  uint64_t newest_sync_finished_ = 0;
  uint64_t size_ = 0;
  uint64_t durable_size_ = 0;
  uint64_t allocated_pages_ = 0;
  std::vector<PagePointer> current_;
  std::vector<PagePointer> durable_;
  std::map<uint64_t, uint8_t> dirty_;  // page -> sectors
};

struct DirectoryNode;

// A file or a directory. Exactly one of the two is set.
struct Entry {
  std::shared_ptr<FileContent> file;
  std::shared_ptr<DirectoryNode> directory;
  bool operator==(const Entry&) const = default;
};

using EntryMap = std::map<std::string, Entry, std::less<>>;

struct DirectoryNode {
  EntryMap current;
  EntryMap durable;
};

class DiskImage {
 public:
  DiskImage() : root_(std::make_shared<DirectoryNode>()) {}

  // The namespace, as disk.h says it; none of these takes time.
  Result<std::shared_ptr<FileContent>> open(std::string_view path, OpenMode mode);
  Status make_directory(std::string_view path);
  Status rename(std::string_view from, std::string_view to);
  Status remove(std::string_view path);
  Result<std::vector<DirectoryEntry>> list(std::string_view path) const;
  Status sync_directory(std::string_view path);
  // Every name step, now.
  void sync_names();
  // All files that have a name, in order of path.
  void for_each_file(const std::function<void(const std::string& path, FileContent&)>& visit) const;
  uint64_t allocated() const;

  // Process killed: nothing but the state of its open files goes.
  void process_crash();
  struct Damage {
    bool lost_sector = false;
    bool torn_sector = false;
    bool lost_name = false;
  };
  Damage power_cut(uint32_t keep_sector, uint32_t tear_sector, uint32_t keep_name,
                   RandomStream& random);
  // An empty disk in place of the old one.
  void replace() { *this = DiskImage(); }

 private:
  struct NameStep {
    enum class Kind : uint8_t { kLink, kUnlink, kMove } kind;
    std::shared_ptr<DirectoryNode> from_directory, to_directory;  // kLink: to; kUnlink: from
    std::string from_name, to_name;
    Entry entry;
  };
  struct Place {
    std::shared_ptr<DirectoryNode> directory;
    std::string name;
  };
  Result<std::shared_ptr<DirectoryNode>> directory_at(std::string_view path) const;
  Result<Place> place_of(std::string_view path) const;
  static bool apply_durably(const NameStep& step);
  static void forget_unsynced(DirectoryNode& directory);

  std::shared_ptr<DirectoryNode> root_;
  std::vector<NameStep> pending_;
};

}  // namespace varve::sim
