#include "compute/gate/scanner.h"

#include <utility>

#include "base/codec.h"
#include "wal/decode_record.h"
#include "wal/extent.h"
#include "wal/page.h"

namespace varve::compute {

Scanner::Scanner(const wal::LogIdentity& identity, Lsn boundary, Lsn previous, Digest digest)
    : identity_(identity),
      decoder_({.identity = identity}),
      boundary_(boundary),
      previous_(previous),
      digest_(std::move(digest)) {
  VARVE_CHECK(wal::can_be_boundary(boundary, identity.segment_size));
  VARVE_CHECK(previous < boundary);
}

LsnRange Scanner::wanted(const TailSnapshot& tail) const {
  if (tail.end <= boundary_) return {boundary_, boundary_};
  return {boundary_.page_start(), tail.end};
}

// The last non-zero word of the last write must be in what we read, unless it lies before.
Status Scanner::check_written(const TailSnapshot& tail, std::span<const uint8_t> bytes) const {
  const Lsn start = boundary_.page_start();
  if (!tail.nonzero_at.valid() || tail.nonzero_at < start) return Status();
  if (!tail.nonzero_at.aligned() || tail.nonzero_at + 8 > tail.end) {
    return Status(Code::kCorrupt, "the published last word lies outside the write")
        .with_lsn(tail.nonzero_at);
  }
  const uint64_t seen = load_le<uint64_t>(bytes.data() + (tail.nonzero_at - start));
  if (seen == tail.nonzero_value) return Status();
  return Status(Code::kCorrupt, "the last word written is not what the segment file holds")
      .with_lsn(tail.nonzero_at);
}

// Page headers are under no checksum. Their last four bytes mean nothing, so readers ignore them;
// but they travel in the extents that are proposed, and Postgres writes zeros.
Status Scanner::check_padding(LsnRange range, std::span<const uint8_t> bytes) const {
  for (Lsn page = range.start; page < range.end; page = page + kWalPageSize) {
    if (page < boundary_) continue;
    if (load_le<uint32_t>(bytes.data() + (page - range.start) + 20) == 0) continue;
    return Status(Code::kCorrupt, "a page header's padding is not zero").with_lsn(page);
  }
  return Status();
}

// A record begins at the boundary and nothing before tail.end ends it. `bytes` begin at the
// boundary's page.
Status Scanner::check_run_off(const TailSnapshot& tail, std::span<const uint8_t> bytes) const {
  const Lsn start = wal::to_start_form(boundary_, identity_.segment_size);
  if (start + wal::kRecordHeaderSize > tail.end) return Status();
  const auto record = bytes.subspan(start - boundary_.page_start());
  const uint32_t length = load_le<uint32_t>(record.data());
  const bool is_switch = record[17] == 0 && (record[16] & wal::kInfoRmgrMask) == wal::kXlogSwitch;
  const Lsn end = wal::record_extent(start, length, is_switch, identity_.segment_size).end;
  if (tail.inserted.valid() && end > tail.inserted && !is_switch) {
    return Status(Code::kCorrupt, "a record claims to end at " + end.to_string() +
                                      ", beyond what Postgres has given out")
        .with_lsn(start);
  }
  if (is_switch) {  // all of the record is here; only the zeros behind it are not
    const bool sound = wal::record_checksum(record.first(wal::kRecordHeaderSize)) ==
                       load_le<uint32_t>(record.data() + 20);
    if (sound) return Status();
    return Status(Code::kCorrupt, "a switch record fails its checksum").with_lsn(start);
  }
  // On an earlier page the next page's header has confirmed the length already.
  if (record.size() > kWalPageSize || start.page_start() + kWalPageSize != tail.end)
    return Status();
  std::vector<uint8_t> copy(record.begin(), record.end());
  for (uint32_t byte = 0; byte < 4; ++byte) {
    for (uint32_t value = 0; value < 256; ++value) {
      const uint32_t other = (length & ~(0xFFu << (8 * byte))) | value << (8 * byte);
      if (other == length || other < wal::kRecordHeaderSize || other > copy.size()) continue;
      const size_t next = (other + 7) & ~size_t{7};
      const bool followed = next + 16 > copy.size() || load_le<uint32_t>(copy.data() + next) == 0 ||
                            load_le<uint64_t>(copy.data() + next + 8) == start.value;
      if (!followed) continue;
      store_le<uint32_t>(copy.data(), other);
      const std::span<const uint8_t> candidate(copy.data(), other);
      if (wal::record_checksum(candidate) != load_le<uint32_t>(copy.data() + 20)) continue;
      return Status(Code::kCorrupt, "a record's length is damaged: its checksum is that of " +
                                        std::to_string(other) + " bytes, not of " +
                                        std::to_string(length))
          .with_lsn(start);
    }
  }
  return Status();
}

// The decoder found zeros. They are the end only as a zero length at the boundary, on a page that
// has a header: a page without one was never written by Postgres, so then we read a hole. And only
// on the last page written: Postgres writes up to the page of a position before which all is
// copied, so a place where nothing was copied yet can't have a written page behind its own. `bytes`
// begin at the boundary's page.
Status Scanner::check_end(const TailSnapshot& tail, std::span<const uint8_t> bytes) const {
  const Lsn start = wal::to_start_form(boundary_, identity_.segment_size);
  VARVE_CHECK(start < tail.end);
  if (load_le<uint16_t>(bytes.data()) == 0) {
    return Status(Code::kCorrupt, "a written page has no header").with_lsn(boundary_.page_start());
  }
  if (load_le<uint32_t>(bytes.data() + (start - boundary_.page_start())) == 0) {
    if (start.page_start() + kWalPageSize == tail.end) return Status();
    return Status(Code::kCorrupt, "zeros in front of pages that were written").with_lsn(start);
  }
  return Status(Code::kCorrupt, "a record runs into a page that has no header").with_lsn(boundary_);
}

Scan Scanner::scan(const TailSnapshot& tail, std::span<const uint8_t> bytes) {
  const LsnRange range = wanted(tail);
  VARVE_CHECK(bytes.size() == range.end - range.start);
  Scan scan;
  scan.found = {boundary_, boundary_};
  if (range.empty()) {
    scan.verdict = Verdict::kSettled;
    return scan;
  }
  scan.reason = check_padding(range, bytes);
  if (!scan.reason.ok()) return scan;
  decoder_.reset(boundary_, previous_);
  decoder_.feed(boundary_, bytes.subspan(boundary_ - range.start));
  wal::Step step = wal::Step::kNeedMore;
  for (wal::Record record; (step = decoder_.next(record)) == wal::Step::kRecord;) {
    Status digestible = digest_(record);
    if (!digestible.ok()) {
      scan.verdict = Verdict::kPoison;
      scan.reason = std::move(digestible).with_lsn(record.start);
      return scan;
    }
    boundary_ = record.end;
    previous_ = record.start;
    scan.record_ends.push_back(record.end);
    scan.record_starts.push_back(record.start);
  }
  scan.found.end = boundary_;

  scan.reason = check_written(tail, bytes.subspan(boundary_.page_start() - range.start));
  if (!scan.reason.ok()) return scan;
  switch (step) {
    case wal::Step::kNeedMore:  // all was written, or a record with a valid header runs off
      if (boundary_ < tail.end) {
        scan.reason = check_run_off(tail, bytes.subspan(boundary_.page_start() - range.start));
      }
      if (scan.reason.ok()) scan.verdict = Verdict::kSettled;
      break;
    case wal::Step::kEndOfWal:
      scan.reason = check_end(tail, bytes.subspan(boundary_.page_start() - range.start));
      if (scan.reason.ok()) scan.verdict = Verdict::kSettled;
      break;
    case wal::Step::kCorrupt:
      scan.reason = decoder_.status();
      break;
    case wal::Step::kRecord:
      VARVE_UNREACHABLE("the loop ends when there is no record");
  }
  return scan;
}

}  // namespace varve::compute
