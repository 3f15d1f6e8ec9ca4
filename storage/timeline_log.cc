#include <algorithm>

#include "base/check.h"
#include "storage/timeline.h"

namespace varve::storage {

// A chunk of this timeline's own log.
Result<LogChunk> Timeline::chunk(uint64_t number) {
  if (number == log_->number()) return LogChunk::decode(log_->bytes(), index_.cluster.segment_size);
  VARVE_TRY_ASSIGN(const std::optional<Item> item, metadata(Key::log_chunk(number), last_record()));
  if (!item) {
    return Status(Code::kCorrupt, "a piece of the log's index is missing")
        .with_object(Key::log_chunk(number).to_string());
  }
  return LogChunk::decode(item->payload, index_.cluster.segment_size);
}

Result<LogPosition> Timeline::position_at(Lsn lsn) {
  Timeline* owner = this;
  while (owner->ancestor_ != nullptr && lsn < owner->index_.start.boundary) {
    owner = owner->ancestor_;
  }
  if (lsn < owner->index_.start.boundary) {
    return Status(Code::kBelowCutoff,
                  "the history begins at " + owner->index_.start.boundary.to_string())
        .with_lsn(lsn);
  }
  if (lsn > owner->last_record()) {
    return Status(Code::kInvalid,
                  "the log is known up to " + owner->last_record().to_string() + " only")
        .with_lsn(lsn)
        .with_hint("wait until it is ingested, or give an earlier LSN");
  }
  if (lsn == owner->index_.start.boundary) return owner->index_.start;
  VARVE_TRY_ASSIGN(const LogChunk chunk, owner->chunk(log_chunk_of(lsn)));
  return chunk.at_or_before(lsn);
}

Result<Timeline::TimePosition> Timeline::position_at(WallTime time) {
  Timeline* owner = this;
  Lsn upto = last_record();
  while (owner->index_.start.newest > time) {
    if (owner->ancestor_ == nullptr) {
      return Status(Code::kBelowCutoff, "the history begins after that time");
    }
    upto = owner->index_.start.boundary;
    owner = owner->ancestor_;
  }
  // The last chunk that begins with nothing later than `time` holds the first that is, if any does.
  uint64_t low = log_chunk_of(owner->index_.start.boundary);
  uint64_t high = log_chunk_of(upto);
  while (low < high) {
    const uint64_t middle = low + (high - low + 1) / 2;
    VARVE_TRY_ASSIGN(const LogChunk chunk, owner->chunk(middle));
    if (chunk.before.newest <= time) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  VARVE_TRY_ASSIGN(const LogChunk chunk, owner->chunk(low));
  LogPosition position = chunk.before;
  for (const LogPosition& end : chunk.ends) {
    if (end.boundary > upto) break;
    if (end.newest > time) return TimePosition{position, false};
    position = end;
  }
  return TimePosition{position, true};
}

}  // namespace varve::storage
