// The container of the log: 8 KiB pages with a header each, in segment files of a power of two of
// bytes.
//
// The first page of a segment carries a long header that names the cluster, every other page a
// short one. Page headers are under no checksum; what is checked here and in the decoder is all the
// protection they have.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/lsn.h"
#include "base/status.h"
#include "wal/version.h"

namespace varve::wal {

inline constexpr uint32_t kShortHeaderSize = 24;
inline constexpr uint32_t kLongHeaderSize = 40;
inline constexpr uint32_t kMinSegmentSize = 1u << 20;
inline constexpr uint32_t kMaxSegmentSize = 1u << 30;
inline constexpr uint32_t kDefaultSegmentSize = 16u << 20;

// Bits of the page header's info field.
inline constexpr uint16_t kPageFirstIsContinuation = 0x0001;  // starts inside a record
inline constexpr uint16_t kPageLongHeader = 0x0002;
inline constexpr uint16_t kPageBlocksRemovable = 0x0004;  // of interest to nobody here
inline constexpr uint16_t kPageFirstIsOverwrite =
    0x0008;  // the record that was due here was given up
inline constexpr uint16_t kPageKnownFlags = 0x000F;

// What every page of one log has in common.
struct LogIdentity {
  const Version* version = nullptr;  // never null in use
  uint64_t system_id = 0;
  uint32_t segment_size = kDefaultSegmentSize;
  uint32_t timeline = 1;  // Postgres' timeline number, not ours

  bool operator==(const LogIdentity&) const = default;
};

struct PageHeader {
  uint16_t magic = 0;
  uint16_t info = 0;
  uint32_t timeline = 0;
  Lsn address;
  uint32_t remaining_length = 0;  // of the record that continues here; 0 when none does
  // The rest only when `info` has kPageLongHeader.
  uint64_t system_id = 0;
  uint32_t segment_size = 0;
  uint32_t page_size = 0;

  bool is_long() const { return (info & kPageLongHeader) != 0; }
};

// A power of two from 1 MiB to 1 GiB.
constexpr bool valid_segment_size(uint64_t size) {
  return size >= kMinSegmentSize && size <= kMaxSegmentSize && (size & (size - 1)) == 0;
}

// Bytes of the header of the page that holds `lsn`. Invariant: valid_segment_size(segment_size).
constexpr uint32_t page_header_size(Lsn lsn, uint32_t segment_size) {
  return (lsn.value & (segment_size - 1) & ~uint64_t{kWalPageSize - 1}) == 0 ? kLongHeaderSize
                                                                             : kShortHeaderSize;
}

// Reads a header from the start of a page: 24 bytes, or 40 when its info says "long". Checks
// nothing but that there are enough bytes; nullopt when there are not.
std::optional<PageHeader> read_page_header(std::span<const uint8_t> page);

// Writes page_header_size(address) bytes for the page at `address`. `info` gains kPageLongHeader
// where the place asks for it. Invariants: address is a page start; `out` has room.
void write_page_header(const LogIdentity& identity, Lsn address, uint16_t info,
                       uint32_t remaining_length, std::span<uint8_t> out);

// Checks what holds on every page of the log whatever it contains: magic, known info bits, header
// form, address, and in a long header cluster and sizes. The timeline is the caller's to check,
// because it may change along a log. kCorrupt with the page's LSN; kUnsupported when the magic is
// another major version's.
Status check_page_header(const LogIdentity& identity, Lsn address, const PageHeader& header);

// What a log says about itself in the long header at the start of a segment. `timeline` is that
// page's, which may be older than the segment file's name says. kCorrupt when the bytes are no long
// header, kUnsupported when it is of a version that is not known or of pages that are not 8 KiB.
Result<LogIdentity> identity_of_segment(std::span<const uint8_t> segment_start);

// A segment file: timeline and number, where number * segment_size is its first LSN.
struct SegmentName {
  uint32_t timeline = 0;
  uint64_t number = 0;
  bool operator==(const SegmentName&) const = default;
};

// "000000010000000000000001": timeline, then the number's two halves in units of 4 GiB.
std::string segment_file_name(SegmentName segment, uint32_t segment_size);
// Exactly what segment_file_name writes; nullopt for anything else, "….partial" included.
std::optional<SegmentName> parse_segment_file_name(std::string_view name, uint32_t segment_size);

}  // namespace varve::wal
