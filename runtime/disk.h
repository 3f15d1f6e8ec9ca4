// Files, with Linux' semantics at their worst.
//
// What is not synced may be lost or torn in any order at the grain of a 512-byte sector. A created,
// renamed or removed name is durable only after sync_directory() of its directory. A failed sync
// says nothing of what reached the disk, and a later successful one says nothing of the failed
// one's data: whoever gets an error from sync() stops serving from that file (real_io ends the
// process). Reads may fail or return rotten bytes; checksums are the reader's business. The disk
// may be full at any write. Any call may take for ever.
//
// Paths are relative to the node's directory, '/'-separated, without "." and ".."; a component
// never knows where that directory is. All calls may suspend. Buffers are moved into the operation
// and owned by the world until it is done: a fiber that is cancelled in a wait may leave, and a
// file with an abandoned write answers every further write with Refused, since nobody knows what it
// holds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace varve {

struct ReadOperation {
  uint64_t offset = 0;
  size_t length = 0;
};

class File {
 public:
  // Closes; never suspends, never fails, syncs nothing.
  virtual ~File() = default;
  // One piece per operation, in order; shorter than asked for only at the end of the file.
  // Operations run concurrently where the backend can.
  virtual Result<std::vector<Bytes>> read(std::vector<ReadOperation> operations) = 0;
  Result<Bytes> read_at(uint64_t offset, size_t length);
  // All bytes or an error; after an error any part may have been written. Not durable. Concurrent
  // writes of overlapping ranges are a broken invariant.
  virtual Status write(uint64_t offset, std::vector<Bytes> data) = 0;
  // write, then durable: the data and what is needed to read it back, but not the file's name.
  virtual Status write_durable(uint64_t offset, std::vector<Bytes> data) = 0;
  // Everything written before the call began is durable after success.
  virtual Status sync() = 0;
  // Cuts or extends with zeros. Not durable until sync().
  virtual Status truncate(uint64_t size) = 0;
  // Makes [offset, offset+length) read as zeros, giving the space back where the file system can.
  virtual Status punch(uint64_t offset, uint64_t length) = 0;
  virtual Result<uint64_t> size() = 0;
  virtual const std::string& path() const = 0;
};

enum class OpenMode : uint8_t {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // created empty if absent; read and write
  kCreateNew,  // Exists if present; read and write
};

struct DirectoryEntry {
  std::string name;
  bool is_directory = false;
  uint64_t size = 0;  // of a file
};

struct DiskSpace {
  uint64_t total = 0;
  uint64_t available = 0;
};

class Disk {
 public:
  virtual ~Disk() = default;
  virtual Result<std::unique_ptr<File>> open(std::string_view path, OpenMode mode) = 0;
  // With all missing parents; success if it is there already. The names are not durable.
  virtual Status make_directory(std::string_view path) = 0;
  // Replaces `to` atomically (files) or fails if `to` is a non-empty directory.
  virtual Status rename(std::string_view from, std::string_view to) = 0;
  // A file or an empty directory; NotFound if absent.
  virtual Status remove(std::string_view path) = 0;
  // Sorted by name.
  virtual Result<std::vector<DirectoryEntry>> list(std::string_view path) = 0;
  virtual Status sync_directory(std::string_view path) = 0;
  // Everything on this disk that was written before the call began is durable after success
  // (syncfs). For start-up, before bytes from the page cache are trusted.
  virtual Status sync_all() = 0;
  virtual Result<DiskSpace> space() = 0;
};

// The whole file; Full if it is longer than `limit`.
Result<Bytes> read_file(Disk& disk, std::string_view path, uint64_t limit = 1 << 30);
// The file holds exactly `data` after success, and exactly the old or the new content after a crash
// at any moment: temporary name, write, sync, rename, directory sync.
Status replace_file(Disk& disk, std::string_view path, Bytes data);
// Removes what is below `path` and `path`; success if absent. Not durable.
Status remove_tree(Disk& disk, std::string_view path);
// "a/b/c" -> "a/b"; "" for a name without '/'.
std::string_view parent_directory(std::string_view path);

}  // namespace varve
