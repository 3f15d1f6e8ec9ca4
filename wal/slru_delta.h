// What one page of a status file needs from one record: the form in which a store keeps it with the
// page.
//
// A commit with many subtransactions touches many pages; keeping its whole record with each would
// be quadratic. So an effect is split, once, into a few bytes for each page;
// docs/formats/slru-delta.md has the form. Deltas of different pages commute; applying one twice
// changes nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "wal/effects.h"
#include "wal/slru.h"

namespace varve::wal {

struct SlruDelta {
  SlruPage page;
  std::vector<uint8_t> bytes;
};

// Appends a delta for each page that `effect` changes, each page once; nothing for effects that
// change none. Commit timestamps count only when the server keeps them. Truncations are not here:
// slru_segment_is_removed() says which segments go.
void split_slru_effect(const Effect& effect, bool track_commit_timestamp,
                       std::vector<SlruDelta>& out);

// True when the delta makes its page from nothing: no older one is needed.
bool slru_delta_starts_chain(std::span<const uint8_t> delta);

// Changes `bytes`, the page's content so far (zeros when there was none). kCorrupt with the page's
// name for bytes that are no delta of such a page, kUnsupported for a newer form; the content is
// then undefined.
Status apply_slru_delta(SlruPage page, std::span<const uint8_t> delta, SlruBytes bytes);

}  // namespace varve::wal
