// Constants and small pieces that the writer and the reader of layer files share
// (docs/formats/layer.md).
#pragma once

#include <cstdint>
#include <vector>

#include "base/codec.h"
#include "base/envelope.h"
#include "storage/key.h"

namespace varve::storage {

inline constexpr EnvelopeType kDeltaLayerType{"delta-layer", 1, 1};
inline constexpr EnvelopeType kImageLayerType{"image-layer", 1, 1};
inline constexpr size_t kLayerHeaderSize = kEnvelopeHeaderSize + 32;
inline constexpr size_t kLayerFooterSize = 112;
inline constexpr uint8_t kLayerFooterMagic[8] = {'V', 'A', 'R', 'V', 'E', 'E', 'N', 'D'};
// key 18, lsn 8, offset 8, length with header 4
inline constexpr size_t kIndexEntrySize = kKeySize + 8 + 8 + 4;
inline constexpr uint8_t kSameKey = 1;  // flag of an entry

template <class Out>
void put_varint(Out& out, uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<uint8_t>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<uint8_t>(value));
}

// Fails the reader when there is no end within ten bytes.
inline uint64_t take_varint(Reader& in) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const uint8_t byte = in.u8();
    value |= uint64_t{byte & 0x7Fu} << shift;
    if ((byte & 0x80) == 0) return value;
  }
  in.fail();
  return 0;
}

}  // namespace varve::storage
