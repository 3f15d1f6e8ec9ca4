#include "storage/log_chunk.h"

#include <algorithm>

#include "base/check.h"
#include "base/codec.h"
#include "storage/format/layout.h"
#include "wal/extent.h"

namespace varve::storage {
namespace {

constexpr uint64_t kLater = 1;
constexpr uint64_t kIrregular = 2;

}  // namespace

Result<LogChunk> LogChunk::decode(std::span<const uint8_t> bytes, uint32_t segment_size) {
  LogChunk chunk;
  Reader in(bytes);
  chunk.before.boundary = Lsn(in.le<uint64_t>());
  chunk.before.previous = Lsn(in.le<uint64_t>());
  chunk.before.newest = WallTime{in.le<int64_t>()};
  LogPosition at = chunk.before;
  while (in.ok() && in.remaining() > 0) {
    const uint64_t word = take_varint(in);
    const uint64_t length = word >> 2 << 3;
    if (length == 0) in.fail();
    at.previous = (word & kIrregular) != 0 ? at.boundary + take_varint(in)
                                           : wal::to_start_form(at.boundary, segment_size);
    at.boundary = at.boundary + length;
    if ((word & kLater) != 0) {
      at.newest.microseconds =
          static_cast<int64_t>(static_cast<uint64_t>(at.newest.microseconds) + take_varint(in));
    }
    chunk.ends.push_back(at);
  }
  if (!in.ok()) return Status(Code::kCorrupt, "a chunk of the log's index is not one");
  return chunk;
}

const LogPosition& LogChunk::at_or_before(Lsn lsn) const {
  VARVE_CHECK(before.boundary <= lsn);
  const auto after = std::ranges::upper_bound(ends, lsn, {}, &LogPosition::boundary);
  return after == ends.begin() ? before : *std::prev(after);
}

LogChunkWriter::LogChunkWriter(uint32_t segment_size, const LogPosition& position)
    : segment_size_(segment_size), position_(position) {
  begin_chunk();
}

Result<LogChunkWriter> LogChunkWriter::resume(uint32_t segment_size,
                                              std::span<const uint8_t> current) {
  VARVE_TRY_ASSIGN(const LogChunk chunk, LogChunk::decode(current, segment_size));
  LogChunkWriter writer(segment_size, chunk.ends.empty() ? chunk.before : chunk.ends.back());
  writer.bytes_.assign(current.begin(), current.end());
  return writer;
}

void LogChunkWriter::begin_chunk() {
  Writer out;
  out.le<uint64_t>(position_.boundary.value);
  out.le<uint64_t>(position_.previous.value);
  out.le<int64_t>(position_.newest.microseconds);
  bytes_ = out.take();
}

void LogChunkWriter::add(Lsn start, Lsn end, std::optional<WallTime> time,
                         std::vector<Finished>& finished) {
  VARVE_CHECK(position_.boundary <= start && start < end && end.aligned());
  for (uint64_t number = this->number(); number < log_chunk_of(end); ++number) {
    finished.push_back({number, std::move(bytes_)});
    begin_chunk();
  }
  uint64_t word = (end - position_.boundary) >> 3 << 2;
  const bool irregular = start != wal::to_start_form(position_.boundary, segment_size_);
  const bool later = time && *time > position_.newest;
  if (irregular) word |= kIrregular;
  if (later) word |= kLater;
  put_varint(bytes_, word);
  if (irregular) put_varint(bytes_, start - position_.boundary);
  if (later) {
    put_varint(bytes_, static_cast<uint64_t>(time->microseconds) -
                           static_cast<uint64_t>(position_.newest.microseconds));
    position_.newest = *time;
  }
  position_.boundary = end;
  position_.previous = start;
}

}  // namespace varve::storage
