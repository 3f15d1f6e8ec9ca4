// The primitives that Postgres' redo is made of, on one 8 KiB data page, faithful to the bit: where
// an item is placed, in which order survivors are packed and which length a line pointer keeps
// decide whether our page equals the primary's (the facts are those of
// src/include/storage/bufpage.h and itemid.h).
//
// A page is input like any other: it may have been built from hostile WAL. So no function here
// trusts a count, offset or length on it. `check_base` establishes the header invariant (24 <=
// lower <= upper <= special <= 8192); every function below it needs that invariant, keeps it, and
// checks the rest itself: a line pointer's number against the array, its offset and length against
// [upper, special). A violation is a kCorrupt that says what; the caller adds the page and the LSN.
// After an error the page's bytes are unspecified.
//
// Nothing suspends, allocates (except for an error's text) or keeps state beside the bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/codec.h"
#include "base/lsn.h"
#include "base/status.h"

namespace varve::wal::redo {

inline constexpr uint16_t kPageHeaderSize = 24;
inline constexpr uint16_t kLinePointerSize = 4;
inline constexpr uint16_t kPageLayout =
    0x2004;  // page size 8192, layout version 4: every major since 8.3

// pd_flags.
inline constexpr uint16_t kPageHasFreeLines = 1;
inline constexpr uint16_t kPageFull = 2;
inline constexpr uint16_t kPageAllVisible = 4;
inline constexpr uint16_t kPageValidFlags = 7;

constexpr uint32_t align8(uint32_t size) {
  return (size + 7) & ~uint32_t{7};
}

// kCorrupt with `what`; redo adds the page and the LSN where they are known.
Status corrupt(std::string what);

// memcpy that takes an empty span without an address.
inline void copy_to(uint8_t* place, std::span<const uint8_t> bytes) {
  if (!bytes.empty()) std::memcpy(place, bytes.data(), bytes.size());
}

// A line pointer: 15 bits offset, 2 bits state, 15 bits length.
struct LinePointer {
  enum State : uint8_t { kUnused = 0, kNormal = 1, kRedirect = 2, kDead = 3 };

  uint32_t raw = 0;

  static constexpr LinePointer make(uint32_t offset, State state, uint32_t length) {
    return {(offset & 0x7FFF) | (static_cast<uint32_t>(state) << 15) | (length & 0x7FFF) << 17};
  }
  constexpr uint16_t offset() const { return raw & 0x7FFF; }
  constexpr State state() const { return static_cast<State>((raw >> 15) & 3); }
  constexpr uint16_t length() const { return static_cast<uint16_t>(raw >> 17); }
  constexpr bool used() const { return state() != kUnused; }
  constexpr bool has_storage() const { return length() != 0; }
  constexpr LinePointer moved_to(uint32_t offset) const {
    return {(raw & ~uint32_t{0x7FFF}) | (offset & 0x7FFF)};
  }
};

class Page {
 public:
  // A view; the caller keeps the bytes. Invariant: exactly kBlockSize bytes.
  explicit Page(std::span<uint8_t> bytes) : bytes_(bytes.data()) {
    VARVE_CHECK(bytes.size() == kBlockSize);
  }

  std::span<uint8_t, kBlockSize> bytes() {
    return std::span<uint8_t, kBlockSize>(bytes_, kBlockSize);
  }
  uint8_t* data() { return bytes_; }
  const uint8_t* data() const { return bytes_; }

  // --- header
  // -------------------------------------------------------------------------------------------
  // pd_lsn is two 32-bit halves, the high one first.
  Lsn lsn() const {
    return Lsn(uint64_t{load_le<uint32_t>(bytes_)} << 32 | load_le<uint32_t>(bytes_ + 4));
  }
  void set_lsn(Lsn lsn) {
    store_le(bytes_, static_cast<uint32_t>(lsn.value >> 32));
    store_le(bytes_ + 4, static_cast<uint32_t>(lsn.value));
  }
  uint16_t flags() const { return load_le<uint16_t>(bytes_ + 10); }
  void set_flags(uint16_t flags) { store_le(bytes_ + 10, flags); }
  uint16_t lower() const { return load_le<uint16_t>(bytes_ + 12); }
  void set_lower(uint32_t v) { store_le(bytes_ + 12, static_cast<uint16_t>(v)); }
  uint16_t upper() const { return load_le<uint16_t>(bytes_ + 14); }
  void set_upper(uint32_t v) { store_le(bytes_ + 14, static_cast<uint16_t>(v)); }
  uint16_t special() const { return load_le<uint16_t>(bytes_ + 16); }
  uint16_t layout() const { return load_le<uint16_t>(bytes_ + 18); }
  uint32_t prune_xid() const { return load_le<uint32_t>(bytes_ + 20); }
  void set_prune_xid(uint32_t xid) { store_le(bytes_ + 20, xid); }

  // Postgres' own test for a page that was never initialised.
  bool is_new() const { return upper() == 0; }
  bool all_zero() const;
  // What Postgres demands of a page it reads from disk: known flags, lower <= upper <= special <=
  // 8192, special aligned, or no byte set at all. False means a compute would refuse the page.
  bool sane() const;
  // The invariant of everything below: a page to change is initialised, sane and of the known
  // layout.
  Status check_base() const;

  void set_all_visible() { set_flags(flags() | kPageAllVisible); }
  void clear_all_visible() { set_flags(static_cast<uint16_t>(flags() & ~kPageAllVisible)); }
  // Lowers pd_prune_xid to `xid` when it is older or the first; a hint, in circular transaction
  // order.
  void set_prunable(uint32_t xid);

  // All zeros but a header with `special_size` bytes (rounded up to 8) of special space.
  void init(uint32_t special_size);

  // --- line pointers
  // ------------------------------------------------------------------------------------
  uint16_t item_count() const {
    return lower() <= kPageHeaderSize ? 0 : (lower() - kPageHeaderSize) / kLinePointerSize;
  }
  // Invariant: 1 <= number <= item_count().
  LinePointer pointer(uint32_t number) const {
    return {load_le<uint32_t>(bytes_ + kPageHeaderSize + kLinePointerSize * (number - 1))};
  }
  void set_pointer(uint32_t number, LinePointer pointer) {
    store_le(bytes_ + kPageHeaderSize + kLinePointerSize * (number - 1), pointer.raw);
  }
  // kCorrupt unless 1 <= number <= item_count().
  Status check_number(uint32_t number) const;
  // The bytes of item `number`, which must have storage inside [upper, special). Index pages use
  // this: their dead items keep their storage.
  Result<std::span<uint8_t>> item(uint32_t number);
  // As item(), and the line pointer must be in state kNormal. Heap pages use this.
  Result<std::span<uint8_t>> normal_item(uint32_t number);

  // --- items
  // --------------------------------------------------------------------------------------------
  // kInsert moves later line pointers up (every index method); kOverwrite takes an unused line
  // pointer or the next new one (heap, brin).
  enum class Placement : uint8_t { kInsert, kOverwrite };
  // Makes room for an item of `size` bytes as item `number` and answers where its bytes go; the
  // caller writes all of them. The line pointer keeps `size` unrounded; alignment padding is left
  // as it was. kCorrupt when the number leaves a gap, its pointer is in use, or the page is full.
  Result<uint8_t*> reserve(uint32_t number, uint32_t size, Placement placement);
  // reserve() and copy.
  Status add(uint32_t number, std::span<const uint8_t> item, Placement placement);

  // Replaces the bytes of item `number`, moving what lies below by the difference of the rounded
  // sizes.
  Status overwrite(uint32_t number, std::span<const uint8_t> item);
  // Removes one item, its line pointer and its storage; what lies below moves up, the physical
  // order stays.
  Status remove(uint32_t number);
  // Removes ascending `numbers`. One or two are removed singly from the back; three and more repack
  // all survivors in line pointer order. Postgres' threshold, and visible in the placement.
  Status remove_many(std::span<const uint16_t> numbers);

  // Heap pruning's end: survivors packed from special downwards in line pointer order, unused
  // pointers cut from the end (down to none), the free-lines hint set as it then is.
  Status repair_fragmentation();
  // Heap vacuum's end: unused pointers cut from the end but never the first one, the hint set.
  void truncate_pointers();

 private:
  // One survivor of a compaction: which line pointer, and where its storage was.
  struct Survivor {
    uint16_t number;
    uint16_t offset;
    uint16_t aligned;
  };
  void set_free_lines_hint(bool present);
  // Packs `survivors` downwards from special in their order and points their line pointers at the
  // new places. Invariant: each lies inside [upper, special); their sum was checked against the
  // room.
  void pack(std::span<const Survivor> survivors, bool descending);

  uint8_t* bytes_;
};

// No page holds more line pointers than this.
inline constexpr uint32_t kMaxLinePointers = (kBlockSize - kPageHeaderSize) / kLinePointerSize;
// MaxHeapTuplesPerPage: Postgres refuses a higher item number on a heap page.
inline constexpr uint32_t kMaxHeapTuples = (kBlockSize - kPageHeaderSize) / (24 + kLinePointerSize);

}  // namespace varve::wal::redo
