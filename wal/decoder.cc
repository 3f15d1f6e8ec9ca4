#include "wal/decoder.h"

#include <algorithm>
#include <utility>

#include "base/codec.h"
#include "wal/extent.h"

namespace varve::wal {
namespace {

bool all_zero(const uint8_t* p, size_t n) {
  uint64_t seen = 0;
  for (; n >= 8; n -= 8, p += 8) seen |= load_le<uint64_t>(p);
  for (; n > 0; --n, ++p) seen |= *p;
  return seen == 0;
}

bool is_switch(const uint8_t* header) {
  return header[17] == static_cast<uint8_t>(Rmgr::kXlog) &&
         (header[16] & kInfoRmgrMask) == kXlogSwitch;
}

constexpr uint64_t align8(uint64_t n) {
  return (n + 7) & ~uint64_t{7};
}

}  // namespace

Decoder::Decoder(const DecoderOptions& options) : options_(options) {
  VARVE_CHECK(options_.identity.version != nullptr);
  VARVE_CHECK(valid_segment_size(options_.identity.segment_size));
}

void Decoder::start_over(Lsn position) {
  cursor_ = limit_ = nullptr;
  position_ = position;
  boundary_ = previous_ = overwritten_ = Lsn();
  timeline_ = 0;
  expect_overwrite_ = false;
  partial_header_size_ = 0;
  status_ = Status();
}

void Decoder::reset(Lsn boundary, std::optional<Lsn> previous) {
  const Lsn edge = to_end_form(boundary, segment_size());
  VARVE_CHECK_MSG(can_be_boundary(edge, segment_size()), "no record can begin there");
  start_over(edge);
  boundary_ = edge;
  previous_ = previous.value_or(Lsn());
  mode_ = Mode::kBoundary;
}

void Decoder::reset_to_page(Lsn page) {
  VARVE_CHECK(page.page_offset() == 0);
  start_over(page);
  mode_ = Mode::kPageStart;
}

void Decoder::feed(Lsn at, std::span<const uint8_t> bytes) {
  VARVE_CHECK_MSG(mode_ != Mode::kNoPosition, "feed() before a reset()");
  VARVE_CHECK_MSG(cursor_ == limit_, "the last piece is not consumed");
  if (at != position_) {
    const bool start_form = mode_ == Mode::kBoundary && position_ == boundary_ &&
                            partial_header_size_ == 0 &&
                            at == to_start_form(boundary_, segment_size());
    VARVE_CHECK_MSG(start_form, "bytes that do not follow those fed before");
    position_ = at;
  }
  cursor_ = bytes.data();
  limit_ = cursor_ + bytes.size();
}

Step Decoder::next(Record& record) {
  for (;;) {
    switch (step(record)) {
      case Progress::kContinue:
        break;
      case Progress::kDelivered:
        return Step::kRecord;
      case Progress::kStarved:
        return Step::kNeedMore;
      case Progress::kEnded:
        mode_ = Mode::kEnded;
        cursor_ = limit_;
        return Step::kEndOfWal;
      case Progress::kFailed:
        mode_ = Mode::kFailed;
        cursor_ = limit_;
        return Step::kCorrupt;
    }
  }
}

Decoder::Progress Decoder::step(Record& record) {
  switch (mode_) {
    case Mode::kPageStart:
      return take_page_header();
    case Mode::kSkip:
      return at_page_header() ? take_page_header() : skip();
    case Mode::kBoundary:
      return at_page_header() ? take_page_header() : take_record(record);
    case Mode::kRecord:
      return at_page_header() ? take_page_header() : assemble();
    case Mode::kSkipPadding:
    case Mode::kPadding:
      return take_padding(record);
    case Mode::kSwitchFill:
      return take_switch_fill(record);
    case Mode::kEnded:
      return Progress::kEnded;
    case Mode::kFailed:
      return Progress::kFailed;
    case Mode::kNoPosition:
      break;
  }
  VARVE_UNREACHABLE("next() before a reset()");
}

inline bool Decoder::at_page_header() const {
  const uint32_t offset = position_.page_offset();
  return offset < kLongHeaderSize && offset < page_header_size(position_, segment_size());
}

inline size_t Decoder::fed_on_page() const {
  return std::min<size_t>(fed(), kWalPageSize - position_.page_offset());
}

// ---- Page headers ----

Decoder::Progress Decoder::take_page_header() {
  const Lsn page = position_.page_start();
  const size_t size = page_header_size(page, segment_size());
  if (partial_header_size_ == 0 && fed() >= size) {
    const std::span<const uint8_t> bytes(cursor_, size);
    advance(size);
    return enter_page(page, bytes);
  }
  const size_t count = std::min(fed(), size - partial_header_size_);
  std::copy_n(cursor_, count, partial_header_ + partial_header_size_);
  partial_header_size_ += static_cast<uint8_t>(count);
  advance(count);
  if (partial_header_size_ < size) return Progress::kStarved;
  partial_header_size_ = 0;
  return enter_page(page, {partial_header_, size});
}

Decoder::Progress Decoder::enter_page(Lsn page, std::span<const uint8_t> bytes) {
  // A page that nobody has written yet. Postgres fills new segments with zeros.
  if (all_zero(bytes.data(), bytes.size())) return Progress::kEnded;
  const std::optional<PageHeader> header = read_page_header(bytes);
  // Its size is decided by the place, so a wrong "long" bit can only ask for too much.
  if (!header.has_value()) return fail(page, "a long page header inside a segment");
  Status checked = check_page_header(options_.identity, page, *header);
  if (!checked.ok()) return fail(std::move(checked));
  const Progress timeline = check_timeline(page, header->timeline);
  return timeline == Progress::kContinue ? check_page_place(page, *header) : timeline;
}

Decoder::Progress Decoder::check_timeline(Lsn page, uint32_t timeline) {
  switch (options_.timeline_rule) {
    case TimelineRule::kExact:
      if (timeline != options_.identity.timeline)
        return fail(page, "page of timeline " + std::to_string(timeline) + ", not " +
                              std::to_string(options_.identity.timeline));
      break;
    case TimelineRule::kNonDecreasing:
      if (timeline == 0 || timeline < timeline_)
        return fail(page, "page of timeline " + std::to_string(timeline) + " after one of " +
                              std::to_string(timeline_));
      break;
  }
  timeline_ = timeline;
  return Progress::kContinue;
}

// Does the page go on with what the page before it left open?
Decoder::Progress Decoder::check_page_place(Lsn page, const PageHeader& header) {
  const bool continues = (header.info & kPageFirstIsContinuation) != 0;
  const bool overwrites = (header.info & kPageFirstIsOverwrite) != 0;
  uint64_t open = 0;  // bytes that must follow here
  switch (mode_) {
    case Mode::kPageStart:
      mode_ = continues ? Mode::kSkip : Mode::kBoundary;
      skip_left_ = header.remaining_length;
      if (!continues) boundary_ = page;
      expect_overwrite_ = overwrites;
      return Progress::kContinue;
    case Mode::kSkip:
    case Mode::kRecord:
      if (overwrites) {
        // The server stopped inside this record and, when it came back, began a new one here.
        if (mode_ == Mode::kRecord) overwritten_ = record_start_;
        if (mode_ == Mode::kSkip) boundary_ = page;
        expect_overwrite_ = true;
        mode_ = Mode::kBoundary;
        return Progress::kContinue;
      }
      open = mode_ == Mode::kSkip ? skip_left_ : record_length_ - assembly_.size();
      break;
    case Mode::kBoundary:
      // Nothing was open here, so this reader can't know which record was given up.
      if (overwrites) overwritten_ = Lsn();
      expect_overwrite_ = overwrites;
      break;
    case Mode::kSkipPadding:
    case Mode::kPadding:
    case Mode::kSwitchFill:
    case Mode::kNoPosition:
    case Mode::kEnded:
    case Mode::kFailed:
      VARVE_UNREACHABLE("no page header is expected here");
  }
  if (header.remaining_length == open) return Progress::kContinue;
  return fail(page, "page continues a record with " + std::to_string(header.remaining_length) +
                        " bytes, but " + std::to_string(open) + " are due");
}

// ---- Records ----

inline bool Decoder::header_fits(const uint8_t* header, Lsn start) const {
  const Lsn previous(load_le<uint64_t>(header + 8));
  return record_header_is_possible(*options_.identity.version, header) &&
         (previous_.valid() ? previous == previous_ : previous < start);
}

// Says why a header does not fit.
Decoder::Progress Decoder::refuse_header(const uint8_t* header, Lsn start) {
  Status checked =
      check_record_header(*options_.identity.version, start, {header, kRecordHeaderSize});
  if (!checked.ok()) return fail(std::move(checked));
  const Lsn previous(load_le<uint64_t>(header + 8));
  return fail(start, "record says it follows " + previous.to_string() + ", but " +
                         (previous_.valid() ? previous_.to_string() + " is" : "it must lie") +
                         " before it");
}

// At the first byte of a record. The common case is a record that is here completely and on one
// page.
Decoder::Progress Decoder::take_record(Record& record) {
  const size_t here = fed_on_page();
  if (here >= kRecordHeaderSize) {
    const uint64_t length = load_le<uint32_t>(cursor_);
    const uint64_t padded = align8(length);
    if (length >= kRecordHeaderSize && padded <= here && !is_switch(cursor_)) {
      const uint8_t* raw = cursor_;
      const Lsn start = position_;
      if (!header_fits(raw, start)) [[unlikely]]
        return refuse_header(raw, start);
      if (!all_zero(raw + length, padded - length)) [[unlikely]]
        return fail(start, "padding behind the record is not zero");
      advance(padded);
      return deliver({raw, length}, start, position_, record);
    }
  }
  return begin_assembly();
}

Decoder::Progress Decoder::begin_assembly() {
  if (fed() == 0) return Progress::kStarved;
  assembly_.clear();
  record_start_ = position_;
  record_length_ = 4;  // the length word first; it never straddles pages
  mode_ = Mode::kRecord;
  return Progress::kContinue;
}

// Inside a record: takes what there is of it on this page.
Decoder::Progress Decoder::assemble() {
  // Until the header is checked, only its bytes are taken, so that garbage is found before it is
  // collected.
  uint64_t target = record_length_;
  if (assembly_.size() >= 4 && assembly_.size() < kRecordHeaderSize) target = kRecordHeaderSize;
  const size_t count = std::min<uint64_t>(fed_on_page(), target - assembly_.size());
  assembly_.insert(assembly_.end(), cursor_, cursor_ + count);
  advance(count);
  if (assembly_.size() < target) return fed() == 0 ? Progress::kStarved : Progress::kContinue;

  if (target == 4) {
    record_length_ = load_le<uint32_t>(assembly_.data());
    if (record_length_ == 0) return Progress::kEnded;
    if (record_length_ < kRecordHeaderSize ||
        record_length_ > options_.identity.version->max_record_length)
      return fail(record_start_, "impossible record length " + std::to_string(record_length_));
    return Progress::kContinue;
  }
  if (target == kRecordHeaderSize) {
    if (!header_fits(assembly_.data(), record_start_))
      return refuse_header(assembly_.data(), record_start_);
  }
  if (assembly_.size() == record_length_) mode_ = Mode::kPadding;
  return Progress::kContinue;
}

Decoder::Progress Decoder::take_padding(Record& record) {
  const size_t wanted = static_cast<size_t>(position_.align8() - position_);
  const size_t count = std::min(fed(), wanted);
  if (!all_zero(cursor_, count)) return fail(position_, "padding behind a record is not zero");
  advance(count);
  if (count < wanted) return Progress::kStarved;
  if (mode_ == Mode::kSkipPadding) {
    boundary_ = position_;
    mode_ = Mode::kBoundary;
    return Progress::kContinue;
  }
  if (is_switch(assembly_.data())) {
    mode_ = Mode::kSwitchFill;
    return Progress::kContinue;
  }
  return deliver(assembly_, record_start_, position_, record);
}

Decoder::Progress Decoder::take_switch_fill(Record& record) {
  const Lsn end = record_extent(record_start_, kRecordHeaderSize, true, segment_size()).end;
  const size_t count = std::min<uint64_t>(fed(), end - position_);
  if (!all_zero(cursor_, count))
    return fail(position_, "bytes behind a segment switch are not zero");
  advance(count);
  if (position_ < end) return Progress::kStarved;
  return deliver(assembly_, record_start_, end, record);
}

Decoder::Progress Decoder::skip() {
  const size_t count = std::min<size_t>(fed_on_page(), skip_left_);
  advance(count);
  skip_left_ -= static_cast<uint32_t>(count);
  if (skip_left_ == 0)
    mode_ = Mode::kSkipPadding;
  else if (fed() == 0)
    return Progress::kStarved;
  return Progress::kContinue;
}

Decoder::Progress Decoder::deliver(std::span<const uint8_t> raw, Lsn start, Lsn end,
                                   Record& record) {
  if (record_checksum(raw) != load_le<uint32_t>(raw.data() + 20)) [[unlikely]]
    return fail(start, "checksum of the record does not match");
  if (options_.depth == Depth::kHeader && !expect_overwrite_) {
    decode_header_only(start, end, raw, record);
  } else {
    Status decoded = decode_checked_record(*options_.identity.version, start, end, raw, record);
    if (!decoded.ok()) [[unlikely]]
      return fail(std::move(decoded));
  }
  if (expect_overwrite_) [[unlikely]] {
    const Progress checked = check_overwrite(record);
    if (checked != Progress::kContinue) return checked;
    if (options_.depth == Depth::kHeader) decode_header_only(start, end, raw, record);
  }
  boundary_ = end;
  previous_ = start;
  mode_ = Mode::kBoundary;
  return Progress::kDelivered;
}

// The page said that its first record stands where another was due; that record must say so too.
Decoder::Progress Decoder::check_overwrite(const Record& record) {
  expect_overwrite_ = false;
  if (!record.is(Rmgr::kXlog) || record.operation() != kXlogOverwriteContinuation ||
      record.main_data.size() < 8)
    return fail(record.start, "page overwrites a record, but its first record does not say so");
  const Lsn named(load_le<uint64_t>(record.main_data.data()));
  const bool right = overwritten_.valid() ? named == overwritten_ : named < record.start;
  if (right) return Progress::kContinue;
  return fail(record.start, "record overwrites " + named.to_string() + ", but " +
                                (overwritten_.valid() ? overwritten_.to_string() : "nothing") +
                                " was cut off");
}

Decoder::Progress Decoder::fail(Lsn at, std::string what) {
  return fail(Status(Code::kCorrupt, "WAL: " + std::move(what)).with_lsn(at));
}

Decoder::Progress Decoder::fail(Status status) {
  status_ = std::move(status);
  return Progress::kFailed;
}

}  // namespace varve::wal
