#include "wal/effects_heap.h"

#include "wal/visibility.h"

namespace varve::wal {
namespace {

constexpr uint8_t kOperationMask = 0x70;  // the highest bit says "page is initialised"

constexpr uint8_t kOldCleared =
    1;  // all-visible was cleared; in updates: of the old version's page
constexpr uint8_t kNewCleared = 2;     // in updates: of the new version's page
constexpr uint8_t kFrozenCleared = 1;  // in lock records

void clear(const BlockReference* block, uint8_t bits, Reader& in, Effect& effect) {
  if (block == nullptr) return in.fail();
  auto* clears = std::get_if<VisibilityClear>(&effect);
  if (clears == nullptr) clears = &effect.emplace<VisibilityClear>();
  clears->targets[clears->count++] = {block->block.relation, block->block.block, bits};
}

// The flags byte at `offset` of the main data.
uint8_t flags_at(size_t offset, Reader& in) {
  in.skip(offset);
  return in.u8();
}

}  // namespace

bool parse_heap_effect(const Record& record, Reader& in, Effect& effect) {
  const BlockReference* block0 = record.block(0);
  switch (record.operation() & kOperationMask) {
    case 0x00:  // insert
      if ((flags_at(2, in) & kOldCleared) != 0) clear(block0, kVisibilityBits, in, effect);
      return true;
    case 0x10:  // delete
      if ((flags_at(7, in) & kOldCleared) != 0) clear(block0, kVisibilityBits, in, effect);
      return true;
    case 0x20:  // update
    case 0x40: {
      const uint8_t flags = flags_at(7, in);
      const BlockReference* old_block = record.block(1);
      // Both versions on one page: block 0 is that page.
      if (old_block == nullptr) old_block = block0;
      if ((flags & kOldCleared) != 0) clear(old_block, kVisibilityBits, in, effect);
      if ((flags & kNewCleared) != 0) clear(block0, kVisibilityBits, in, effect);
      return true;
    }
    case 0x60:  // lock
      if ((flags_at(7, in) & kFrozenCleared) != 0) clear(block0, kAllFrozen, in, effect);
      return true;
    default:
      return true;  // truncate (for logical decoding), confirm, in-place update
  }
}

bool parse_heap2_effect(const Record& record, Reader& in, Effect& effect) {
  const BlockReference* block0 = record.block(0);
  switch (record.operation() & kOperationMask) {
    case 0x50:  // insert of several
      if ((flags_at(0, in) & kOldCleared) != 0) clear(block0, kVisibilityBits, in, effect);
      return true;
    case 0x60:  // lock of an updated version
      if ((flags_at(7, in) & kFrozenCleared) != 0) clear(block0, kAllFrozen, in, effect);
      return true;
    default:
      return true;  // prune, vacuum, freeze, visible: blocks; rewrite, new cid: logical decoding
  }
}

}  // namespace varve::wal
