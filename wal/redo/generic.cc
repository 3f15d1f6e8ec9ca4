// Resource manager Generic: changed byte ranges of a page of any kind, as extensions log them.
#include <cstring>
#include <string>

#include "wal/redo/manager.h"

namespace varve::wal::redo {

Status generic_redo(const PageDelta& delta, const BlockId&, Page& page) {
  if (delta.will_init)
    return corrupt("a generic record that initialises its page without an image");
  Reader in(delta.data);
  while (in.remaining() > 0) {
    const auto offset = in.le<uint16_t>();
    const auto length = in.le<uint16_t>();
    const std::span<const uint8_t> bytes = in.bytes(length);
    if (!in.ok() || offset + size_t{length} > kBlockSize) {
      return corrupt("a range of " + std::to_string(length) + " bytes at " +
                     std::to_string(offset));
    }
    copy_to(page.data() + offset, bytes);
  }
  // The ranges say nothing of the hole, which the primary zeroes before it compares old and new.
  VARVE_TRY(page.check_base());
  std::memset(page.data() + page.lower(), 0, page.upper() - page.lower());
  return Status();
}

std::optional<Needs> generic_needs(const PageDelta&) {
  return Needs{.data = true};
}

}  // namespace varve::wal::redo
