#include "wal/redo/page.h"

#include <array>
#include <source_location>

namespace varve::wal::redo {
namespace {

constexpr uint32_t kFirstNormalXid = 3;

// Older in the circular order of transaction ids; the reserved ones are older than all others.
bool xid_precedes(uint32_t a, uint32_t b) {
  if (a < kFirstNormalXid || b < kFirstNormalXid) return a < b;
  return static_cast<int32_t>(a - b) < 0;
}

}  // namespace

Status corrupt(std::string what) {
  return Status(Code::kCorrupt, std::move(what));
}

bool Page::all_zero() const {
  // Comparing the page with itself shifted by one word lets memcmp do the scan.
  return load_le<uint64_t>(bytes_) == 0 && std::memcmp(bytes_, bytes_ + 8, kBlockSize - 8) == 0;
}

bool Page::sane() const {
  if (is_new()) return all_zero();
  return (flags() & ~kPageValidFlags) == 0 && lower() <= upper() && upper() <= special() &&
         special() <= kBlockSize && special() % 8 == 0;
}

Status Page::check_base() const {
  if (is_new()) return corrupt("the page is not initialised and the change does not initialise it");
  if (lower() < kPageHeaderSize || lower() > upper() || upper() > special() ||
      special() > kBlockSize || special() % 8 != 0) {
    return corrupt("page header with lower " + std::to_string(lower()) + ", upper " +
                   std::to_string(upper()) + ", special " + std::to_string(special()));
  }
  if (layout() != kPageLayout) return corrupt("page layout " + std::to_string(layout()));
  return Status();
}

void Page::set_prunable(uint32_t xid) {
  if (prune_xid() == 0 || xid_precedes(xid, prune_xid())) set_prune_xid(xid);
}

void Page::init(uint32_t special_size) {
  VARVE_CHECK(align8(special_size) <= kBlockSize - kPageHeaderSize);
  std::memset(bytes_, 0, kBlockSize);
  const auto special = static_cast<uint16_t>(kBlockSize - align8(special_size));
  set_lower(kPageHeaderSize);
  set_upper(special);
  store_le(bytes_ + 16, special);
  store_le(bytes_ + 18, kPageLayout);
}

Status Page::check_number(uint32_t number) const {
  if (number >= 1 && number <= item_count()) return Status();
  return corrupt("item number " + std::to_string(number) + " on a page of " +
                 std::to_string(item_count()) + " items");
}

Result<std::span<uint8_t>> Page::item(uint32_t number) {
  VARVE_TRY(check_number(number));
  const LinePointer p = pointer(number);
  if (!p.has_storage() || p.offset() < upper() || p.offset() + p.length() > special()) {
    return corrupt("line pointer " + std::to_string(number) + " names " +
                   std::to_string(p.length()) + " bytes at " + std::to_string(p.offset()) +
                   ", outside of the page's items");
  }
  return std::span<uint8_t>(bytes_ + p.offset(), p.length());
}

Result<std::span<uint8_t>> Page::normal_item(uint32_t number) {
  VARVE_TRY(check_number(number));
  if (pointer(number).state() != LinePointer::kNormal) {
    return corrupt("line pointer " + std::to_string(number) + " is in state " +
                   std::to_string(pointer(number).state()) + ", not a tuple's");
  }
  return item(number);
}

Result<uint8_t*> Page::reserve(uint32_t number, uint32_t size, Placement placement) {
  const uint32_t limit = item_count() + 1u;
  if (number < 1 || number > limit) {
    return corrupt("item number " + std::to_string(number) + " would leave a gap after " +
                   std::to_string(limit - 1));
  }
  const bool insert_between = placement == Placement::kInsert && number < limit;
  if (placement == Placement::kOverwrite && number < limit &&
      (pointer(number).used() || pointer(number).has_storage())) {
    return corrupt("line pointer " + std::to_string(number) + " is in use");
  }
  const uint32_t new_lower = lower() + (number == limit || insert_between ? kLinePointerSize : 0);
  if (size == 0 || size > kBlockSize || new_lower + align8(size) > upper()) {
    return corrupt("no room for an item of " + std::to_string(size) + " bytes between " +
                   std::to_string(lower()) + " and " + std::to_string(upper()));
  }
  const uint32_t place = upper() - align8(size);
  if (insert_between) {
    uint8_t* slot = bytes_ + kPageHeaderSize + kLinePointerSize * (number - 1);
    std::memmove(slot + kLinePointerSize, slot, (limit - number) * kLinePointerSize);
  }
  set_pointer(number, LinePointer::make(place, LinePointer::kNormal, size));
  set_lower(new_lower);
  set_upper(place);
  return bytes_ + place;
}

Status Page::add(uint32_t number, std::span<const uint8_t> item, Placement placement) {
  VARVE_TRY_ASSIGN(uint8_t * place, reserve(number, static_cast<uint32_t>(item.size()), placement));
  copy_to(place, item);
  return Status();
}

Status Page::overwrite(uint32_t number, std::span<const uint8_t> replacement) {
  VARVE_TRY_ASSIGN(const std::span<uint8_t> old, item(number));
  const uint32_t offset = pointer(number).offset();
  const uint32_t old_size = align8(static_cast<uint32_t>(old.size()));
  const uint32_t new_size = align8(static_cast<uint32_t>(replacement.size()));
  if (offset % 8 != 0 || offset + old_size > special())
    return corrupt("an item that is not aligned");
  if (replacement.empty() || new_size > old_size + (upper() - lower())) {
    return corrupt("no room to overwrite item " + std::to_string(number) + " with " +
                   std::to_string(replacement.size()) + " bytes");
  }
  const int32_t shift = static_cast<int32_t>(old_size) - static_cast<int32_t>(new_size);
  if (shift != 0) {
    uint8_t* first = bytes_ + upper();
    std::memmove(first + shift, first, offset - upper());
    set_upper(static_cast<uint32_t>(upper() + shift));
    for (uint32_t i = 1, n = item_count(); i <= n; ++i) {
      const LinePointer p = pointer(i);
      if (p.has_storage() && p.offset() <= offset) {
        set_pointer(i, p.moved_to(static_cast<uint32_t>(p.offset() + shift)));
      }
    }
  }
  const auto place = static_cast<uint32_t>(static_cast<int32_t>(offset) + shift);
  set_pointer(number, LinePointer::make(place, pointer(number).state(),
                                        static_cast<uint32_t>(replacement.size())));
  copy_to(bytes_ + place, replacement);
  return Status();
}

Status Page::remove(uint32_t number) {
  VARVE_TRY_ASSIGN(const std::span<uint8_t> victim, item(number));
  const uint32_t offset = pointer(number).offset();
  const uint32_t size = align8(static_cast<uint32_t>(victim.size()));
  if (offset % 8 != 0 || offset + size > special()) return corrupt("an item that is not aligned");
  const uint32_t count = item_count();
  uint8_t* slot = bytes_ + kPageHeaderSize + kLinePointerSize * (number - 1);
  std::memmove(slot, slot + kLinePointerSize, (count - number) * kLinePointerSize);
  uint8_t* first = bytes_ + upper();
  std::memmove(first + size, first, offset - upper());
  set_upper(upper() + size);
  set_lower(lower() - kLinePointerSize);
  for (uint32_t i = 1; i < count; ++i) {
    const LinePointer p = pointer(i);
    if (p.offset() <= offset) set_pointer(i, p.moved_to(p.offset() + size));
  }
  return Status();
}

Status Page::remove_many(std::span<const uint16_t> numbers) {
  if (numbers.size() <= 2) {
    for (size_t i = numbers.size(); i-- > 0;) VARVE_TRY(remove(numbers[i]));
    return Status();
  }
  std::array<Survivor, kMaxLinePointers> survivors;
  uint32_t kept = 0;
  uint32_t total = 0;
  size_t next = 0;
  bool descending = true;
  uint32_t previous = special();
  for (uint32_t i = 1, n = item_count(); i <= n; ++i) {
    VARVE_TRY_ASSIGN(const std::span<uint8_t> bytes, item(i));
    if (next < numbers.size() && numbers[next] == i) {
      ++next;
      continue;
    }
    const LinePointer p = pointer(i);
    const uint32_t aligned = align8(static_cast<uint32_t>(bytes.size()));
    if (p.offset() % 8 != 0 || p.offset() + aligned > special()) {
      return corrupt("an item that is not aligned");
    }
    descending = descending && p.offset() + aligned <= previous;
    previous = p.offset();
    total += aligned;
    // The array is compacted in place: what is written lies behind what is still to be read.
    set_pointer(kept + 1, p);
    survivors[kept] = {static_cast<uint16_t>(kept + 1), p.offset(), static_cast<uint16_t>(aligned)};
    ++kept;
  }
  if (next != numbers.size()) return corrupt("items to delete that are not on the page in order");
  if (total > static_cast<uint32_t>(special() - lower())) {
    return corrupt("items that overlap: " + std::to_string(total) + " bytes in all");
  }
  set_lower(kPageHeaderSize + kept * kLinePointerSize);
  pack({survivors.data(), kept}, descending);
  return Status();
}

Status Page::repair_fragmentation() {
  std::array<Survivor, kMaxLinePointers> survivors;
  const uint32_t count = item_count();
  uint32_t kept = 0;
  uint32_t total = 0;
  uint32_t unused = 0;
  uint32_t last_used = 0;
  bool descending = true;
  uint32_t previous = special();
  for (uint32_t i = 1; i <= count; ++i) {
    const LinePointer p = pointer(i);
    if (!p.used()) {
      set_pointer(i, LinePointer{});
      ++unused;
      continue;
    }
    last_used = i;
    if (!p.has_storage()) continue;
    const uint32_t aligned = align8(p.length());
    if (p.offset() < upper() || p.offset() + aligned > special()) {
      return corrupt("line pointer " + std::to_string(i) + " names " + std::to_string(p.length()) +
                     " bytes at " + std::to_string(p.offset()) + ", outside of the page's items");
    }
    descending = descending && p.offset() + aligned <= previous;
    previous = p.offset();
    total += aligned;
    survivors[kept++] = {static_cast<uint16_t>(i), p.offset(), static_cast<uint16_t>(aligned)};
  }
  if (total > static_cast<uint32_t>(special() - lower())) {
    return corrupt("items that overlap: " + std::to_string(total) + " bytes in all");
  }
  pack({survivors.data(), kept}, descending);
  if (last_used != count) {
    unused -= count - last_used;
    set_lower(lower() - (count - last_used) * kLinePointerSize);
  }
  set_free_lines_hint(unused > 0);
  return Status();
}

void Page::truncate_pointers() {
  const uint32_t count = item_count();
  uint32_t cut = 0;
  while (cut + 1 < count && !pointer(count - cut).used()) ++cut;
  bool hint = false;
  for (uint32_t i = 1; i <= count - cut && !hint; ++i) hint = !pointer(i).used();
  set_lower(lower() - cut * kLinePointerSize);
  set_free_lines_hint(hint);
}

void Page::set_free_lines_hint(bool present) {
  set_flags(
      static_cast<uint16_t>(present ? flags() | kPageHasFreeLines : flags() & ~kPageHasFreeLines));
}

void Page::pack(std::span<const Survivor> survivors, bool descending) {
  // Items that already lie in line pointer order move up in place, one memmove for each run that
  // stays together, and those that need not move at all cost nothing. Otherwise a copy of the items
  // is the source.
  std::array<uint8_t, kBlockSize> copy;
  const uint8_t* source = bytes_;
  if (!descending) {
    std::memcpy(copy.data() + upper(), bytes_ + upper(), special() - upper());
    source = copy.data();
  }
  uint32_t place = special();
  for (size_t i = 0; i < survivors.size();) {
    uint32_t low = survivors[i].offset;
    uint32_t size = survivors[i].aligned;
    size_t end = i + 1;
    while (end < survivors.size() && survivors[end].offset + survivors[end].aligned == low) {
      low = survivors[end].offset;
      size += survivors[end].aligned;
      ++end;
    }
    uint32_t item_place = place;
    for (; i < end; ++i) {
      item_place -= survivors[i].aligned;
      set_pointer(survivors[i].number, pointer(survivors[i].number).moved_to(item_place));
    }
    place -= size;
    if (place != low || source != bytes_) std::memmove(bytes_ + place, source + low, size);
  }
  set_upper(place);
}

}  // namespace varve::wal::redo
