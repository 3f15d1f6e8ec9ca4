#include "wal/redo/btree_tuple.h"

#include <array>
#include <cstring>
#include <string>

namespace varve::wal::redo {

Result<std::span<const uint8_t>> first_tuple(std::span<const uint8_t> bytes) {
  if (bytes.size() < kIndexTupleHeaderSize) return corrupt("an index tuple that is cut off");
  const uint32_t size = tuple_info(bytes.data()) & kTupleSizeMask;
  if (size < kIndexTupleHeaderSize || size > bytes.size()) {
    return corrupt("an index tuple of " + std::to_string(size) + " bytes in " +
                   std::to_string(bytes.size()));
  }
  return bytes.first(size);
}

Result<std::span<const uint8_t>> first_padded_tuple(std::span<const uint8_t> bytes) {
  VARVE_TRY_ASSIGN(const std::span<const uint8_t> tuple, first_tuple(bytes));
  const uint32_t padded = align8(static_cast<uint32_t>(tuple.size()));
  if (padded > bytes.size()) return corrupt("an index tuple whose padding is cut off");
  return bytes.first(padded);
}

Result<LeafTuple> read_leaf_tuple(std::span<const uint8_t> item) {
  VARVE_TRY_ASSIGN(const std::span<const uint8_t> tuple, first_tuple(item));
  const auto item_word = load_le<uint16_t>(tuple.data() + 4);
  const bool am = (tuple_info(tuple.data()) & kTupleAmBit) != 0;
  if (!am || (item_word & kPostingBit) == 0) {
    return LeafTuple{tuple, tuple.first(kHeapAddressSize), false};
  }
  const uint32_t begin = tuple_block(tuple.data());
  const uint32_t size = (item_word & kPostingCountMask) * kHeapAddressSize;
  if (begin < kIndexTupleHeaderSize || begin > tuple.size() || size == 0 ||
      size > tuple.size() - begin) {
    return corrupt("a posting list of " + std::to_string(size) + " bytes at " +
                   std::to_string(begin) + " in a tuple of " + std::to_string(tuple.size()));
  }
  return LeafTuple{tuple.first(begin), tuple.subspan(begin, size), true};
}

Result<std::vector<uint8_t>> form_tuple(std::span<const uint8_t> key,
                                        std::span<const uint8_t> addresses) {
  VARVE_CHECK(key.size() >= kIndexTupleHeaderSize);
  VARVE_CHECK(!addresses.empty() && addresses.size() % kHeapAddressSize == 0);
  const size_t count = addresses.size() / kHeapAddressSize;
  const size_t size =
      count == 1 ? key.size() : align8(static_cast<uint32_t>(key.size() + addresses.size()));
  if (size > kTupleSizeMask || count > kPostingCountMask) {
    return corrupt("a posting list of " + std::to_string(count) + " addresses, " +
                   std::to_string(size) + " bytes");
  }
  std::vector<uint8_t> tuple(size);
  std::memcpy(tuple.data(), key.data(), key.size());
  auto info = static_cast<uint16_t>((tuple_info(key.data()) & ~kTupleSizeMask) | size);
  if (count == 1) {
    info = static_cast<uint16_t>(info & ~kTupleAmBit);
    std::memcpy(tuple.data(), addresses.data(), kHeapAddressSize);
  } else {
    info |= kTupleAmBit;
    set_tuple_block(tuple.data(), static_cast<uint32_t>(key.size()));
    store_le(tuple.data() + 4, static_cast<uint16_t>(kPostingBit | count));
    std::memcpy(tuple.data() + key.size(), addresses.data(), addresses.size());
  }
  store_le(tuple.data() + 6, info);
  return tuple;
}

Status swap_posting(std::span<uint8_t> posting_item, uint32_t place, std::span<uint8_t> new_tuple) {
  VARVE_TRY_ASSIGN(const LeafTuple list, read_leaf_tuple(posting_item));
  if (!list.posting || place == 0 || place >= list.count()) {
    return corrupt("place " + std::to_string(place) + " in a posting list of " +
                   std::to_string(list.posting ? list.count() : 0));
  }
  VARVE_TRY(first_tuple(new_tuple).status());
  uint8_t* addresses = posting_item.data() + list.key.size();
  std::array<uint8_t, kHeapAddressSize> last;
  std::memcpy(last.data(), addresses + list.addresses.size() - kHeapAddressSize, kHeapAddressSize);
  uint8_t* slot = addresses + place * kHeapAddressSize;
  std::memmove(slot + kHeapAddressSize, slot, (list.count() - place - 1) * kHeapAddressSize);
  std::memcpy(slot, new_tuple.data(), kHeapAddressSize);
  std::memcpy(new_tuple.data(), last.data(), kHeapAddressSize);
  return Status();
}

}  // namespace varve::wal::redo
