// Where control's state lives on: one value, moved from version to version.
//
// A commit is atomic and durable after kDone. It names the version that it starts from, so that two
// lives of control that both believe to be the only one can't both succeed: the later one's first
// commit makes every further commit of the earlier a conflict.
//
// Not covered by VARVE_DISK=hold-until-sync: SQLite does its own file calls. A kill -9 is therefore
// no power cut for it, and its durability rests on synchronous=FULL.
#pragma once

#include "base/ids.h"
#include "base/status.h"
#include "control/plan/state.h"

namespace varve::control {

enum class CommitOutcome : uint8_t {
  kDone,
  kConflict,  // the store is at another version: nothing happened
  kUnknown,   // it may or may not have happened, and won't any more after this: load() tells
};

struct [[nodiscard]] Committed {
  CommitOutcome outcome = CommitOutcome::kDone;
  Status why;  // of kUnknown
};

class Store {
 public:
  virtual ~Store() = default;
  // The newest version. Corrupt and Unsupported are final. Suspends.
  virtual Result<State> load() = 0;
  // From `expected` to `expected` + 1, by this writer. Suspends; one commit at a time.
  virtual Committed commit(uint64_t expected, Incarnation writer, const Changes& changes) = 0;
};

}  // namespace varve::control
