// One read or write of a file: the buffers, how far it has come, and how it ended. Works in steps,
// so that a thread can push it to its end and a ring can do the same completion by completion.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "real_io/reactor.h"
#include "real_io/unique_fd.h"

namespace varve::real_io {

// What all handles of one file know: lives as long as a handle or an operation does.
struct FileState {
  bool abandoned_write = false;
  std::vector<std::pair<uint64_t, uint64_t>>
      writing;  // ranges under way, to notice overlapping ones
};

// A descriptor with its path, shared by a File and the operations on it. Released on the loop's
// thread.
struct OpenFile {
  UniqueFd fd;
  std::string path;
  bool writable = false;
  std::shared_ptr<FileState> state;
};

class Transfer final : public Operation {
 public:
  enum class Kind : uint8_t { kRead, kWrite, kWriteDurable };

  static std::unique_ptr<Transfer> read(std::shared_ptr<OpenFile> file, uint64_t offset,
                                        size_t length);
  static std::unique_ptr<Transfer> write(std::shared_ptr<OpenFile> file, uint64_t offset,
                                         std::vector<Bytes> data, bool durable);

  // Does all that is left, with blocking calls.
  void perform(Syscalls& syscalls) override;

  Kind kind() const { return kind_; }
  int fd() const { return file_->fd.get(); }
  const OpenFile& file() const { return *file_; }
  uint64_t offset() const { return offset_; }  // of the next byte
  size_t left() const { return left_; }
  // The next pieces, at most `limit` bytes together. Valid until the next call of any function.
  std::span<const iovec> window(size_t limit);
  // Takes what a system call answered. True when no byte is left to move: success, end of file, or
  // error.
  bool account(ssize_t answer);

  // The error number of the transfer, or of its sync; 0 for success.
  int error() const { return error_; }
  bool sync_failed() const { return sync_failed_; }
  // What perform() took.
  int64_t nanoseconds() const { return nanoseconds_; }
  // What was read; call once, after success.
  Bytes take_data();

 private:
  Transfer(Kind kind, std::shared_ptr<OpenFile> file, uint64_t offset);
  void move_and_sync(Syscalls& syscalls);
  void skip(size_t bytes);

  Kind kind_;
  std::shared_ptr<OpenFile> file_;
  uint64_t offset_;
  size_t left_ = 0;
  int error_ = 0;
  bool sync_failed_ = false;
  int64_t nanoseconds_ = 0;
  MutableBytes target_;
  std::vector<Bytes> source_;
  std::vector<iovec> pieces_;
  size_t next_piece_ = 0;
  std::vector<iovec> window_;
};

}  // namespace varve::real_io
