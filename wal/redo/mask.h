// What two correct versions of a page may differ in, wiped: hints that are not logged, and bytes
// nobody reads.
//
// For the oracle and for tests; no product code compares pages. These are the masks of Postgres'
// own wal_consistency_checking, but stricter where that is blind: Postgres takes all of a
// visibility map page for unused space, and forgets a heap page's all-visible flag, although both
// are logged.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/lsn.h"
#include "wal/record.h"

namespace varve::wal::redo {

// Which rules apply to a page: those of the resource manager whose record changed it last.
enum class MaskKind : uint8_t {
  kHeap,
  kBtree,
  kUnusedSpace,    // sequence, generic: the hole and nothing else
  kVisibilityMap,  // pd_lsn and checksum only
  kNothing,        // pd_lsn and checksum only, a page whose kind is not known
};

// The rules for a page of `fork` last changed by `rmid`; nullopt for one that has no native redo.
std::optional<MaskKind> mask_of(uint8_t rmid, Fork fork);

// Wipes in place. `block` is the page's number (speculative tuples point at themselves). A page
// with line pointers that lead outside of it is left half wiped: it differs from any correct one
// anyway.
void mask_page(std::span<uint8_t, kBlockSize> page, MaskKind kind, uint32_t block);

// Offset of the first byte in which two pages differ after masking, or nullopt when they are equal.
std::optional<uint32_t> first_difference(std::span<const uint8_t, kBlockSize> a,
                                         std::span<const uint8_t, kBlockSize> b, MaskKind kind,
                                         uint32_t block);

}  // namespace varve::wal::redo
