// What a daemon's main() calls.
#pragma once

#include "real_io/real_world.h"

namespace varve::real_io {

// Builds the world, runs `main` as its first fiber, and returns the exit code for its Status. The
// first SIGINT or SIGTERM cancels the root scope, after which `main` is expected to return soon;
// being cancelled by a signal is success. Errors go to stderr with their hint.
// VARVE_DISK=hold-until-sync in the environment sets options.hold_until_sync,
// VARVE_FILES=auto|threads|uring sets options.files. Call once per process, before any thread is
// started.
int run_real(RealOptions options, std::function<Status(World&)> main);
int run_real(RealOptions options, std::function<Status(RealWorld&)> main);

// The same with `on_stop` in the place of that cancellation, called at each stop signal with how
// many have come; in the loop and outside of fibers, so it may only mark and wake.
using StopHandler = std::function<void(RealWorld&, uint64_t count)>;
int run_real(RealOptions options, std::function<Status(RealWorld&)> main, StopHandler on_stop);

}  // namespace varve::real_io
