// A decoded WAL record: what the streaming decoder hands to redo, to ingest and to the counters of
// the forged checkpoint. All spans point into the record's own bytes, which the holder keeps alive.
//
// Offsets and flag values are Postgres' on-disk format (src/include/access/xlogrecord.h describes
// it); they are the same for majors 15 to 18 unless wal/version.h says otherwise.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/lsn.h"

namespace varve::wal {

// Names one relation's files: tablespace, database and relation file number. Database 0 means
// shared.
struct RelationId {
  uint32_t tablespace = 0;
  uint32_t database = 0;
  uint32_t relation = 0;
  constexpr auto operator<=>(const RelationId&) const = default;
  std::string to_string() const;  // "1663/5/16384"
};

enum class Fork : uint8_t { kMain = 0, kFreeSpace = 1, kVisibility = 2, kInit = 3 };

// Names one page.
struct BlockId {
  RelationId relation;
  Fork fork = Fork::kMain;
  uint32_t block = 0;
  constexpr auto operator<=>(const BlockId&) const = default;
  std::string to_string() const;  // "1663/5/16384 main block 7"
};

enum class ImageCompression : uint8_t { kNone, kPglz, kLz4, kZstd };

struct BlockImage {
  std::span<const uint8_t>
      bytes;  // as stored: compressed if `compression` says so, without the hole
  uint16_t hole_offset = 0;
  uint16_t hole_length = 0;  // bytes.size() + hole_length == 8192 when not compressed
  ImageCompression compression = ImageCompression::kNone;
  bool apply = false;  // false: present for consistency checking only, never restored
};

struct BlockReference {
  // Not defaulted: emplace_back() would then zero the whole object before it initialises the
  // members, which shows in the decoder's time.
  BlockReference() {}  // NOLINT(modernize-use-equals-default)

  uint8_t id = 0;  // 0..32, ascending in a record, gaps allowed
  BlockId block;
  bool will_init = false;  // the page is built from the record alone
  std::optional<BlockImage> image;
  bool has_data = false;
  std::span<const uint8_t> data;
};

// Resource managers with built-in redo, by Postgres' numbers (equal in 14 to 18).
enum class Rmgr : uint8_t {
  kXlog = 0,
  kTransaction = 1,
  kStorage = 2,
  kClog = 3,
  kDatabase = 4,
  kTablespace = 5,
  kMultiXact = 6,
  kRelationMap = 7,
  kStandby = 8,
  kHeap2 = 9,
  kHeap = 10,
  kBtree = 11,
  kHash = 12,
  kGin = 13,
  kGist = 14,
  kSequence = 15,
  kSpgist = 16,
  kBrin = 17,
  kCommitTimestamp = 18,
  kReplicationOrigin = 19,
  kGeneric = 20,
  kLogicalMessage = 21,
};
const char* rmgr_name(
    uint8_t rmid);  // as pg_waldump prints it: "Heap2"; "custom" above 127, "unknown" between

inline constexpr uint8_t kInfoRmgrMask = 0xF0;      // the resource manager's own bits of xl_info
inline constexpr uint8_t kInfoSpecialRelation = 1;  // changes files outside its block references
inline constexpr uint8_t kInfoConsistency = 2;      // carries images for checking

struct Record {
  Lsn start;  // of the 24-byte header; the record's name in the log
  Lsn end;    // 8-aligned, end form: a record that ends on a page edge ends at the edge
  Lsn previous;
  uint32_t total_length = 0;
  uint32_t xid = 0;
  uint8_t info = 0;
  uint8_t rmid = 0;
  uint32_t crc = 0;

  std::vector<BlockReference> blocks;
  std::span<const uint8_t> main_data;
  std::optional<uint16_t> origin;
  std::optional<uint32_t> toplevel_xid;
  std::span<const uint8_t> raw;  // header and body, contiguous, total_length bytes

  uint8_t operation() const { return info & kInfoRmgrMask; }
  bool is(Rmgr rmgr) const { return rmid == static_cast<uint8_t>(rmgr); }
  const BlockReference* block(uint8_t id) const {
    for (const BlockReference& b : blocks) {
      if (b.id == id) return &b;
    }
    return nullptr;
  }
};

}  // namespace varve::wal
