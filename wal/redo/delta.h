// A page delta: what one page needs from one WAL record, and no more.
//
// A record of n blocks is needed by n pages, but redo in Postgres is page-local: the new bytes of a
// page depend on its old bytes, the record's main data, that block's own data and, for some types,
// the numbers of the record's other blocks. `split` keeps exactly that; storage writes its bytes
// under (page, END of the record), so that neither the page's name nor the LSN is repeated inside.
// docs/formats/page-delta.md is the layout.
//
// Three things are deltas: a block reference of a record (with or without a full image to restore),
// and the changes to visibility map pages that records imply without naming the page (wal-level:
// heap records that clear bits, relation truncation).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/lsn.h"
#include "base/status.h"
#include "wal/record.h"

namespace varve::wal::redo {

struct OtherBlock {
  uint8_t id;
  uint32_t block;
};

// Highest number of blocks a record may reference (ids 0 to 32).
inline constexpr size_t kMaxBlocks = 33;

// What a record does to a visibility map page it does not reference.
struct VisibilityChange {
  // Clears `bits` (1 all-visible, 2 all-frozen) of heap block `block`.
  struct Clear {
    uint32_t block = 0;
    uint8_t bits = 0;
    bool operator==(const Clear&) const = default;
  };
  std::array<Clear, 2> clears{};  // an update can clear two heap blocks of one map page
  uint8_t clear_count = 0;
  // Relation truncated to this many heap blocks: the bits from here on go.
  std::optional<uint32_t> truncate_to;
};

// Spans point into the record or the encoded bytes it was made from, which the holder keeps alive.
struct PageDelta {
  Lsn end;  // END of the record: the page's LSN once applied
  uint8_t rmid = 0;
  uint8_t operation = 0;   // the resource manager's own bits of xl_info
  uint8_t block_id = 0;    // which of the record's blocks this page is
  bool will_init = false;  // nothing older than this delta is needed (init or image)
  bool keep_lsn = false;   // the primary leaves pd_lsn alone for this change
  uint32_t xid = 0;
  bool has_data = false;
  std::span<const uint8_t> main_data;
  std::span<const uint8_t> data;
  std::optional<BlockImage> image;             // to be restored; consistency images are never here
  std::optional<VisibilityChange> visibility;  // then nothing else but `end` is set

  uint8_t other_count = 0;
  std::array<OtherBlock, kMaxBlocks> others;  // the first other_count are valid, ids ascending

  // The number of block `id`, if the record has that block and this page's redo may ask for it.
  std::optional<uint32_t> other(uint8_t id) const {
    for (uint8_t i = 0; i < other_count; ++i) {
      if (others[i].id == id) return others[i].block;
    }
    return std::nullopt;
  }
};

// What redo must know of the cluster at the record's position; storage tracks it by
// PARAMETER_CHANGE records and the control file.
struct ClusterFacts {
  // Data checksums or wal_log_hints: setting a visibility bit then also moves the heap page's LSN.
  bool hint_bits_logged = false;
};

// The delta of `block`, whole and uncopied: everything of the record that redo could ask for. Used
// by the oracle and by tests; storage uses split(). Nullopt when the record does nothing to this
// block (a hint-bit record without image on a page nobody logs, or a block that is only locked).
// Invariant: `block` is one of record.blocks.
std::optional<PageDelta> whole_delta(const Record& record, const BlockReference& block,
                                     const ClusterFacts& facts);

// The bytes to store for `block`, trimmed to what its redo reads and without the page's name and
// LSN; nullopt as above. kUnsupported never comes from here: a block of a resource manager that
// this build can't replay is kept whole, so that a later build can, and so that an image after it
// heals the page. kCorrupt for a record whose operation or block number its resource manager does
// not know.
Result<std::optional<std::vector<uint8_t>>> split(const Record& record, const BlockReference& block,
                                                  const ClusterFacts& facts);

// The bytes to store for a visibility map page. Invariant: it clears or truncates something.
std::vector<uint8_t> encode(const VisibilityChange& change);
// The bytes of any delta as it is. split() is this on a trimmed delta.
std::vector<uint8_t> encode(const PageDelta& delta);

// Reads what encode() wrote; `end` is the LSN it was stored under. kCorrupt for anything else,
// kUnsupported for a newer version. The answer's spans point into `bytes`.
Result<PageDelta> parse(std::span<const uint8_t> bytes, Lsn end);
// The same without moving 350 bytes about. Invariant: `delta` is fresh.
Status parse_into(std::span<const uint8_t> bytes, Lsn end, PageDelta& delta);

// Whether a chain of deltas may start here: the page is built from this delta alone. Reads two
// bytes; false for bytes that are no delta (parse() will say why).
bool will_init(std::span<const uint8_t> bytes);

}  // namespace varve::wal::redo
