#include "wal/redo/delta.h"

#include <string>

#include "base/codec.h"
#include "wal/redo/manager.h"
#include "wal/redo/page.h"

namespace varve::wal::redo {
namespace {

constexpr uint8_t kVersion = 1;

enum Flag : uint8_t {
  kImage = 0x01,
  kWillInit = 0x02,
  kData = 0x04,
  kKeepLsn = 0x08,
  kOthers = 0x10,
  kMainData = 0x20,
  kXid = 0x40,
  kVisibilityChange = 0x80,
};

// Little-endian base 128, at most five bytes.
void put_varint(Writer& out, uint32_t value) {
  while (value >= 0x80) {
    out.u8(static_cast<uint8_t>(value | 0x80));
    value >>= 7;
  }
  out.u8(static_cast<uint8_t>(value));
}

uint32_t get_varint(Reader& in) {
  uint32_t value = 0;
  for (uint32_t shift = 0; shift < 35; shift += 7) {
    const uint8_t byte = in.u8();
    if (shift == 28 && byte > 0x0F) break;
    value |= static_cast<uint32_t>(byte & 0x7F) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  in.fail();
  return 0;
}

Status parse_visibility(Reader& in, PageDelta& delta) {
  VisibilityChange change;
  const uint8_t shape = in.u8();
  change.clear_count = shape & 0x0F;
  if (change.clear_count > change.clears.size() || (shape & 0xE0) != 0) in.fail();
  for (uint8_t i = 0; in.ok() && i < change.clear_count; ++i) {
    change.clears[i].block = in.le<uint32_t>();
    change.clears[i].bits = in.u8();
    if (change.clears[i].bits == 0 || change.clears[i].bits > 3) in.fail();
  }
  if ((shape & 0x10) != 0) change.truncate_to = in.le<uint32_t>();
  if (!in.done() || shape == 0) {
    return corrupt("a visibility map delta that is cut off or too long").with_lsn(delta.end);
  }
  delta.visibility = change;
  return Status();
}

void get_image(Reader& in, PageDelta& delta) {
  BlockImage image;
  image.apply = true;
  image.hole_offset = in.le<uint16_t>();
  image.hole_length = in.le<uint16_t>();
  const uint8_t compression = in.u8();
  if (compression > static_cast<uint8_t>(ImageCompression::kZstd)) in.fail();
  if (!in.ok()) return;
  image.compression = static_cast<ImageCompression>(compression);
  image.bytes = in.bytes(in.remaining());
  delta.image = image;
}

void get_others(Reader& in, PageDelta& delta) {
  const uint8_t count = in.u8();
  if (count > kMaxBlocks) in.fail();
  for (uint8_t i = 0; in.ok() && i < count; ++i) {
    delta.others[i].id = in.u8();
    delta.others[i].block = get_varint(in);
  }
  if (in.ok()) delta.other_count = count;
}

}  // namespace

std::optional<PageDelta> whole_delta(const Record& record, const BlockReference& block,
                                     const ClusterFacts& facts) {
  PageDelta delta;
  delta.end = record.end;
  delta.rmid = record.rmid;
  delta.operation = record.operation();
  delta.block_id = block.id;
  delta.xid = record.xid;
  delta.main_data = record.main_data;
  if (block.image && block.image->apply) {
    delta.image = block.image;
    delta.will_init = true;
  } else {
    delta.will_init = block.will_init;
    delta.has_data = block.has_data;
    delta.data = block.data;
  }
  for (const BlockReference& b : record.blocks) {
    if (b.id == block.id || delta.other_count == kMaxBlocks) continue;
    delta.others[delta.other_count++] = {b.id, b.block.block};
  }
  const Manager& manager = manager_of(record.rmid);
  if (manager.touches != nullptr && !manager.touches(delta, block.block)) return std::nullopt;
  if (manager.keeps_lsn != nullptr) delta.keep_lsn = manager.keeps_lsn(delta, facts);
  return delta;
}

Result<std::optional<std::vector<uint8_t>>> split(const Record& record, const BlockReference& block,
                                                  const ClusterFacts& facts) {
  std::optional<PageDelta> delta = whole_delta(record, block, facts);
  if (!delta) return std::optional<std::vector<uint8_t>>();
  const Manager& manager = manager_of(record.rmid);
  Needs needs = Needs::everything();
  if (delta->image) {
    needs = manager.after_image_needs == nullptr ? Needs{} : manager.after_image_needs(*delta);
  } else if (manager.needs != nullptr) {
    const std::optional<Needs> known = manager.needs(*delta);
    if (!known) return located(unknown_operation(*delta), block.block, *delta);
    needs = *known;
  }
  if (!needs.xid) delta->xid = 0;
  if (!needs.data) delta->data = {};
  if (!needs.data) delta->has_data = false;
  if (delta->main_data.size() > needs.main_prefix) {
    delta->main_data = delta->main_data.first(needs.main_prefix);
  }
  uint8_t kept = 0;
  for (uint8_t i = 0; i < delta->other_count; ++i) {
    const OtherBlock other = delta->others[i];
    if (other.id >= 64 || (needs.others >> other.id & 1) == 0) continue;
    const bool number = (needs.presence_only >> other.id & 1) == 0;
    delta->others[kept++] = {other.id, number ? other.block : 0};
  }
  delta->other_count = kept;
  return std::optional(encode(*delta));
}

std::vector<uint8_t> encode(const VisibilityChange& change) {
  VARVE_CHECK(change.clear_count > 0 || change.truncate_to);
  VARVE_CHECK(change.clear_count <= change.clears.size());
  Writer out;
  out.u8(kVersion);
  out.u8(kVisibilityChange);
  out.u8(static_cast<uint8_t>(change.clear_count | (change.truncate_to ? 0x10 : 0)));
  for (uint8_t i = 0; i < change.clear_count; ++i) {
    out.le(change.clears[i].block);
    out.u8(change.clears[i].bits);
  }
  if (change.truncate_to) out.le(*change.truncate_to);
  return out.take();
}

std::vector<uint8_t> encode(const PageDelta& delta) {
  if (delta.visibility) return encode(*delta.visibility);
  // A delta has an image to restore or data to apply, never both; so the last piece needs no
  // length.
  VARVE_CHECK(!delta.image || !delta.has_data);
  Writer out;
  out.u8(kVersion);
  out.u8(static_cast<uint8_t>((delta.image ? kImage : 0) | (delta.will_init ? kWillInit : 0) |
                              (delta.has_data ? kData : 0) | (delta.keep_lsn ? kKeepLsn : 0) |
                              (delta.other_count > 0 ? kOthers : 0) |
                              (delta.main_data.empty() ? 0 : kMainData) |
                              (delta.xid != 0 ? kXid : 0)));
  out.u8(delta.rmid);
  out.u8(delta.operation);
  out.u8(delta.block_id);
  if (delta.xid != 0) out.le(delta.xid);
  if (delta.other_count > 0) {
    out.u8(delta.other_count);
    for (uint8_t i = 0; i < delta.other_count; ++i) {
      out.u8(delta.others[i].id);
      put_varint(out, delta.others[i].block);
    }
  }
  if (!delta.main_data.empty()) {
    put_varint(out, static_cast<uint32_t>(delta.main_data.size()));
    out.bytes(delta.main_data);
  }
  if (delta.image) {
    out.le(delta.image->hole_offset);
    out.le(delta.image->hole_length);
    out.u8(static_cast<uint8_t>(delta.image->compression));
    out.bytes(delta.image->bytes);
  } else if (delta.has_data) {
    out.bytes(delta.data);
  }
  return out.take();
}

Result<PageDelta> parse(std::span<const uint8_t> bytes, Lsn end) {
  PageDelta delta;
  VARVE_TRY(parse_into(bytes, end, delta));
  return delta;
}

Status parse_into(std::span<const uint8_t> bytes, Lsn end, PageDelta& delta) {
  VARVE_CHECK(delta.rmid == 0 && !delta.image && !delta.visibility && delta.other_count == 0);
  Reader in(bytes);
  delta.end = end;
  const uint8_t version = in.u8();
  const uint8_t flags = in.u8();
  if (!in.ok())
    return corrupt("a page delta of " + std::to_string(bytes.size()) + " bytes").with_lsn(end);
  if (version != kVersion) {
    return Status(version > kVersion ? Code::kUnsupported : Code::kCorrupt,
                  "page delta of version " + std::to_string(version) +
                      "; this build reads version " + std::to_string(kVersion))
        .with_lsn(end);
  }
  if ((flags & kVisibilityChange) != 0) {
    if (flags != kVisibilityChange)
      return corrupt("page delta with flags of two kinds").with_lsn(end);
    return parse_visibility(in, delta);
  }
  delta.will_init = (flags & kWillInit) != 0;
  delta.keep_lsn = (flags & kKeepLsn) != 0;
  delta.rmid = in.u8();
  delta.operation = in.u8();
  delta.block_id = in.u8();
  if ((flags & kXid) != 0) delta.xid = in.le<uint32_t>();
  if ((flags & kOthers) != 0) get_others(in, delta);
  if ((flags & kMainData) != 0) delta.main_data = in.bytes(get_varint(in));
  if ((flags & kImage) != 0) {
    if ((flags & kData) != 0 || (flags & kWillInit) == 0) in.fail();
    get_image(in, delta);
  } else if ((flags & kData) != 0) {
    delta.has_data = true;
    delta.data = in.bytes(in.remaining());
  }
  if (!in.done()) return corrupt("a page delta that is cut off or too long").with_lsn(end);
  return Status();
}

bool will_init(std::span<const uint8_t> bytes) {
  return bytes.size() >= 2 && bytes[0] == kVersion && (bytes[1] & kVisibilityChange) == 0 &&
         (bytes[1] & kWillInit) != 0;
}

}  // namespace varve::wal::redo
