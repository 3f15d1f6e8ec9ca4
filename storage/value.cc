#include "storage/value.h"

#include "base/codec.h"
#include "wal/redo/delta.h"
#include "wal/slru_delta.h"

namespace varve::storage {
namespace {

constexpr uint8_t kHasSource = 1;
constexpr uint8_t kHasQuarantine = 2;

Status corrupt(std::string what) {
  return Status(Code::kCorrupt, std::move(what));
}

}  // namespace

Result<ValueView> parse_value(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return corrupt("a stored value is empty");
  ValueView view{static_cast<ValueKind>(bytes[0]), bytes.subspan(1)};
  switch (view.kind) {
    case ValueKind::kImage:
    case ValueKind::kDelta:
    case ValueKind::kDeltaOnZeros:
    case ValueKind::kSlruDelta:
    case ValueKind::kSlruDeltaOnZeros:
    case ValueKind::kPoison:
      return view;
    case ValueKind::kZeroPage:
    case ValueKind::kTombstone:
    case ValueKind::kBelow:
      if (!view.payload.empty())
        return corrupt("a stored value has bytes that its kind can't have");
      return view;
  }
  return corrupt("a stored value is of unknown kind " + std::to_string(bytes[0]));
}

bool starts_chain(const ValueView& value) {
  switch (value.kind) {
    case ValueKind::kImage:
    case ValueKind::kDeltaOnZeros:
    case ValueKind::kZeroPage:
    case ValueKind::kTombstone:
    case ValueKind::kSlruDeltaOnZeros:
    case ValueKind::kPoison:
      return true;
    case ValueKind::kDelta:
      return wal::redo::will_init(value.payload);
    case ValueKind::kBelow:
      return false;
    case ValueKind::kSlruDelta:
      return wal::slru_delta_starts_chain(value.payload);
  }
  VARVE_UNREACHABLE("value kind");
}

std::vector<uint8_t> make_value(ValueKind kind, std::span<const uint8_t> payload) {
  std::vector<uint8_t> value;
  value.reserve(payload.size() + 1);
  value.push_back(static_cast<uint8_t>(kind));
  value.insert(value.end(), payload.begin(), payload.end());
  return value;
}

std::vector<uint8_t> RelationSize::encode() const {
  Writer out;
  out.u8(
      static_cast<uint8_t>((source ? kHasSource : 0) | (quarantine.empty() ? 0 : kHasQuarantine)));
  out.le<uint64_t>(created.value);
  out.le<uint32_t>(blocks);
  if (source) {
    out.le<uint32_t>(source->tablespace);
    out.le<uint32_t>(source->database);
    out.le<uint64_t>(source->lsn.value);
    out.le<uint32_t>(source->copied_blocks);
  }
  if (!quarantine.empty()) out.text(quarantine);
  return out.take();
}

Result<RelationSize> RelationSize::decode(std::span<const uint8_t> bytes) {
  Reader in(bytes);
  RelationSize size;
  const uint8_t flags = in.u8();
  size.created = Lsn(in.le<uint64_t>());
  size.blocks = in.le<uint32_t>();
  if ((flags & kHasSource) != 0) {
    Source source;
    source.tablespace = in.le<uint32_t>();
    source.database = in.le<uint32_t>();
    source.lsn = Lsn(in.le<uint64_t>());
    source.copied_blocks = in.le<uint32_t>();
    size.source = source;
  }
  if ((flags & kHasQuarantine) != 0) {
    const std::span<const uint8_t> reason = in.bytes(in.remaining());
    size.quarantine.assign(reason.begin(), reason.end());
  }
  if (!in.done() || (flags & ~(kHasSource | kHasQuarantine)) != 0) {
    return corrupt("a relation's size has " + std::to_string(bytes.size()) + " bytes and flags " +
                   std::to_string(flags));
  }
  return size;
}

std::vector<uint8_t> encode_u32(uint32_t value) {
  std::vector<uint8_t> bytes(4);
  store_le(bytes.data(), value);
  return bytes;
}

Result<uint32_t> decode_u32(std::span<const uint8_t> bytes) {
  if (bytes.size() != 4) return corrupt("a stored 32-bit number has another length");
  return load_le<uint32_t>(bytes.data());
}

std::vector<uint8_t> encode_u64(uint64_t value) {
  std::vector<uint8_t> bytes(8);
  store_le(bytes.data(), value);
  return bytes;
}

Result<uint64_t> decode_u64(std::span<const uint8_t> bytes) {
  if (bytes.size() != 8) return corrupt("a stored 64-bit number has another length");
  return load_le<uint64_t>(bytes.data());
}

}  // namespace varve::storage
