// A byte position in the write-ahead log, and the half-open range between two of them.
//
// Data is stamped with the END of its record: the 8-aligned position after the record's last byte.
// Postgres prints a position as two hexadecimal halves ("0/16B3748"); so do we.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/check.h"

namespace varve {

inline constexpr uint32_t kWalPageSize = 8192;
inline constexpr uint32_t kBlockSize = 8192;

struct Lsn {
  uint64_t value = 0;

  constexpr Lsn() = default;
  constexpr explicit Lsn(uint64_t v) : value(v) {}

  constexpr auto operator<=>(const Lsn&) const = default;

  // Zero is no position: the log of every cluster starts in its second segment.
  constexpr bool valid() const { return value != 0; }
  constexpr bool aligned() const { return (value & 7) == 0; }
  constexpr Lsn align8() const { return Lsn((value + 7) & ~uint64_t{7}); }
  constexpr Lsn operator+(uint64_t bytes) const { return Lsn(value + bytes); }
  // Bytes from `other` up to this position. Invariant: other <= *this.
  constexpr uint64_t operator-(Lsn other) const {
    VARVE_CHECK(other.value <= value);
    return value - other.value;
  }
  constexpr uint64_t segment(uint32_t segment_size) const { return value / segment_size; }
  constexpr uint32_t segment_offset(uint32_t segment_size) const {
    return static_cast<uint32_t>(value % segment_size);
  }
  constexpr uint32_t page_offset() const { return static_cast<uint32_t>(value % kWalPageSize); }
  constexpr Lsn page_start() const { return Lsn(value - value % kWalPageSize); }

  static constexpr Lsn max() { return Lsn(~uint64_t{0}); }

  // "0/16B3748".
  std::string to_string() const;
  // Accepts what to_string writes, in either letter case; nothing else.
  static std::optional<Lsn> parse(std::string_view text);
};

// [start, end).
struct LsnRange {
  Lsn start;
  Lsn end;
  constexpr auto operator<=>(const LsnRange&) const = default;
  constexpr bool empty() const { return start >= end; }
  constexpr bool contains(Lsn lsn) const { return start <= lsn && lsn < end; }
};

}  // namespace varve
