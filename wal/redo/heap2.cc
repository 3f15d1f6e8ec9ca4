// Resource manager Heap2: pruning, vacuum, freezing, the visibility map, many rows at once.
#include <string>

#include "wal/redo/heap_tuple.h"
#include "wal/redo/manager.h"
#include "wal/redo/visibility.h"

namespace varve::wal::redo {
namespace {

constexpr uint8_t kOperationMask = 0x70;
constexpr uint8_t kInitPage = 0x80;

enum Operation : uint8_t {
  kPrune = 0x10,
  kVacuum = 0x20,
  kFreezePage = 0x30,
  kVisible = 0x40,
  kMultiInsert = 0x50,
  kLockUpdated = 0x60,
};

constexpr uint8_t kAllVisibleCleared = 1;
constexpr uint8_t kAllFrozenSet = 0x20;
constexpr uint8_t kFreezeXvac = 2;
constexpr uint8_t kInvalidXvac = 4;

constexpr uint32_t kPruneSize = 8;
constexpr uint32_t kVacuumSize = 2;
constexpr uint32_t kFreezeSize = 6;
constexpr uint32_t kVisibleSize = 5;
constexpr uint32_t kMultiInsertSize = 4;  // before the offsets
constexpr uint32_t kLockUpdatedSize = 8;

// Sets the line pointers that `in` names next, `count` of them, all to `pointer`.
Status set_pointers(Reader& in, size_t count, LinePointer pointer, Page& page) {
  for (size_t i = 0; i < count; ++i) {
    const auto number = in.le<uint16_t>();
    if (!in.ok()) return corrupt("a list of items that is cut off");
    VARVE_TRY(page.check_number(number));
    page.set_pointer(number, pointer);
  }
  return Status();
}

Status redo_prune(const PageDelta& delta, Page& page) {
  VARVE_TRY(need_main_data(delta, kPruneSize));
  const auto redirected = load_le<uint16_t>(delta.main_data.data() + 4);
  const auto dead = load_le<uint16_t>(delta.main_data.data() + 6);
  Reader in(delta.data);
  for (uint32_t i = 0; i < redirected; ++i) {
    const auto from = in.le<uint16_t>();
    const auto to = in.le<uint16_t>();
    if (!in.ok()) return corrupt("a list of redirects that is cut off");
    VARVE_TRY(page.check_number(from));
    VARVE_TRY(page.check_number(to));
    page.set_pointer(from, LinePointer::make(to, LinePointer::kRedirect, 0));
  }
  VARVE_TRY(set_pointers(in, dead, LinePointer::make(0, LinePointer::kDead, 0), page));
  if (in.remaining() % 2 != 0) return corrupt("half an item number");
  VARVE_TRY(set_pointers(in, in.remaining() / 2, LinePointer{}, page));
  return page.repair_fragmentation();
}

Status redo_vacuum(const PageDelta& delta, Page& page) {
  VARVE_TRY(need_main_data(delta, kVacuumSize));
  Reader in(delta.data);
  const auto count = load_le<uint16_t>(delta.main_data.data());
  for (uint32_t i = 0; i < count; ++i) {
    const auto number = in.le<uint16_t>();
    if (!in.ok()) return corrupt("a list of items that is cut off");
    VARVE_TRY(page.check_number(number));
    const LinePointer old = page.pointer(number);
    if (old.state() != LinePointer::kDead || old.has_storage()) {
      return corrupt("vacuum of line pointer " + std::to_string(number) + " that is not dead");
    }
    page.set_pointer(number, LinePointer{});
  }
  page.truncate_pointers();
  return Status();
}

Status redo_freeze(const PageDelta& delta, Page& page) {
  VARVE_TRY(need_main_data(delta, kFreezeSize));
  Reader in(delta.data);
  const auto count = load_le<uint16_t>(delta.main_data.data() + 4);
  for (uint32_t i = 0; i < count; ++i) {
    const auto xmax = in.le<uint32_t>();
    const auto number = in.le<uint16_t>();
    const auto infomask2 = in.le<uint16_t>();
    const auto infomask = in.le<uint16_t>();
    const uint8_t flags = in.u8();
    in.skip(1);
    if (!in.ok()) return corrupt("a list of freezes that is cut off");
    VARVE_TRY_ASSIGN(const std::span<uint8_t> bytes, heap_tuple_at(page, number));
    HeapTuple tuple(bytes.data());
    tuple.set_xmax(xmax);
    if ((flags & kFreezeXvac) != 0) tuple.set_field3(kFrozenXid);
    if ((flags & kInvalidXvac) != 0) tuple.set_field3(0);
    tuple.set_infomask(infomask);
    tuple.set_infomask2(infomask2);
  }
  return Status();
}

Status redo_visible(const PageDelta& delta, const BlockId& id, Page& page) {
  if (delta.block_id == 1) {
    page.set_all_visible();
    return Status();
  }
  VARVE_TRY(need_main_data(delta, kVisibleSize));
  const std::optional<uint32_t> heap_block = delta.other(1);
  if (!heap_block) return corrupt("a visibility record without its heap page");
  return set_visibility_on(page.bytes(), id, *heap_block, delta.main_data[4]);
}

Status redo_multi_insert(const PageDelta& delta, const BlockId& id, Page& page) {
  VARVE_TRY(need_main_data(delta, kMultiInsertSize));
  const uint8_t flags = delta.main_data[0];
  const auto count = load_le<uint16_t>(delta.main_data.data() + 2);
  const bool init = (delta.operation & kInitPage) != 0;
  if (init != delta.will_init) return corrupt("init flags of record and block disagree");
  if (init) {
    page.init(0);
  } else {
    VARVE_TRY(need_main_data(delta, kMultiInsertSize + size_t{2} * count));
  }
  Reader in(delta.data);
  for (uint32_t i = 0; i < count; ++i) {
    const uint16_t item =
        init ? static_cast<uint16_t>(i + 1)
             : load_le<uint16_t>(delta.main_data.data() + kMultiInsertSize + 2 * i);
    in.skip(in.position() % 2);  // tuples are aligned to 2 from the start of the block's data
    const auto length = in.le<uint16_t>();
    TupleHeaderParts parts;
    parts.infomask2 = in.le<uint16_t>();
    parts.infomask = in.le<uint16_t>();
    parts.hoff = in.u8();
    const std::span<const uint8_t> body = in.bytes(length);
    if (!in.ok()) return corrupt("a list of tuples that is cut off");
    if (item > kMaxHeapTuples)
      return corrupt("item number " + std::to_string(item) + " on a heap page");
    VARVE_TRY_ASSIGN(uint8_t * place,
                     page.reserve(item, kTupleHeaderSize + length, Page::Placement::kOverwrite));
    write_tuple_header(place, parts, delta.xid, id.block, item);
    copy_to(place + kTupleHeaderSize, body);
  }
  if (!in.done()) return corrupt("bytes after the last tuple");
  if ((flags & kAllVisibleCleared) != 0) page.clear_all_visible();
  if ((flags & kAllFrozenSet) != 0) page.set_all_visible();
  return Status();
}

Status redo_lock_updated(const PageDelta& delta, Page& page) {
  VARVE_TRY(need_main_data(delta, kLockUpdatedSize));
  const uint8_t* md = delta.main_data.data();
  VARVE_TRY_ASSIGN(const std::span<uint8_t> bytes, heap_tuple_at(page, load_le<uint16_t>(md + 4)));
  HeapTuple tuple(bytes.data());
  tuple.replace_xmax_bits(md[6]);
  tuple.set_xmax(load_le<uint32_t>(md));
  return Status();
}

}  // namespace

Status heap2_redo(const PageDelta& delta, const BlockId& id, Page& page) {
  const uint8_t operation = delta.operation & kOperationMask;
  if (delta.block_id > (operation == kVisible ? 1 : 0)) return unknown_operation(delta);
  if (delta.will_init && operation != kMultiInsert &&
      !(operation == kVisible && delta.block_id == 0)) {
    return corrupt("init flag on a change of existing tuples");
  }
  // Only the map itself may be changed where there was no page.
  if (page.is_new() && operation != kMultiInsert &&
      !(operation == kVisible && delta.block_id == 0)) {
    return page.check_base();
  }
  switch (operation) {
    case kPrune:
      return redo_prune(delta, page);
    case kVacuum:
      return redo_vacuum(delta, page);
    case kFreezePage:
      return redo_freeze(delta, page);
    case kVisible:
      return redo_visible(delta, id, page);
    case kMultiInsert:
      return redo_multi_insert(delta, id, page);
    case kLockUpdated:
      return redo_lock_updated(delta, page);
    default:
      return unknown_operation(delta);
  }
}

std::optional<Needs> heap2_needs(const PageDelta& delta) {
  const uint8_t operation = delta.operation & kOperationMask;
  if (delta.block_id == 1 && operation == kVisible) return Needs{};
  if (delta.block_id != 0) return std::nullopt;
  switch (operation) {
    case kPrune:
      return Needs{.main_prefix = kPruneSize, .data = true};
    case kVacuum:
      return Needs{.main_prefix = kVacuumSize, .data = true};
    case kFreezePage:
      return Needs{.main_prefix = kFreezeSize, .data = true};
    case kVisible:
      return Needs{.main_prefix = kVisibleSize, .others = 1u << 1};
    case kMultiInsert:
      return Needs{.main_prefix = ~uint32_t{0}, .xid = true, .data = true};
    case kLockUpdated:
      return Needs{.main_prefix = kLockUpdatedSize};
    default:
      return std::nullopt;
  }
}

bool heap2_keeps_lsn(const PageDelta& delta, const ClusterFacts& facts) {
  return !delta.image && (delta.operation & kOperationMask) == kVisible && delta.block_id == 1 &&
         !facts.hint_bits_logged;
}

}  // namespace varve::wal::redo
