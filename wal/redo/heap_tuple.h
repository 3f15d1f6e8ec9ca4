// The header of a heap tuple (src/include/access/htup_details.h): 23 bytes, then the null bitmap,
// then user data from t_hoff on.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/codec.h"
#include "base/status.h"
#include "wal/redo/page.h"

namespace varve::wal::redo {

inline constexpr uint32_t kTupleHeaderSize = 23;

// t_infomask.
inline constexpr uint16_t kXmaxKeyShareLock = 0x0010;
inline constexpr uint16_t kComboCid = 0x0020;
inline constexpr uint16_t kXmaxExclusiveLock = 0x0040;
inline constexpr uint16_t kXmaxLockOnly = 0x0080;
inline constexpr uint16_t kXminCommitted = 0x0100;
inline constexpr uint16_t kXminInvalid = 0x0200;
inline constexpr uint16_t kXminFrozen = kXminCommitted | kXminInvalid;
inline constexpr uint16_t kXmaxCommitted = 0x0400;
inline constexpr uint16_t kXmaxInvalid = 0x0800;
inline constexpr uint16_t kXmaxIsMulti = 0x1000;
inline constexpr uint16_t kMoved = 0xC000;
inline constexpr uint16_t kLockMask = kXmaxKeyShareLock | kXmaxExclusiveLock;
inline constexpr uint16_t kXmaxBits =
    kXmaxCommitted | kXmaxInvalid | kXmaxIsMulti | kLockMask | kXmaxLockOnly;

// t_infomask2.
inline constexpr uint16_t kKeysUpdated = 0x2000;
inline constexpr uint16_t kHotUpdated = 0x4000;

inline constexpr uint32_t kFrozenXid = 2;
inline constexpr uint32_t kMovedPartitionsBlock = 0xFFFFFFFF;
inline constexpr uint16_t kMovedPartitionsItem = 0xFFFD;
inline constexpr uint16_t kSpeculativeItem = 0xFFFE;

class HeapTuple {
 public:
  // Invariant: at least kTupleHeaderSize bytes follow.
  explicit HeapTuple(uint8_t* header) : p_(header) {}

  void set_xmin(uint32_t xid) { store_le(p_, xid); }
  void set_xmax(uint32_t xid) { store_le(p_ + 4, xid); }
  // The field that holds a command id, or the xid of an old-style VACUUM FULL.
  void set_field3(uint32_t value) { store_le(p_ + 8, value); }
  // Redo forgets command ids: the first one, and no combination of two.
  void reset_command() {
    set_field3(0);
    set_infomask(static_cast<uint16_t>(infomask() & ~kComboCid));
  }
  void set_ctid(uint32_t block, uint16_t item) {
    store_le(p_ + 12, static_cast<uint16_t>(block >> 16));
    store_le(p_ + 14, static_cast<uint16_t>(block));
    store_le(p_ + 16, item);
  }
  uint16_t ctid_item() const { return load_le<uint16_t>(p_ + 16); }
  uint16_t infomask2() const { return load_le<uint16_t>(p_ + 18); }
  void set_infomask2(uint16_t v) { store_le(p_ + 18, v); }
  uint16_t infomask() const { return load_le<uint16_t>(p_ + 20); }
  void set_infomask(uint16_t v) { store_le(p_ + 20, v); }
  uint8_t hoff() const { return p_[22]; }
  void set_hoff(uint8_t v) { p_[22] = v; }

  // Forgets who deleted, updated or locked the tuple, then takes over the lock bits of a record
  // (1 multi, 2 lock only, 4 exclusive, 8 key share, 16 keys updated).
  void replace_xmax_bits(uint8_t infobits);
  bool only_locked() const {
    return (infomask() & kXmaxLockOnly) != 0 ||
           (infomask() & (kXmaxIsMulti | kLockMask)) == kXmaxExclusiveLock;
  }
  void set_hot_updated(bool hot) {
    set_infomask2(
        static_cast<uint16_t>(hot ? infomask2() | kHotUpdated : infomask2() & ~kHotUpdated));
  }

 private:
  uint8_t* p_;
};

// The five bytes of a tuple header that WAL carries.
struct TupleHeaderParts {
  uint16_t infomask2;
  uint16_t infomask;
  uint8_t hoff;
};

// The bytes of the tuple at `item`, long enough for its header.
Result<std::span<uint8_t>> heap_tuple_at(Page& page, uint32_t item);

// Writes the header of a new tuple: inserted by `xid`, xmax 0, ctid (block, item).
void write_tuple_header(uint8_t* place, const TupleHeaderParts& parts, uint32_t xid, uint32_t block,
                        uint16_t item);

}  // namespace varve::wal::redo
