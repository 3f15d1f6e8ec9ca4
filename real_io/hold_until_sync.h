// A Disk that keeps what is not synced in memory, so that killing the process is a power cut for
// its files.
//
// A killed process normally loses nothing that it wrote: the kernel still has it. Above this
// decorator, writes, truncations and punches of a file reach the real disk with the file's sync (or
// write_durable), and names (created, renamed, removed files; made directories) with the sync of
// their directory, as on a disk that loses all it may lose. A file whose name is held lives under a
// hidden directory of the real disk until then; what lies there at the first use is the wreckage of
// the last life and is removed. One such Disk per directory.
//
// Reads and listings show the held state. Memory grows with what is not synced; this is for tests
// and demos.
#pragma once

#include <memory>

#include "runtime/disk.h"

namespace varve::real_io {

// `disk` must outlive the result.
std::unique_ptr<Disk> hold_until_sync(Disk& disk);

}  // namespace varve::real_io
