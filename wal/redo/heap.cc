// Resource manager Heap: rows inserted, deleted, updated, locked (rules of heapam's redo; record
// layouts in src/include/access/heapam_xlog.h).
#include <cstring>
#include <string>

#include "wal/redo/heap_tuple.h"
#include "wal/redo/manager.h"

namespace varve::wal::redo {
namespace {

constexpr uint8_t kOperationMask = 0x70;
constexpr uint8_t kInitPage = 0x80;

enum Operation : uint8_t {
  kInsert = 0x00,
  kDelete = 0x10,
  kUpdate = 0x20,
  kConfirm = 0x50,
  kHotUpdate = 0x40,
  kLock = 0x60,
  kInplace = 0x70,
};

// Flags of insert and delete records; update has one for each page.
constexpr uint8_t kAllVisibleCleared = 1;
constexpr uint8_t kNewAllVisibleCleared = 2;
constexpr uint8_t kDeleteSuper = 8;
constexpr uint8_t kDeletePartitionMove = 16;
constexpr uint8_t kPrefixFromOld = 0x20;
constexpr uint8_t kSuffixFromOld = 0x40;

constexpr uint32_t kInsertSize = 3;
constexpr uint32_t kDeleteSize = 8;
constexpr uint32_t kUpdateSize = 14;
constexpr uint32_t kConfirmSize = 2;
constexpr uint32_t kLockSize = 8;
constexpr uint32_t kInplaceSize = 2;

// The record says twice whether it builds the page; both must agree, or storage's chain would.
Status prepare(const PageDelta& delta, bool init, Page& page) {
  if (init != delta.will_init) return corrupt("init flags of record and block disagree");
  if (init) page.init(0);
  return Status();
}

Result<uint8_t*> reserve_tuple(Page& page, uint16_t item, size_t size) {
  if (item > kMaxHeapTuples)
    return corrupt("item number " + std::to_string(item) + " on a heap page");
  return page.reserve(item, static_cast<uint32_t>(size), Page::Placement::kOverwrite);
}

TupleHeaderParts read_parts(Reader& in) {
  TupleHeaderParts parts;
  parts.infomask2 = in.le<uint16_t>();
  parts.infomask = in.le<uint16_t>();
  parts.hoff = in.u8();
  return parts;
}

Status redo_insert(const PageDelta& delta, const BlockId& id, Page& page) {
  VARVE_TRY(need_main_data(delta, kInsertSize));
  VARVE_TRY(prepare(delta, (delta.operation & kInitPage) != 0, page));
  const auto item = load_le<uint16_t>(delta.main_data.data());
  Reader in(delta.data);
  const TupleHeaderParts parts = read_parts(in);
  if (!in.ok()) return corrupt("a tuple without header");
  const std::span<const uint8_t> body = in.rest();
  VARVE_TRY_ASSIGN(uint8_t * place, reserve_tuple(page, item, kTupleHeaderSize + body.size()));
  write_tuple_header(place, parts, delta.xid, id.block, item);
  copy_to(place + kTupleHeaderSize, body);
  if ((delta.main_data[2] & kAllVisibleCleared) != 0) page.clear_all_visible();
  return Status();
}

Status redo_delete(const PageDelta& delta, const BlockId& id, Page& page) {
  VARVE_TRY(need_main_data(delta, kDeleteSize));
  const uint8_t* md = delta.main_data.data();
  const auto item = load_le<uint16_t>(md + 4);
  const uint8_t flags = md[7];
  VARVE_TRY_ASSIGN(const std::span<uint8_t> bytes, heap_tuple_at(page, item));
  HeapTuple tuple(bytes.data());
  tuple.replace_xmax_bits(md[6]);
  tuple.set_hot_updated(false);
  if ((flags & kDeleteSuper) != 0) {
    tuple.set_xmin(0);
  } else {
    tuple.set_xmax(load_le<uint32_t>(md));
  }
  tuple.reset_command();
  page.set_prunable(delta.xid);
  if ((flags & kAllVisibleCleared) != 0) page.clear_all_visible();
  if ((flags & kDeletePartitionMove) != 0) {
    tuple.set_ctid(kMovedPartitionsBlock, kMovedPartitionsItem);
  } else {
    tuple.set_ctid(id.block, item);
  }
  return Status();
}

struct Update {
  uint32_t old_xmax;
  uint16_t old_item;
  uint8_t old_infobits;
  uint8_t flags;
  uint32_t new_xmax;
  uint16_t new_item;
};

Update read_update(const uint8_t* md) {
  return {load_le<uint32_t>(md),     load_le<uint16_t>(md + 4), md[6], md[7],
          load_le<uint32_t>(md + 8), load_le<uint16_t>(md + 12)};
}

// Marks the old tuple as updated to (new_block, new item) and answers its bytes.
Result<std::span<uint8_t>> update_old(const PageDelta& delta, const Update& update,
                                      uint32_t new_block, Page& page) {
  VARVE_TRY_ASSIGN(const std::span<uint8_t> bytes, heap_tuple_at(page, update.old_item));
  HeapTuple tuple(bytes.data());
  tuple.replace_xmax_bits(update.old_infobits);
  tuple.set_hot_updated((delta.operation & kOperationMask) == kHotUpdate);
  tuple.set_xmax(update.old_xmax);
  tuple.reset_command();
  tuple.set_ctid(new_block, update.new_item);
  page.set_prunable(delta.xid);
  if ((update.flags & kAllVisibleCleared) != 0) page.clear_all_visible();
  return bytes;
}

// Adds the new tuple. `old` is the old tuple when it lies on this page, else empty: only then may
// the record leave out the bytes that both share at the beginning and the end of the user data.
Status update_new(const PageDelta& delta, const BlockId& id, const Update& update,
                  std::span<const uint8_t> old, Page& page) {
  Reader in(delta.data);
  const uint32_t prefix = (update.flags & kPrefixFromOld) != 0 ? in.le<uint16_t>() : 0;
  const uint32_t suffix = (update.flags & kSuffixFromOld) != 0 ? in.le<uint16_t>() : 0;
  const TupleHeaderParts parts = read_parts(in);
  if (!in.ok()) return corrupt("a tuple without header");
  if (old.empty() && (update.flags & (kPrefixFromOld | kSuffixFromOld)) != 0) {
    return corrupt("a tuple that refers to an old one on another page");
  }
  // With a prefix the null bitmap stands before it and always comes from the record.
  std::span<const uint8_t> before_prefix;
  std::span<const uint8_t> shared_prefix;
  if (prefix > 0) {
    if (parts.hoff < kTupleHeaderSize) return corrupt("t_hoff inside of the tuple header");
    before_prefix = in.bytes(parts.hoff - kTupleHeaderSize);
    const uint8_t old_hoff = old[22];
    if (!in.ok() || old_hoff + prefix > old.size())
      return corrupt("a prefix longer than its tuple");
    shared_prefix = old.subspan(old_hoff, prefix);
  }
  if (suffix > old.size()) return corrupt("a suffix longer than its tuple");
  const std::span<const uint8_t> shared_suffix = old.last(suffix);
  const std::span<const uint8_t> own = in.rest();

  const size_t size = kTupleHeaderSize + before_prefix.size() + prefix + own.size() + suffix;
  VARVE_TRY_ASSIGN(uint8_t * place, reserve_tuple(page, update.new_item, size));
  write_tuple_header(place, parts, delta.xid, id.block, update.new_item);
  HeapTuple(place).set_xmax(update.new_xmax);
  place += kTupleHeaderSize;
  for (const std::span<const uint8_t> piece : {before_prefix, shared_prefix, own, shared_suffix}) {
    // The old tuple lies in [upper, special) of before; the new one below it, unless the page is
    // corrupt.
    if (!piece.empty()) std::memmove(place, piece.data(), piece.size());
    place += piece.size();
  }
  if ((update.flags & kNewAllVisibleCleared) != 0) page.clear_all_visible();
  return Status();
}

Status redo_update(const PageDelta& delta, const BlockId& id, Page& page) {
  VARVE_TRY(need_main_data(delta, kUpdateSize));
  const Update update = read_update(delta.main_data.data());
  if (delta.block_id == 1) {
    const std::optional<uint32_t> new_block = delta.other(0);
    if (!new_block) return corrupt("an update without its new page");
    if (delta.will_init) return corrupt("init flag on an update's old page");
    return update_old(delta, update, *new_block, page).status();
  }
  const bool same_page = !delta.other(1).has_value();
  if (same_page && (delta.operation & kInitPage) != 0) {
    return corrupt("an update that initialises the page of its old tuple");
  }
  VARVE_TRY(prepare(delta, (delta.operation & kInitPage) != 0, page));
  std::span<const uint8_t> old;
  if (same_page) {
    VARVE_TRY_ASSIGN(old, update_old(delta, update, id.block, page));
  }
  return update_new(delta, id, update, old, page);
}

Status redo_confirm(const PageDelta& delta, const BlockId& id, Page& page) {
  VARVE_TRY(need_main_data(delta, kConfirmSize));
  const auto item = load_le<uint16_t>(delta.main_data.data());
  VARVE_TRY_ASSIGN(const std::span<uint8_t> bytes, heap_tuple_at(page, item));
  HeapTuple(bytes.data()).set_ctid(id.block, item);
  return Status();
}

Status redo_lock(const PageDelta& delta, const BlockId& id, Page& page) {
  VARVE_TRY(need_main_data(delta, kLockSize));
  const uint8_t* md = delta.main_data.data();
  const auto item = load_le<uint16_t>(md + 4);
  VARVE_TRY_ASSIGN(const std::span<uint8_t> bytes, heap_tuple_at(page, item));
  HeapTuple tuple(bytes.data());
  tuple.replace_xmax_bits(md[6]);
  if (tuple.only_locked()) {
    tuple.set_hot_updated(false);
    tuple.set_ctid(id.block, item);
  }
  tuple.set_xmax(load_le<uint32_t>(md));
  tuple.reset_command();
  return Status();
}

Status redo_inplace(const PageDelta& delta, Page& page) {
  VARVE_TRY(need_main_data(delta, kInplaceSize));
  VARVE_TRY_ASSIGN(const std::span<uint8_t> bytes,
                   heap_tuple_at(page, load_le<uint16_t>(delta.main_data.data())));
  const uint8_t hoff = HeapTuple(bytes.data()).hoff();
  if (hoff > bytes.size() || bytes.size() - hoff != delta.data.size()) {
    return corrupt("an overwrite of " + std::to_string(delta.data.size()) +
                   " bytes in a tuple of " + std::to_string(bytes.size()));
  }
  copy_to(bytes.data() + hoff, delta.data);
  return Status();
}

}  // namespace

Status heap_redo(const PageDelta& delta, const BlockId& id, Page& page) {
  const uint8_t operation = delta.operation & kOperationMask;
  const bool update = operation == kUpdate || operation == kHotUpdate;
  if (delta.block_id > (update ? 1 : 0)) return unknown_operation(delta);
  if (delta.will_init && operation != kInsert && !update) {
    return corrupt("init flag on a change of an existing tuple");
  }
  switch (operation) {
    case kInsert:
      return redo_insert(delta, id, page);
    case kDelete:
      return redo_delete(delta, id, page);
    case kUpdate:
    case kHotUpdate:
      return redo_update(delta, id, page);
    case kConfirm:
      return redo_confirm(delta, id, page);
    case kLock:
      return redo_lock(delta, id, page);
    case kInplace:
      return redo_inplace(delta, page);
    default:
      return unknown_operation(delta);
  }
}

std::optional<Needs> heap_needs(const PageDelta& delta) {
  const uint8_t operation = delta.operation & kOperationMask;
  if (delta.block_id == 1 && (operation == kUpdate || operation == kHotUpdate)) {
    return Needs{.main_prefix = kUpdateSize, .xid = true, .others = 1u << 0};
  }
  if (delta.block_id != 0) return std::nullopt;
  switch (operation) {
    case kInsert:
      return Needs{.main_prefix = kInsertSize, .xid = true, .data = true};
    case kDelete:
      return Needs{.main_prefix = kDeleteSize, .xid = true};
    case kUpdate:
    case kHotUpdate:
      return Needs{.main_prefix = kUpdateSize,
                   .xid = true,
                   .data = true,
                   .others = 1u << 1,
                   .presence_only = 1u << 1};
    case kConfirm:
      return Needs{.main_prefix = kConfirmSize};
    case kLock:
      return Needs{.main_prefix = kLockSize};
    case kInplace:
      return Needs{.main_prefix = kInplaceSize, .data = true};
    default:
      return std::nullopt;
  }
}

}  // namespace varve::wal::redo
