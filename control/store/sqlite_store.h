// The store in an SQLite database. docs/formats/control-database.md is the page on its tables.
//
// Write-ahead log, synchronous=FULL: one sync a commit. A thread of its own does the calls; all of
// them, one after the other.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "control/store/store.h"

namespace varve::control {

// Runs work that blocks on another thread, one piece after the other, exactly once, and returns
// when it is done. Suspends the fiber; ignores cancellation.
class BlockingThread {
 public:
  virtual ~BlockingThread() = default;
  virtual void run(std::function<void()> work) = 0;
};

// Opens or makes `path`. `thread` must outlive the store. Refused when another process has the
// database open, Unsupported when a newer Varve wrote it, Corrupt when it is something else.
// Suspends.
Result<std::unique_ptr<Store>> open_sqlite_store(const std::string& path, BlockingThread& thread);

}  // namespace varve::control
