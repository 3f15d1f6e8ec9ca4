// Resource manager XLOG: full page images on their own.
#include "wal/redo/manager.h"

namespace varve::wal::redo {
namespace {

constexpr uint8_t kFullImageForHint = 0xA0;
constexpr uint8_t kFullImage = 0xB0;

}  // namespace

Status xlog_redo(const PageDelta& delta, const BlockId&, Page&) {
  // With full_page_writes off a hint-bit record has no image, but the primary moved pd_lsn all the
  // same.
  if (delta.operation == kFullImageForHint && !delta.will_init) return Status();
  if (delta.operation == kFullImage) return corrupt("a full image record without its image");
  return unknown_operation(delta);
}

std::optional<Needs> xlog_needs(const PageDelta& delta) {
  if (delta.operation != kFullImageForHint) return std::nullopt;
  return Needs{};
}

bool xlog_touches(const PageDelta& delta, const BlockId& id) {
  // Pages of the free space map are not in the log but for such images, so a change to one has no
  // base.
  return delta.image.has_value() || delta.operation != kFullImageForHint || id.fork == Fork::kMain;
}

}  // namespace varve::wal::redo
