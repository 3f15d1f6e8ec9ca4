// Native redo: a page, and what a WAL record does to it, become the page after it.
//
// Pure: bytes in, bytes out, no suspension, no state, about 28 KiB of stack at most. Records and
// pages may be hostile; every violation is a Status, never a crash, a loop or an access outside of
// the two inputs. Which records are replayed natively is the table in redo.cc; a page of another
// resource manager (hash, gin, gist, spgist, brin, extensions) is kUnsupported until an image heals
// it.
#pragma once

#include <cstdint>
#include <span>

#include "base/status.h"
#include "wal/record.h"
#include "wal/redo/delta.h"

namespace varve::wal::redo {

// Applies `delta` to `page` (kBlockSize bytes), which holds the version of page `id` just before
// delta.end; all zeros stand for "no version". With will_init the old bytes are not read.
// Afterwards pd_lsn is delta.end, except where the primary leaves it (visibility map clears; heap
// pages set all-visible without hint logging; images of pages that are all zeros), and pd_checksum
// is whatever it was: it belongs to who serves the page.
//
// Errors name page, record type, LSN and what is wrong, and leave `page` unspecified:
//   kCorrupt      the delta does not fit the page, or the page, or the result, is not a Postgres
//   page; also a
//                 page already at or past delta.end, since a chain applied twice or out of order is
//                 lost data
//   kUnsupported  no native redo for this resource manager
Status apply(const BlockId& id, std::span<uint8_t> page, const PageDelta& delta);

// parse() and apply().
Status apply(const BlockId& id, std::span<uint8_t> page, Lsn end, std::span<const uint8_t> bytes);

}  // namespace varve::wal::redo
