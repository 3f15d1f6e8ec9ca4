// What hash and gist records do to a page after its full image was restored: their image is taken
// before the special space gets its last change. Each is idempotent.
#include "wal/redo/manager.h"

namespace varve::wal::redo {
namespace {

constexpr uint32_t kSpecialSize = 16;  // of both methods

constexpr uint8_t kHashSplitAllocate = 0x40;
constexpr uint8_t kHashSplitComplete = 0x60;
constexpr uint8_t kGistPageUpdate = 0x00;
constexpr uint8_t kGistPageSplit = 0x30;
constexpr uint16_t kGistFollowRight = 8;

Result<uint8_t*> special_space(Page& page) {
  VARVE_TRY(page.check_base());
  if (page.special() != kBlockSize - kSpecialSize) {
    return corrupt("special space at " + std::to_string(page.special()));
  }
  return page.data() + page.special();
}

bool gist_clears_follow_right(const PageDelta& delta) {
  return (delta.operation == kGistPageUpdate && delta.block_id == 1) ||
         (delta.operation == kGistPageSplit && delta.block_id == 0);
}

}  // namespace

// Special space of hash pages: prev, next, bucket (u32 each), flags u16.
Status hash_after_image(const PageDelta& delta, Page& page) {
  const bool allocate = delta.operation == kHashSplitAllocate && delta.block_id == 0;
  const bool complete = delta.operation == kHashSplitComplete && delta.block_id <= 1;
  if (!allocate && !complete) return Status();
  VARVE_TRY_ASSIGN(uint8_t * special, special_space(page));
  VARVE_TRY(need_main_data(delta, hash_after_image_needs(delta).main_prefix));
  const uint8_t* md = delta.main_data.data();
  if (allocate) {
    store_le(special, load_le<uint32_t>(md));
    store_le(special + 12, load_le<uint16_t>(md + 4));
  } else {
    store_le(special + 12, load_le<uint16_t>(md + 2 * delta.block_id));
  }
  return Status();
}

Needs hash_after_image_needs(const PageDelta& delta) {
  if (delta.operation == kHashSplitAllocate && delta.block_id == 0) return Needs{.main_prefix = 6};
  if (delta.operation == kHashSplitComplete && delta.block_id <= 1) return Needs{.main_prefix = 4};
  return Needs{};
}

// Special space of gist pages: NSN (high half, low half), right link u32, flags u16.
Status gist_after_image(const PageDelta& delta, Page& page) {
  if (!gist_clears_follow_right(delta)) return Status();
  VARVE_TRY_ASSIGN(uint8_t * special, special_space(page));
  store_le(special, static_cast<uint32_t>(delta.end.value >> 32));
  store_le(special + 4, static_cast<uint32_t>(delta.end.value));
  store_le(special + 12,
           static_cast<uint16_t>(load_le<uint16_t>(special + 12) & ~kGistFollowRight));
  return Status();
}

Needs gist_after_image_needs(const PageDelta&) {
  return Needs{};
}

}  // namespace varve::wal::redo
