// The CheckPoint structure: the counters that a checkpoint record carries and pg_control repeats.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/lsn.h"
#include "base/status.h"
#include "wal/version.h"

namespace varve::wal {

inline constexpr size_t kCheckpointSize = 88;  // the same in Postgres 14 to 18

inline constexpr uint32_t kFirstNormalXid = 3;

// A 64-bit transaction id (epoch in the high half) from a 32-bit one near it: the smallest that is
// not more than 2^31 - 1 behind `reference`, as Postgres compares ids. Ids below kFirstNormalXid
// are special and belong to no epoch.
constexpr bool xid_precedes(uint32_t a, uint32_t b) {
  if (a < kFirstNormalXid || b < kFirstNormalXid) return a < b;
  return static_cast<int32_t>(a - b) < 0;
}
// Multixact ids and offsets know no special values in comparisons.
constexpr bool modular_precedes(uint32_t a, uint32_t b) {
  return static_cast<int32_t>(a - b) < 0;
}

struct Checkpoint {
  Lsn redo;
  uint32_t timeline = 1;
  uint32_t previous_timeline = 1;
  bool full_page_writes = false;
  int32_t wal_level = 0;  // 17 and later; 0 before
  uint64_t next_xid = 0;  // epoch << 32 | xid
  uint32_t next_oid = 0;
  uint32_t next_multi = 0;
  uint32_t next_multi_offset = 0;
  uint32_t oldest_xid = 0;
  uint32_t oldest_xid_database = 0;
  uint32_t oldest_multi = 0;
  uint32_t oldest_multi_database = 0;
  int64_t time = 0;  // seconds since 1970
  uint32_t oldest_commit_timestamp_xid = 0;
  uint32_t newest_commit_timestamp_xid = 0;
  uint32_t oldest_active_xid = 0;  // online checkpoints only

  bool operator==(const Checkpoint&) const = default;

  // kCorrupt when there are fewer than kCheckpointSize bytes. Values are not judged.
  static Result<Checkpoint> parse(const Version& version, std::span<const uint8_t> bytes);
  std::array<uint8_t, kCheckpointSize> encode(const Version& version) const;
};

}  // namespace varve::wal
