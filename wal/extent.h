// The one definition of where a record begins and ends, for all rooms.
//
// A record's extent is [start, end): start is the first byte of its header, end the 8-aligned
// position after its last byte. A switch record extends to the end of the segment that holds its
// last byte: the zeros in between are part of it, and it is complete only when they are there.
//
// A boundary is a position between two records. It is always written in END FORM: when a record
// ends on a page edge the boundary is the edge. START FORM is where the next record's first byte
// goes: the same, but behind the page header if the boundary is an edge. Two rooms that mixed the
// forms would wait for each other for ever, so start form exists only while a record is written or
// read.
#pragma once

#include <cstdint>

#include "base/lsn.h"

namespace varve::wal {

// Where the first byte of a record goes that follows the boundary `lsn`. Idempotent.
Lsn to_start_form(Lsn lsn, uint32_t segment_size);

// The boundary that `lsn` means when it may be in either form. Idempotent. A record can't end
// directly behind a page header, so that position is never ambiguous.
Lsn to_end_form(Lsn lsn, uint32_t segment_size);

// The greatest position <= `lsn` that can be a boundary by its shape: 8-aligned, outside page
// headers, in end form. For every LSN that comes from outside; whether a record really ends there
// only a decoder can tell.
Lsn normalise(Lsn lsn, uint32_t segment_size);

// True when `lsn` is its own normal form.
bool can_be_boundary(Lsn lsn, uint32_t segment_size);

// The extent of a record of `total_length` bytes whose first byte lies at `start` (either form is
// understood; the result has start form in `start` and end form in `end`). Invariants: start is
// 8-aligned and not inside a page header, total_length > 0.
LsnRange record_extent(Lsn start, uint64_t total_length, bool is_switch, uint32_t segment_size);

// Record bytes (not page headers) in [from, to). Invariant: from <= to, neither inside a page
// header.
uint64_t record_bytes_between(Lsn from, Lsn to, uint32_t segment_size);

}  // namespace varve::wal
