#include "wal/writer.h"

#include <algorithm>

#include "base/codec.h"
#include "wal/decode_record.h"
#include "wal/extent.h"

namespace varve::wal {
namespace {

uint8_t image_flags(const ImageFlags& known, const BlockImage& image) {
  uint8_t flags = image.apply ? known.apply : 0;
  if (image.hole_length != 0) flags |= known.has_hole;
  uint8_t method = 0;
  switch (image.compression) {
    case ImageCompression::kNone:
      return flags;
    case ImageCompression::kPglz:
      method = known.pglz;
      break;
    case ImageCompression::kLz4:
      method = known.lz4;
      break;
    case ImageCompression::kZstd:
      method = known.zstd;
      break;
  }
  VARVE_CHECK_MSG(method != 0, "this version of Postgres does not know the compression");
  return flags | method;
}

void write_block_header(const Version& version, const BlockReference& block,
                        const BlockReference* previous, Writer& out) {
  VARVE_CHECK(block.id <= kMaxBlockId && (previous == nullptr || block.id > previous->id));
  VARVE_CHECK(block.data.size() <= 0xFFFF);
  const bool same = previous != nullptr && previous->block.relation == block.block.relation;
  out.u8(block.id);
  out.u8(static_cast<uint8_t>(
      static_cast<uint8_t>(block.block.fork) | (block.image.has_value() ? 0x10 : 0) |
      (block.data.empty() ? 0 : 0x20) | (block.will_init ? 0x40 : 0) | (same ? 0x80 : 0)));
  out.le<uint16_t>(static_cast<uint16_t>(block.data.size()));
  if (block.image.has_value()) {
    const BlockImage& image = *block.image;
    const uint8_t flags = image_flags(version.image, image);
    out.le<uint16_t>(static_cast<uint16_t>(image.bytes.size()));
    out.le<uint16_t>(image.hole_offset);
    out.u8(flags);
    if (image.compression != ImageCompression::kNone && image.hole_length != 0)
      out.le<uint16_t>(image.hole_length);
  }
  if (!same) {
    out.le<uint32_t>(block.block.relation.tablespace);
    out.le<uint32_t>(block.block.relation.database);
    out.le<uint32_t>(block.block.relation.relation);
  }
  out.le<uint32_t>(block.block.block);
}

}  // namespace

std::vector<uint8_t> build_record(const Version& version, const RecordParts& parts) {
  Writer out;
  out.le<uint32_t>(0);  // length, below
  out.le<uint32_t>(parts.xid);
  out.le<uint64_t>(0);
  out.u8(parts.info);
  out.u8(parts.rmid);
  out.zeros(6);
  const BlockReference* previous = nullptr;
  for (const BlockReference& block : parts.blocks) {
    write_block_header(version, block, previous, out);
    previous = &block;
  }
  if (parts.origin.has_value()) {
    out.u8(253);
    out.le<uint16_t>(*parts.origin);
  }
  if (parts.toplevel_xid.has_value()) {
    out.u8(252);
    out.le<uint32_t>(*parts.toplevel_xid);
  }
  if (parts.main_data.size() > 255) {
    out.u8(254);
    out.le<uint32_t>(static_cast<uint32_t>(parts.main_data.size()));
  } else if (!parts.main_data.empty()) {
    out.u8(255);
    out.u8(static_cast<uint8_t>(parts.main_data.size()));
  }
  for (const BlockReference& block : parts.blocks) {
    if (block.image.has_value()) out.bytes(block.image->bytes);
    out.bytes(block.data);
  }
  out.bytes(parts.main_data);
  VARVE_CHECK(out.size() <= version.max_record_length);
  out.patch_le<uint32_t>(0, static_cast<uint32_t>(out.size()));
  return out.take();
}

void seal_record(std::span<uint8_t> raw, Lsn previous) {
  VARVE_CHECK(raw.size() >= kRecordHeaderSize && load_le<uint32_t>(raw.data()) == raw.size());
  store_le<uint64_t>(raw.data() + 8, previous.value);
  store_le<uint32_t>(raw.data() + 20, record_checksum(raw));
}

LogWriter::LogWriter(const LogIdentity& identity, Lsn boundary, Lsn previous)
    : identity_(identity), boundary_(boundary), previous_(previous) {
  VARVE_CHECK(identity_.version != nullptr && valid_segment_size(identity_.segment_size));
  VARVE_CHECK(can_be_boundary(boundary_, identity_.segment_size));
}

void LogWriter::append_page_header(uint64_t continues, std::vector<uint8_t>& out) {
  const uint32_t size = page_header_size(boundary_, identity_.segment_size);
  const size_t at = out.size();
  out.resize(at + size);
  write_page_header(identity_, boundary_, continues != 0 ? kPageFirstIsContinuation : 0,
                    static_cast<uint32_t>(continues), std::span(out).subspan(at));
  boundary_ = boundary_ + size;
}

LsnRange LogWriter::append(std::span<uint8_t> raw, std::vector<uint8_t>& out) {
  seal_record(raw, previous_);
  const bool is_switch =
      raw[17] == static_cast<uint8_t>(Rmgr::kXlog) && (raw[16] & kInfoRmgrMask) == kXlogSwitch;
  const LsnRange extent = record_extent(boundary_, raw.size(), is_switch, identity_.segment_size);
  std::span<const uint8_t> rest = raw;
  while (!rest.empty()) {
    if (boundary_.page_offset() == 0)
      append_page_header(rest.size() == raw.size() ? 0 : rest.size(), out);
    const size_t count = std::min<size_t>(rest.size(), kWalPageSize - boundary_.page_offset());
    out.insert(out.end(), rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(count));
    boundary_ = boundary_ + count;
    rest = rest.subspan(count);
  }
  out.resize(out.size() + (extent.end - boundary_));
  boundary_ = extent.end;
  previous_ = extent.start;
  return extent;
}

LsnRange LogWriter::append_switch(std::vector<uint8_t>& out) {
  VARVE_CHECK_MSG(boundary_.value % identity_.segment_size != 0, "a switch at a segment's start");
  std::vector<uint8_t> raw = build_record(
      *identity_.version, {.info = kXlogSwitch, .rmid = static_cast<uint8_t>(Rmgr::kXlog)});
  return append(raw, out);
}

}  // namespace varve::wal
