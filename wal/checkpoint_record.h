// The forged start: a real shutdown checkpoint record at the end of a log, and the segment bytes
// around it.
//
// A server whose pg_control says "shut down" and names this record starts without any recovery and
// writes on behind it. The record is legal history for every reader of the log.
#pragma once

#include <cstdint>
#include <vector>

#include "base/lsn.h"
#include "wal/checkpoint.h"
#include "wal/page.h"

namespace varve::wal {

struct ForgedCheckpoint {
  Lsn boundary;  // where the log ended, end form
  Lsn start;     // of the record
  Lsn end;       // of the record, end form
  Checkpoint checkpoint;
  std::vector<uint8_t> bytes;  // the log from boundary to end, page headers included
};

// A shutdown checkpoint with these counters behind `boundary` (end form); `previous` is the start
// of the record that ends there. The redo pointer is set to the record itself: anything else would
// be recovery.
ForgedCheckpoint forge_checkpoint(const LogIdentity& identity, Lsn boundary, Lsn previous,
                                  const Checkpoint& counters);

// Bytes to put at `at` of a segment file.
struct LogPiece {
  Lsn at;
  std::vector<uint8_t> bytes;
};

// What a server needs in its (else zero) segment files to start from `forged` when the true bytes
// before it are not at hand: the header at the segment's start, the header of the record's page,
// and the record. The gap before the record is announced as the rest of an earlier record, so that
// readers of the page step over it. Those bytes are not the log's: nothing before `boundary` may be
// sent anywhere. Pieces ascend and don't overlap; the last one may reach into a second segment.
std::vector<LogPiece> forged_segment_pieces(const LogIdentity& identity,
                                            const ForgedCheckpoint& forged);

}  // namespace varve::wal
