#include "wal/extent.h"

#include "base/check.h"
#include "wal/page.h"

namespace varve::wal {
namespace {

constexpr uint64_t kFirstPageBytes = kWalPageSize - kLongHeaderSize;
constexpr uint64_t kOtherPageBytes = kWalPageSize - kShortHeaderSize;

constexpr uint64_t bytes_per_segment(uint32_t segment_size) {
  return kFirstPageBytes + (segment_size / kWalPageSize - 1) * kOtherPageBytes;
}

// Record bytes before `lsn`, counted from LSN 0. Both forms of a boundary give the same number.
uint64_t to_usable(Lsn lsn, uint32_t segment_size) {
  const uint64_t in_segment = lsn.value % segment_size;
  const uint64_t page = in_segment / kWalPageSize;
  const uint64_t in_page = in_segment % kWalPageSize;
  const uint64_t header = page == 0 ? kLongHeaderSize : kShortHeaderSize;
  VARVE_CHECK_MSG(in_page == 0 || in_page >= header, "a position inside a WAL page header");
  const uint64_t before = page == 0 ? 0 : kFirstPageBytes + (page - 1) * kOtherPageBytes;
  return lsn.value / segment_size * bytes_per_segment(segment_size) + before +
         (in_page == 0 ? 0 : in_page - header);
}

// The inverse, in end form.
Lsn from_usable(uint64_t usable, uint32_t segment_size) {
  const uint64_t per_segment = bytes_per_segment(segment_size);
  const uint64_t segment_start = usable / per_segment * segment_size;
  uint64_t rest = usable % per_segment;
  if (rest == 0) return Lsn(segment_start);
  if (rest < kFirstPageBytes) return Lsn(segment_start + kLongHeaderSize + rest);
  rest -= kFirstPageBytes;
  const uint64_t page_start = segment_start + kWalPageSize * (1 + rest / kOtherPageBytes);
  rest %= kOtherPageBytes;
  return Lsn(rest == 0 ? page_start : page_start + kShortHeaderSize + rest);
}

}  // namespace

Lsn to_start_form(Lsn lsn, uint32_t segment_size) {
  return lsn.page_offset() == 0 ? lsn + page_header_size(lsn, segment_size) : lsn;
}

Lsn to_end_form(Lsn lsn, uint32_t segment_size) {
  return lsn.page_offset() == page_header_size(lsn, segment_size) ? lsn.page_start() : lsn;
}

Lsn normalise(Lsn lsn, uint32_t segment_size) {
  const Lsn aligned(lsn.value & ~uint64_t{7});
  return aligned.page_offset() <= page_header_size(aligned, segment_size) ? aligned.page_start()
                                                                          : aligned;
}

bool can_be_boundary(Lsn lsn, uint32_t segment_size) {
  return normalise(lsn, segment_size) == lsn;
}

LsnRange record_extent(Lsn start, uint64_t total_length, bool is_switch, uint32_t segment_size) {
  VARVE_CHECK(start.aligned() && total_length > 0);
  const uint64_t last = to_usable(start, segment_size) + total_length;
  Lsn end = from_usable(last, segment_size).align8();
  if (is_switch) {
    const uint64_t mask = segment_size - 1;
    end = Lsn((end.value + mask) & ~mask);
  }
  return {to_start_form(start, segment_size), end};
}

uint64_t record_bytes_between(Lsn from, Lsn to, uint32_t segment_size) {
  const uint64_t first = to_usable(from, segment_size);
  const uint64_t last = to_usable(to, segment_size);
  VARVE_CHECK(first <= last);
  return last - first;
}

}  // namespace varve::wal
