// Inside of wal/redo: the table of resource managers and what each one's file gives to it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/status.h"
#include "wal/record.h"
#include "wal/redo/delta.h"
#include "wal/redo/page.h"

namespace varve::wal::redo {

// Which parts of a record one page's redo reads. A bit of `others` is a block id (0 to 32).
struct Needs {
  uint32_t main_prefix = 0;  // bytes of main data, from its beginning
  bool xid = false;
  bool data = false;
  uint64_t others = 0;
  uint64_t presence_only = 0;  // of `others`: whether the block exists matters, its number does not

  static constexpr Needs everything() { return {~uint32_t{0}, true, true, ~uint64_t{0}, 0}; }
};

// One resource manager. A null function is a resource manager without that concern.
struct Manager {
  const char* name;
  // Applies a delta without image. On entry the page passed check_base(), or is all zeros and the
  // delta may build it (will_init, or a visibility map page). On return redo sets the LSN. Null:
  // not supported.
  Status (*redo)(const PageDelta& delta, const BlockId& id, Page& page) = nullptr;
  // What redo() reads for this block; nullopt for an operation or block id it does not know.
  std::optional<Needs> (*needs)(const PageDelta& delta) = nullptr;
  // False when the record leaves this page as it is.
  bool (*touches)(const PageDelta& delta, const BlockId& id) = nullptr;
  // True when the primary does not move pd_lsn for this change.
  bool (*keeps_lsn)(const PageDelta& delta, const ClusterFacts& facts) = nullptr;
  // Some types change a page after its image was restored.
  Status (*after_image)(const PageDelta& delta, Page& page) = nullptr;
  Needs (*after_image_needs)(const PageDelta& delta) = nullptr;
};

// The entry of `rmid`; one without redo for every number that is not replayed here.
const Manager& manager_of(uint8_t rmid);

// kCorrupt: the resource manager has no such operation, or no such block in it.
Status unknown_operation(const PageDelta& delta);
// Adds page, record type and LSN to an error.
Status located(Status status, const BlockId& id, const PageDelta& delta);

// kCorrupt unless the main data has at least `size` bytes.
Status need_main_data(const PageDelta& delta, size_t size);

Status heap_redo(const PageDelta& delta, const BlockId& id, Page& page);
std::optional<Needs> heap_needs(const PageDelta& delta);

Status heap2_redo(const PageDelta& delta, const BlockId& id, Page& page);
std::optional<Needs> heap2_needs(const PageDelta& delta);
bool heap2_keeps_lsn(const PageDelta& delta, const ClusterFacts& facts);

Status btree_redo(const PageDelta& delta, const BlockId& id, Page& page);
std::optional<Needs> btree_needs(const PageDelta& delta);

Status sequence_redo(const PageDelta& delta, const BlockId& id, Page& page);
std::optional<Needs> sequence_needs(const PageDelta& delta);

Status generic_redo(const PageDelta& delta, const BlockId& id, Page& page);
std::optional<Needs> generic_needs(const PageDelta& delta);

Status xlog_redo(const PageDelta& delta, const BlockId& id, Page& page);
std::optional<Needs> xlog_needs(const PageDelta& delta);
bool xlog_touches(const PageDelta& delta, const BlockId& id);

Status hash_after_image(const PageDelta& delta, Page& page);
Needs hash_after_image_needs(const PageDelta& delta);
Status gist_after_image(const PageDelta& delta, Page& page);
Needs gist_after_image_needs(const PageDelta& delta);

}  // namespace varve::wal::redo
