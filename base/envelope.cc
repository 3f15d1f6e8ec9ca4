#include "base/envelope.h"

#include <cstring>
#include <string>

#include "base/codec.h"
#include "base/crc32c.h"

namespace varve {
namespace {

constexpr uint8_t kMagic[8] = {'V', 'A', 'R', 'V', 'E', 0, '\r', '\n'};
constexpr size_t kTypeSize = 16;
constexpr size_t kIdsSize = 32;

Status corrupt(std::string_view object, std::string what) {
  return Status(Code::kCorrupt, std::move(what)).with_object(std::string(object));
}

}  // namespace

Bytes seal(const EnvelopeType& type, const TenantId& tenant, const TimelineId& timeline,
           std::span<const uint8_t> payload) {
  VARVE_CHECK(type.name.size() < kTypeSize);
  VARVE_CHECK(payload.size() < (uint32_t{1} << 31));
  MutableBytes bytes = MutableBytes::zeroed(kEnvelopeHeaderSize + kIdsSize + payload.size());
  uint8_t* p = bytes.data();
  std::memcpy(p, kMagic, sizeof kMagic);
  std::memcpy(p + 8, type.name.data(), type.name.size());
  store_le<uint32_t>(p + 24, type.format);
  store_le<uint32_t>(p + 28, type.oldest_reader);
  store_le<uint32_t>(p + 32, static_cast<uint32_t>(kIdsSize + payload.size()));
  uint8_t* body = p + kEnvelopeHeaderSize;
  std::memcpy(body, tenant.bytes.data(), 16);
  std::memcpy(body + 16, timeline.bytes.data(), 16);
  if (!payload.empty()) std::memcpy(body + kIdsSize, payload.data(), payload.size());
  store_le<uint32_t>(p + 36, crc32c({body, kIdsSize + payload.size()}));
  store_le<uint32_t>(p + 60, crc32c({p, 60}));
  return std::move(bytes).freeze();
}

Result<Envelope> open_envelope(const EnvelopeType& type, const Bytes& bytes,
                               std::string_view object) {
  if (bytes.size() < kEnvelopeHeaderSize + kIdsSize) {
    return corrupt(object, "only " + std::to_string(bytes.size()) + " bytes long");
  }
  const uint8_t* p = bytes.data();
  if (std::memcmp(p, kMagic, sizeof kMagic) != 0) return corrupt(object, "not a file of Varve's");
  if (load_le<uint32_t>(p + 60) != crc32c({p, 60})) {
    return corrupt(object, "checksum of the header does not match");
  }
  const std::string_view name(reinterpret_cast<const char*>(p + 8),
                              strnlen(reinterpret_cast<const char*>(p + 8), kTypeSize));
  if (name != type.name) {
    return corrupt(object,
                   "holds '" + std::string(name) + "', not '" + std::string(type.name) + "'");
  }
  const auto oldest_reader = load_le<uint32_t>(p + 28);
  if (oldest_reader > type.format) {
    return Status(Code::kUnsupported, std::string(type.name) + " needs a reader of format " +
                                          std::to_string(oldest_reader) +
                                          "; this one reads up to " + std::to_string(type.format))
        .with_object(std::string(object))
        .with_hint("run the version of Varve that wrote it, or a newer one");
  }
  const size_t length = load_le<uint32_t>(p + 32);
  if (length < kIdsSize || length != bytes.size() - kEnvelopeHeaderSize) {
    return corrupt(object, "length " + std::to_string(bytes.size() - kEnvelopeHeaderSize) +
                               " is not the " + std::to_string(length) + " that the header names");
  }
  const uint8_t* body = p + kEnvelopeHeaderSize;
  if (load_le<uint32_t>(p + 36) != crc32c({body, length})) {
    return corrupt(object, "checksum of the payload does not match");
  }
  Envelope envelope;
  envelope.format = load_le<uint32_t>(p + 24);
  std::memcpy(envelope.tenant.bytes.data(), body, 16);
  std::memcpy(envelope.timeline.bytes.data(), body + 16, 16);
  envelope.payload = bytes.slice(kEnvelopeHeaderSize + kIdsSize);
  return envelope;
}

}  // namespace varve
