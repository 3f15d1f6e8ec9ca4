// One record's bytes, without the pages around them, to a Record.
//
// Every length, id and flag is checked against the bytes that are there; whatever the input, the
// result is a Record whose spans lie inside `raw` or a Status, never a crash.
#pragma once

#include <cstdint>
#include <span>

#include "base/codec.h"
#include "base/lsn.h"
#include "base/status.h"
#include "wal/record.h"
#include "wal/version.h"

namespace varve::wal {

inline constexpr uint32_t kRecordHeaderSize = 24;
inline constexpr uint8_t kMaxBlockId = 32;

// xl_info of XLOG records that the container itself depends on.
inline constexpr uint8_t kXlogSwitch = 0x40;
inline constexpr uint8_t kXlogOverwriteContinuation = 0xD0;

// The checksum that a record must carry: body first, then the header up to its checksum.
// Invariant: raw.size() >= kRecordHeaderSize.
uint32_t record_checksum(std::span<const uint8_t> raw);

// Whether the first 24 bytes of a record are possible by themselves: length within the version's
// limit, resource manager, reserved bits, a switch record's length.
inline bool record_header_is_possible(const Version& version, const uint8_t* header) {
  const uint32_t length = load_le<uint32_t>(header);
  const uint32_t word = load_le<uint32_t>(header + 16);  // info, rmid, two zero bytes
  const uint8_t rmid = static_cast<uint8_t>(word >> 8);
  const bool known_manager =
      rmid <= static_cast<uint8_t>(Rmgr::kLogicalMessage) || (rmid >= 128 && version.major >= 15);
  return length >= kRecordHeaderSize && length <= version.max_record_length && known_manager &&
         (word & 0xFFFF000C) == 0 &&
         ((word & 0xFFF0) != kXlogSwitch || length == kRecordHeaderSize);
}

// kCorrupt with `start` and what is wrong with a header that is not possible.
Status check_record_header(const Version& version, Lsn start, std::span<const uint8_t> header);

// Fills all of `record` from `raw`, which must be exactly one record; reuses the capacity of
// record.blocks, so that a reused Record costs no allocation. Checks header, checksum and body. The
// caller gives `start` and `end` (see extent.h); they go into the record and into errors, and
// aren't checked.
Status decode_record(const Version& version, Lsn start, Lsn end, std::span<const uint8_t> raw,
                     Record& record);

// The same for bytes whose header and checksum were checked already: the body only.
Status decode_checked_record(const Version& version, Lsn start, Lsn end,
                             std::span<const uint8_t> raw, Record& record);

// Fills the header fields, `start`, `end` and `raw`; leaves blocks, main_data, origin and
// toplevel_xid empty. Invariant: raw.size() >= kRecordHeaderSize.
void decode_header_only(Lsn start, Lsn end, std::span<const uint8_t> raw, Record& record);

}  // namespace varve::wal
