// The node's directory on the machine's file system.
//
// Every call that may block runs on the file threads; reads whose pages are cached are tried on the
// loop first (RWF_NOWAIT), which costs a tenth of the way to a thread and back. Transfers may go
// through an io_uring (uring.h), but not writes with a sync: measured, a linked write and sync in a
// ring is half as fast. Those go to a thread; a commit's, on a disk that has been fast, are made by
// the loop itself while it has nothing else to do (sync_pace.h).
//
// A failed sync ends the process: the kernel may have dropped the dirty pages and forgotten the
// error, so that the next sync would report success for data that is lost.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "real_io/sync_pace.h"
#include "real_io/thread_pool.h"
#include "real_io/transfer.h"
#include "runtime/disk.h"

namespace varve::real_io {

class UringTransfers;

struct DiskBackend {
  ThreadPool& threads;
  UringTransfers* ring = nullptr;  // null: threads only
  bool cached_reads_at_once = true;
  // Called with the error of a failed sync, on the loop. Must not return in production; tests that
  // inject such failures let it, and the sync's caller then gets the error.
  std::function<void(const Status&)> on_failed_sync;
  // Of this disk; a Disk makes its own when none is given.
  std::shared_ptr<SyncPace> pace = nullptr;
};

// Prints the error and ends the process.
[[noreturn]] void end_on_failed_sync(const Status& status);

// Opens `root`, which must exist and be a directory. Names below it are relative to this very
// directory, even if it is renamed. `backend` is copied; what it refers to must outlive the Disk.
Result<std::unique_ptr<Disk>> open_disk(Syscalls& syscalls, const std::string& root,
                                        const DiskBackend& backend);

// Success if `path` is one that Disk takes: relative, no empty part, no "." and "..", no NUL.
Status check_path(std::string_view path);

}  // namespace varve::real_io
