// The streaming decoder: bytes of the log in, complete checked records out.
//
// Bytes come in order and in pieces of any size. A record that lies in one page and one piece is
// handed out where it lies; any other is put together in a buffer of the decoder. Nothing is
// trusted: page headers, lengths, the chain of previous positions, checksums, padding and the zeros
// behind a switch are checked, and the first thing that does not fit stops the decoder with a
// Status.
//
// Used to ingest, to scan a compute's log before anything is proposed, and, without decoding
// bodies, as the finder of record boundaries in consensus. Pure: no I/O, and no allocation but for
// the buffer that grows to the longest record seen. Its memory follows the bytes that came, not the
// length that a record claims.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/lsn.h"
#include "base/status.h"
#include "wal/decode_record.h"
#include "wal/page.h"
#include "wal/record.h"

namespace varve::wal {

// What next() found.
enum class Step : uint8_t {
  kRecord,    // one complete record
  kNeedMore,  // all bytes fed are consumed; feed more at fed_to()
  kEndOfWal,  // zeros where a length or a page header should be, whatever follows them; reset() to
              // go on
  kCorrupt,   // see status(); reset() to go on
};

// How much of each record to decode.
enum class Depth : uint8_t {
  kFull,
  kHeader,  // everything is checked except the structure of the body; Record has header fields and
            // `raw` only
};

// Which timeline numbers page headers may carry.
enum class TimelineRule : uint8_t {
  kExact,          // only LogIdentity::timeline
  kNonDecreasing,  // any, never falling: after a promotion segments start with a copy of their
                   // parent
};

struct DecoderOptions {
  LogIdentity identity;
  Depth depth = Depth::kFull;
  TimelineRule timeline_rule = TimelineRule::kExact;
};

class Decoder {
 public:
  // The decoder has no position until one of the resets.
  explicit Decoder(const DecoderOptions& options);

  // Forgets everything and expects bytes from `boundary` on, where a record must begin (end form or
  // start form; fed_to() is the end form). `previous` is the start of the record before it; without
  // it the first record's link need only point backwards. Invariant: a boundary can be there
  // (extent.h); a position from outside is normalised, or refused, by the caller.
  void reset(Lsn boundary, std::optional<Lsn> previous);

  // Forgets everything and expects bytes from the page start `page` on. A record that began earlier
  // is skipped. Invariant: page.page_offset() == 0.
  void reset_to_page(Lsn page);

  // Hands over bytes that begin at `at`. They must stay where they are until next() has answered
  // kNeedMore, kEndOfWal or kCorrupt. Invariants: the last piece is consumed; at == fed_to(). One
  // exception: with fed_to() a boundary on a page edge, `at` may be its start form, and the page's
  // header is then not seen.
  void feed(Lsn at, std::span<const uint8_t> bytes);

  // Goes on to the next record. `record` is overwritten, its spans are good until the next call of
  // next(), reset() or, for records that were not put together, the end of the piece's life.
  Step next(Record& record);

  // Success, or why next() answered kCorrupt: kCorrupt or kUnsupported, with the LSN of the record
  // or page.
  const Status& status() const { return status_; }

  // Where the next piece must begin: the end of all bytes fed, once they are consumed.
  Lsn fed_to() const { return position_; }

  // End of the last complete record, in end form: everything before it has been handed out. After
  // reset_to_page() it is invalid until the first boundary is found.
  Lsn boundary() const { return boundary_; }

  // Start of the last complete record, or what reset() was given.
  std::optional<Lsn> previous() const {
    return previous_.valid() ? std::optional<Lsn>(previous_) : std::nullopt;
  }

  // Bytes of an incomplete record are held back behind boundary().
  bool mid_record() const { return position_ > boundary_ && boundary_.valid(); }

  // Start of the last record that was given up in the middle and overwritten, when this reader saw
  // both.
  std::optional<Lsn> overwritten() const {
    return overwritten_.valid() ? std::optional<Lsn>(overwritten_) : std::nullopt;
  }

  const DecoderOptions& options() const { return options_; }

 private:
  enum class Mode : uint8_t {
    kNoPosition,
    kPageStart,    // after reset_to_page(): the first header says what comes
    kSkip,         // the rest of a record that began before the first page
    kSkipPadding,  // zeros between that record's end and the boundary
    kBoundary,     // a record begins here
    kRecord,       // inside a record, which is put together in assembly_
    kPadding,      // zeros between the record's last byte and its end
    kSwitchFill,   // zeros between a switch record and the end of the segment
    kEnded,
    kFailed,
  };
  // What a helper of next() says: go on with the loop, or return this.
  enum class Progress : uint8_t { kContinue, kDelivered, kStarved, kEnded, kFailed };

  uint32_t segment_size() const { return options_.identity.segment_size; }
  size_t fed() const { return static_cast<size_t>(limit_ - cursor_); }
  size_t fed_on_page() const;
  void advance(size_t count) {
    cursor_ += count;
    position_ = position_ + count;
  }
  void start_over(Lsn position);
  bool at_page_header() const;

  Progress step(Record& record);
  Progress take_page_header();
  Progress enter_page(Lsn page, std::span<const uint8_t> bytes);
  Progress check_page_place(Lsn page, const PageHeader& header);
  Progress check_timeline(Lsn page, uint32_t timeline);
  Progress take_record(Record& record);
  Progress begin_assembly();
  Progress assemble();
  Progress take_padding(Record& record);
  Progress take_switch_fill(Record& record);
  Progress skip();
  bool header_fits(const uint8_t* header, Lsn start) const;
  Progress refuse_header(const uint8_t* header, Lsn start);
  Progress deliver(std::span<const uint8_t> raw, Lsn start, Lsn end, Record& record);
  Progress check_overwrite(const Record& record);
  Progress fail(Lsn at, std::string what);
  Progress fail(Status status);

  DecoderOptions options_;
  Mode mode_ = Mode::kNoPosition;
  const uint8_t* cursor_ = nullptr;  // the next byte, at position_
  const uint8_t* limit_ = nullptr;
  Lsn position_;
  Lsn boundary_;
  Lsn previous_;
  Lsn overwritten_;
  Lsn record_start_;            // of the record being put together
  uint64_t record_length_ = 0;  // its length, or of the part of its header that is wanted first
  uint32_t skip_left_ = 0;
  uint32_t timeline_ = 0;  // of the last page header; 0 before the first
  bool expect_overwrite_ = false;
  uint8_t partial_header_size_ = 0;
  uint8_t partial_header_[kLongHeaderSize];
  std::vector<uint8_t> assembly_;
  Status status_;
};

}  // namespace varve::wal
