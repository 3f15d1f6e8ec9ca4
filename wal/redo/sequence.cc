// Resource manager Sequence: the page is rebuilt whole from the one tuple in the record.
#include "wal/redo/manager.h"

namespace varve::wal::redo {
namespace {

constexpr uint8_t kLog = 0x00;
constexpr uint32_t kRelationSize = 12;  // before the tuple: tablespace, database, relation
constexpr uint32_t kMagic = 0x1717;
constexpr uint32_t kSpecialSize = 4;

}  // namespace

Status sequence_redo(const PageDelta& delta, const BlockId&, Page& page) {
  if (delta.operation != kLog || delta.block_id != 0) return unknown_operation(delta);
  if (!delta.will_init) return corrupt("a sequence record that does not initialise its page");
  VARVE_TRY(need_main_data(delta, kRelationSize + 1));
  page.init(kSpecialSize);
  store_le(page.data() + page.special(), kMagic);
  return page.add(1, delta.main_data.subspan(kRelationSize), Page::Placement::kInsert);
}

std::optional<Needs> sequence_needs(const PageDelta& delta) {
  if (delta.operation != kLog || delta.block_id != 0) return std::nullopt;
  return Needs{.main_prefix = ~uint32_t{0}};
}

}  // namespace varve::wal::redo
