// One timeline's WAL on disk: segment files named as Postgres names them, always full size, zero
// behind the end of the log.
//
// A segment file appears zero-filled, synced and under its own name before the log needs it, so
// that the hot path is one durable write into blocks that exist: no file growth, no allocation, no
// name to sync. Only a timeline's first segment, and one that was cut far from where it had been
// zero, has a hole instead: somebody waits for a creation or an election. Zeros behind the end are
// what lets a later scan stop there; truncate() restores them before anything else may be written.
//
// Knows no terms and no records. All calls may suspend; writes, truncate and remove come from one
// fiber at a time, reads from any.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/status.h"
#include "runtime/disk.h"
#include "runtime/sync.h"

namespace varve::consensus {

class SegmentLog {
 public:
  // `disk` must outlive this. Touches nothing.
  SegmentLog(Disk& disk, std::string directory, uint32_t segment_size);

  // Makes the segment that holds `start`, with `prefix` from the segment's beginning (at most up to
  // start) and zeros behind, as a file with a hole. The name is durable only once the directory is
  // (the caller syncs it).
  Status create(Lsn start, Bytes prefix);
  // Finds the segments that are there and removes what a crash left half made. Corrupt names a
  // segment of the wrong size.
  Status open();

  // Writes `data` at `begin`, into as many segments as it takes; makes those that don't exist. With
  // `durable` all of it is on disk after success.
  Status write(Lsn begin, std::vector<Bytes> data, bool durable);
  // What was written without `durable` is on disk after success.
  Status sync();
  // Bytes in front of the log's first one, durable. Safe beside write(), whose bytes lie behind
  // them.
  Status write_in_front(Lsn begin, Bytes data);
  // The same for what others wrote into the segments from the one that holds `from` on: an earlier
  // life of the timeline, whose writes the kernel may hold still.
  Status sync_from(Lsn from);
  // Cuts the log at `at`: zeros from there to the segment's end, no later segments, all durable.
  Status truncate(Lsn at);
  // Makes sure that the segment exists. Safe beside write().
  Status prepare(uint64_t segment);
  bool prepared(uint64_t segment) const { return segments_.contains(segment); }

  // [begin, begin + length) of the files, in pieces. NotFound when a segment is missing. The caller
  // knows how far the log reaches.
  Result<std::vector<Bytes>> read(Lsn begin, uint64_t length);

  // Removes segments that end at or below `horizon`. Their names may come back after a crash, which
  // is harmless.
  Status remove_below(Lsn horizon);

  uint32_t segment_size() const { return segment_size_; }
  // First byte of the oldest segment; invalid when there is none.
  Lsn oldest() const;
  // End of the newest segment.
  Lsn newest_end() const;
  // End of the segments that follow one another without a gap from the one that holds `from`. What
  // lies behind a gap is left from a removal that a crash undid in part; truncate() removes it.
  Lsn end_of_run(Lsn from) const;
  std::string path_of(uint64_t segment) const;

 private:
  Result<std::shared_ptr<File>> file_of(uint64_t segment);
  Status make_segment(uint64_t segment);

  Disk& disk_;
  std::string directory_;
  uint32_t segment_size_;
  std::set<uint64_t> segments_;
  std::map<uint64_t, std::shared_ptr<File>> open_;  // the newest few
  std::set<uint64_t> dirty_;                        // written and not synced
  // files hold zeros from here on; what a crash left is unknown until the first truncate
  Lsn zero_from_;
  Mutex making_;
};

}  // namespace varve::consensus
