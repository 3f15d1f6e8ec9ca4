#include "real_io/file.h"

#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>

#include "real_io/errors.h"
#include "real_io/uring.h"

namespace varve::real_io {
namespace {

// Up to this much is copied out of the page cache by the loop itself.
constexpr size_t kMaxCachedRead = 128 << 10;
constexpr uint64_t kMaxOffset = uint64_t{1} << 62;

template <class F>
int repeat_interrupted(F call) {
  int result;
  while ((result = call()) == -EINTR) {
  }
  return result;
}

// The way to zeros where the file system can't punch.
int write_zeros(Syscalls& syscalls, int fd, uint64_t offset, uint64_t length) {
  static constexpr uint8_t kZeros[4096] = {};
  struct stat status {};
  const int result = syscalls.fstat(fd, &status);
  if (result < 0) return result;
  const uint64_t end = std::min(offset + length, static_cast<uint64_t>(status.st_size));
  while (offset < end) {
    const iovec piece{const_cast<uint8_t*>(kZeros),
                      std::min<uint64_t>(sizeof kZeros, end - offset)};
    const ssize_t written = syscalls.pwritev(fd, &piece, 1, static_cast<off_t>(offset));
    if (written == -EINTR) continue;
    if (written <= 0) return written == 0 ? -EIO : static_cast<int>(written);
    offset += static_cast<uint64_t>(written);
  }
  return 0;
}

}  // namespace

RealFile::~RealFile() {
  Reactor& reactor = backend_.threads.reactor();
  // The last close of a removed file gives its blocks back, which may take long: not on the loop.
  // With operations still under way the descriptor is theirs, and closes with the last of them.
  if (file_.use_count() != 1 || !reactor.running()) return;
  struct Close final : Operation {
    explicit Close(UniqueFd descriptor) : fd(std::move(descriptor)) {}
    void perform(Syscalls&) override { fd.reset(); }
    UniqueFd fd;
  };
  auto* close = new Close(std::move(file_->fd));
  reactor.begin(close);
  reactor.abandon(close);
  backend_.threads.submit(close);
}

bool RealFile::read_cached(Transfer& transfer) {
  if (!backend_.cached_reads_at_once || transfer.left() > kMaxCachedRead) return false;
  Syscalls& syscalls = backend_.threads.reactor().syscalls();
  while (transfer.left() > 0) {
    const auto pieces = transfer.window(kMaxCachedRead);
    const ssize_t got =
        syscalls.preadv(transfer.fd(), pieces.data(), static_cast<int>(pieces.size()),
                        static_cast<off_t>(transfer.offset()), RWF_NOWAIT);
    // Nothing cached, or no such thing on this file system: errors are for the real read to tell. A
    // zero is not trusted as the end either, since it may only say that the rest is not cached.
    if (got <= 0) return false;
    (void)transfer.account(got);
  }
  return true;
}

void RealFile::start(Transfer* transfer) {
  if (backend_.ring != nullptr && transfer->kind() != Transfer::Kind::kWriteDurable) {
    backend_.ring->start(transfer);
  } else {
    backend_.threads.start(transfer);
  }
}

// A commit's synced write, made by the loop itself, one a turn. False when it is for a thread.
Result<bool> RealFile::perform_here(Transfer& transfer) {
  const bool suits = transfer.kind() == Transfer::Kind::kWriteDurable &&
                     fiber_context().work_class == WorkClass::kCommit &&
                     transfer.left() <= SyncPace::kMaxBytes && backend_.pace->fast();
  if (!suits) return false;
  Reactor& reactor = backend_.threads.reactor();
  // Other commits go on, and what they wrote into their streams leaves, first.
  if (reactor.has_more(WorkClass::kCommit)) VARVE_TRY(reactor.next_turn());
  if (!reactor.take_stall()) return false;
  transfer.perform(reactor.syscalls());
  return true;
}

Result<std::vector<Bytes>> RealFile::read(std::vector<ReadOperation> operations) {
  Reactor& reactor = backend_.threads.reactor();
  std::vector<std::unique_ptr<Transfer>> done(operations.size());
  std::vector<std::pair<size_t, Transfer*>> started;
  for (size_t i = 0; i < operations.size(); ++i) {
    if (operations[i].offset > kMaxOffset) {
      return Status(Code::kInvalid,
                    "no file has an offset of " + std::to_string(operations[i].offset))
          .with_object(path());
    }
  }
  for (size_t i = 0; i < operations.size(); ++i) {
    done[i] = Transfer::read(file_, operations[i].offset, operations[i].length);
    if (!read_cached(*done[i])) {
      started.emplace_back(i, done[i].get());
      start(done[i].release());
    }
  }
  for (size_t i = 0; i < started.size(); ++i) {
    const Status waited = reactor.await(started[i].second, "file read");
    if (!waited.ok()) {
      for (size_t rest = i + 1; rest < started.size(); ++rest)
        reactor.abandon(started[rest].second);
      return waited;
    }
    done[started[i].first].reset(started[i].second);
  }
  std::vector<Bytes> pieces;
  pieces.reserve(done.size());
  for (const auto& transfer : done) {
    if (transfer->error() != 0) return error_status(transfer->error(), "read", path());
    pieces.push_back(transfer->take_data());
  }
  return pieces;
}

Status RealFile::check_writable() const {
  if (!file_->writable) {
    return Status(Code::kRefused, "the file was opened for reading only").with_object(path());
  }
  if (!file_->state->abandoned_write) return Status();
  return Status(Code::kRefused, "a write was abandoned; nobody knows what the file holds")
      .with_object(path())
      .with_hint("close the file, open it again and look at what it holds");
}

Status RealFile::transfer_out(uint64_t offset, std::vector<Bytes> data, bool durable) {
  VARVE_TRY(check_writable());
  const size_t size = total_size(data);
  if (offset > kMaxOffset || size > kMaxOffset - offset) {
    return Status(Code::kInvalid, "no file has an offset of " + std::to_string(offset))
        .with_object(path());
  }
  const std::pair<uint64_t, uint64_t> range{offset, offset + size};
  auto& writing = file_->state->writing;
  for (const auto& other : writing) {
    VARVE_CHECK_MSG(range.second <= other.first || other.second <= range.first || size == 0,
                    "two writes of one range at the same time");
  }
  std::unique_ptr<Transfer> mine = Transfer::write(file_, offset, std::move(data), durable);
  writing.push_back(range);
  const Result<bool> performed = perform_here(*mine);
  Status waited = performed.status();
  if (performed.ok() && !*performed) {
    Transfer* transfer = mine.release();
    start(transfer);
    waited = backend_.threads.reactor().await(transfer, durable ? "durable write" : "file write");
    if (waited.ok()) mine.reset(transfer);
    file_->state->abandoned_write |= !waited.ok();
  }
  writing.erase(std::find(writing.begin(), writing.end(), range));
  VARVE_TRY(waited);
  if (durable) backend_.pace->took(mine->nanoseconds());
  if (mine->error() == 0) return Status();
  Status failed = error_status(mine->error(), mine->sync_failed() ? "sync" : "write", path());
  if (mine->sync_failed()) backend_.on_failed_sync(failed);
  return failed;
}

Status RealFile::write(uint64_t offset, std::vector<Bytes> data) {
  return transfer_out(offset, std::move(data), false);
}

Status RealFile::write_durable(uint64_t offset, std::vector<Bytes> data) {
  return transfer_out(offset, std::move(data), true);
}

Status RealFile::sync() {
  Result<int> result = run_on(backend_.threads, "file sync", [file = file_](Syscalls& syscalls) {
    return Result<int>(repeat_interrupted([&] { return syscalls.fdatasync(file->fd.get()); }));
  });
  VARVE_TRY(result.status());
  if (*result == 0) return Status();
  Status failed = error_status(-*result, "sync", path());
  backend_.on_failed_sync(failed);
  return failed;
}

template <class F>
Status RealFile::change(const char* label, const char* action, F function) {
  VARVE_TRY(check_writable());
  Result<int> result =
      run_on(backend_.threads, label, [file = file_, function](Syscalls& syscalls) {
        return Result<int>(repeat_interrupted([&] { return function(syscalls, file->fd.get()); }));
      });
  if (!result.ok()) {
    file_->state->abandoned_write = true;
    return result.status();
  }
  return *result == 0 ? Status() : error_status(-*result, action, path());
}

Status RealFile::truncate(uint64_t size) {
  return change("file truncation", "truncate", [size](Syscalls& syscalls, int fd) {
    return size > kMaxOffset ? -EFBIG : syscalls.ftruncate(fd, static_cast<off_t>(size));
  });
}

Status RealFile::punch(uint64_t offset, uint64_t length) {
  if (length == 0) return Status();
  return change("file punch", "punch", [offset, length](Syscalls& syscalls, int fd) {
    if (offset > kMaxOffset || length > kMaxOffset - offset) return -EINVAL;
    const int result = syscalls.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                          static_cast<off_t>(offset), static_cast<off_t>(length));
    return result == -EOPNOTSUPP ? write_zeros(syscalls, fd, offset, length) : result;
  });
}

Result<uint64_t> RealFile::size() {
  struct stat status {};
  // The inode is in memory while the file is open: this never touches the device.
  const int result = backend_.threads.reactor().syscalls().fstat(file_->fd.get(), &status);
  if (result < 0) return error_status(-result, "size", path());
  return static_cast<uint64_t>(status.st_size);
}

}  // namespace varve::real_io
