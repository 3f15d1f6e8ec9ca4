// Where records end, and what time it was: an index of the log itself, one value for each 64 KiB of
// it.
//
// Two questions need it. A compute that starts at L must name the start of the record before L, and
// a branch point given by a user must become a record's end: both are answered exactly and without
// the log, which storage does not keep. And a point in time means, as in Postgres, the place just
// before the first commit that is later; commit times are not ordered along the log (clocks step
// back), so that what is searched is their running maximum, which is.
//
// A record costs about 1.3 bytes, a commit 3 more. A record belongs to the chunk of its end. Chunks
// in which none ends exist too, so that a search never has to walk.
//
// Encoded: boundary before the chunk (8), start of the record that ends there (8), running maximum
// there (8), then for each record a varint of (bytes from the boundary before) / 8 << 2 | irregular
// << 1 | later, then if irregular a varint of (start - boundary before), then if later a varint of
// the growth of the maximum.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/lsn.h"
#include "base/status.h"
#include "base/time.h"

namespace varve::storage {

inline constexpr uint64_t kLogChunkBytes = 64 << 10;
constexpr uint64_t log_chunk_of(Lsn end) {
  return end.value / kLogChunkBytes;
}
// Earlier than every commit.
inline constexpr WallTime kNoTime{INT64_MIN};

// A boundary, and what is known of it.
struct LogPosition {
  Lsn boundary;               // end of a record
  Lsn previous;               // where that record starts; invalid when it is not known
  WallTime newest = kNoTime;  // latest commit up to here
  bool operator==(const LogPosition&) const = default;
};

// A chunk, decoded.
struct LogChunk {
  LogPosition before;
  std::vector<LogPosition> ends;  // of its records, ascending

  // kCorrupt when these are no chunk's bytes. `segment_size` of the log.
  static Result<LogChunk> decode(std::span<const uint8_t> bytes, uint32_t segment_size);
  // The last boundary of the chunk, or before it, that is not above `lsn`. Invariant:
  // before.boundary <= lsn.
  const LogPosition& at_or_before(Lsn lsn) const;
};

// Builds chunks as records come.
class LogChunkWriter {
 public:
  // Records follow `position`; `segment_size` of the log. With `current`, the encoded chunk of
  // `position.boundary` so far, it goes on with that.
  LogChunkWriter(uint32_t segment_size, const LogPosition& position);
  static Result<LogChunkWriter> resume(uint32_t segment_size, std::span<const uint8_t> current);

  struct Finished {
    uint64_t number = 0;
    std::vector<uint8_t> bytes;
  };
  // Notes a record [start, end); `time` when it is a commit or an abort. Appends the chunks that
  // are now complete. Invariant: records are given in order.
  void add(Lsn start, Lsn end, std::optional<WallTime> time, std::vector<Finished>& finished);

  const LogPosition& position() const { return position_; }
  uint64_t number() const { return log_chunk_of(position_.boundary); }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  void begin_chunk();

  uint32_t segment_size_;
  LogPosition position_;
  std::vector<uint8_t> bytes_;
};

}  // namespace varve::storage
