// The one shape of every small thing we persist: control files, indexes, manifests, identities.
//
//   0  8  magic "VARVE\0\r\n" (a text-mode copy breaks it)
//   8 16  type, NUL-padded ("safekeeper")
//  24  4  format: version of the payload
//  28  4  reader: oldest reader version that may read it
//  32  4  payload length
//  36  4  CRC-32C of the payload
//  40 20  reserved, zero
//  60  4  CRC-32C of bytes 0..59
//  64 16  tenant
//  80 16  timeline
//  96     payload (deterministic Protobuf)
//
// Length and payload checksum cover the two ids as well. docs/formats/envelope.md is the page on
// it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"

namespace varve {

inline constexpr size_t kEnvelopeHeaderSize = 64;

struct EnvelopeType {
  std::string_view name;  // at most 15 characters
  uint32_t format;  // written; a reader refuses an envelope whose `reader` exceeds its own `format`
  uint32_t oldest_reader;  // written
};

struct Envelope {
  uint32_t format = 0;
  TenantId tenant;
  TimelineId timeline;
  Bytes payload;
};

Bytes seal(const EnvelopeType& type, const TenantId& tenant, const TimelineId& timeline,
           std::span<const uint8_t> payload);

// Checks magic, checksums, type, length (exact) and reader version. Corrupt and Unsupported name
// `object`; ids are for the caller to compare.
Result<Envelope> open_envelope(const EnvelopeType& type, const Bytes& bytes,
                               std::string_view object);

}  // namespace varve
