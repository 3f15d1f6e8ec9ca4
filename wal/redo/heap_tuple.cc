#include "wal/redo/heap_tuple.h"

#include <cstring>

namespace varve::wal::redo {

void HeapTuple::replace_xmax_bits(uint8_t infobits) {
  uint16_t mask = infomask() & static_cast<uint16_t>(~(kXmaxBits | kMoved));
  uint16_t mask2 = infomask2() & static_cast<uint16_t>(~kKeysUpdated);
  if ((infobits & 1) != 0) mask |= kXmaxIsMulti;
  if ((infobits & 2) != 0) mask |= kXmaxLockOnly;
  if ((infobits & 4) != 0) mask |= kXmaxExclusiveLock;
  if ((infobits & 8) != 0) mask |= kXmaxKeyShareLock;
  if ((infobits & 16) != 0) mask2 |= kKeysUpdated;
  set_infomask(mask);
  set_infomask2(mask2);
}

Result<std::span<uint8_t>> heap_tuple_at(Page& page, uint32_t item) {
  VARVE_TRY_ASSIGN(const std::span<uint8_t> tuple, page.normal_item(item));
  if (tuple.size() < kTupleHeaderSize) {
    return corrupt("tuple " + std::to_string(item) + " of " + std::to_string(tuple.size()) +
                   " bytes");
  }
  return tuple;
}

void write_tuple_header(uint8_t* place, const TupleHeaderParts& parts, uint32_t xid, uint32_t block,
                        uint16_t item) {
  std::memset(place, 0, kTupleHeaderSize);
  HeapTuple tuple(place);
  tuple.set_infomask2(parts.infomask2);
  tuple.set_infomask(static_cast<uint16_t>(parts.infomask & ~kComboCid));
  tuple.set_hoff(parts.hoff);
  tuple.set_xmin(xid);
  tuple.set_ctid(block, item);
}

}  // namespace varve::wal::redo
