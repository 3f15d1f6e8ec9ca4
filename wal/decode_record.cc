#include "wal/decode_record.h"

#include <string>

#include "base/codec.h"
#include "base/crc32c.h"

namespace varve::wal {
namespace {

constexpr uint8_t kIdTopLevelXid = 252;
constexpr uint8_t kIdOrigin = 253;
constexpr uint8_t kIdMainDataLong = 254;
constexpr uint8_t kIdMainDataShort = 255;

constexpr uint8_t kForkMask = 0x0F;
constexpr uint8_t kHasImage = 0x10;
constexpr uint8_t kHasData = 0x20;
constexpr uint8_t kWillInit = 0x40;
constexpr uint8_t kSameRelation = 0x80;

constexpr uint8_t kInfoReserved = 0x0C;

[[gnu::cold, gnu::noinline]] Status corrupt(Lsn start, std::string what) {
  return Status(Code::kCorrupt, "WAL record: " + std::move(what)).with_lsn(start);
}

// Reads the list of headers at the front of a record's body. Payload spans are assigned afterwards,
// when all lengths are known, because payloads follow in the same order.
//
// This runs for each record of a log, so that what is wrong is put into words out of line.
class BodyParser {
 public:
  BodyParser(const Version& version, std::span<const uint8_t> body, Record& record)
      : version_(version), cursor_(body.data()), end_(body.data() + body.size()), record_(record) {}

  Status parse() {
    if (!parse_headers()) [[unlikely]]
      return corrupt(record_.start, std::string(error_) + " (" + std::to_string(value_) + ")");
    assign_payloads();
    return Status();
  }

 private:
  size_t remaining() const { return static_cast<size_t>(end_ - cursor_); }

  template <class T>
  T take() {
    const T value = load_le<T>(cursor_);
    cursor_ += sizeof(T);
    return value;
  }

  bool fail(const char* error, uint64_t value) {
    error_ = error;
    value_ = value;
    return false;
  }
  bool cut_short() { return fail("ends inside its headers", remaining()); }

  bool parse_headers() {
    // The headers end where exactly the announced payload is left.
    while (remaining() > payload_) {
      const uint8_t id = take<uint8_t>();
      if (id <= kMaxBlockId) {
        if (!parse_block(id)) [[unlikely]]
          return false;
      } else if (id == kIdMainDataShort) {
        if (remaining() < 1) return cut_short();
        return finish_headers(take<uint8_t>());
      } else if (id == kIdMainDataLong) {
        if (remaining() < 4) return cut_short();
        return finish_headers(take<uint32_t>());
      } else if (id == kIdOrigin) {
        if (remaining() < 2) return cut_short();
        record_.origin = take<uint16_t>();
      } else if (id == kIdTopLevelXid) {
        if (remaining() < 4) return cut_short();
        record_.toplevel_xid = take<uint32_t>();
      } else {
        return fail("invalid block id", id);
      }
    }
    return finish_headers(0);
  }

  bool finish_headers(uint32_t main_data) {
    main_data_ = main_data;
    payload_ += main_data;
    return remaining() == payload_ || fail("has not the payload that it announces", payload_);
  }

  bool parse_block(uint8_t id) {
    std::vector<BlockReference>& blocks = record_.blocks;
    const bool has_previous = !blocks.empty();
    if (has_previous && id <= blocks.back().id) [[unlikely]]
      return fail("block id out of order", id);
    if (remaining() < 3) [[unlikely]]
      return cut_short();
    const uint8_t flags = take<uint8_t>();
    const uint16_t data_length = take<uint16_t>();
    if ((flags & kForkMask) > static_cast<uint8_t>(Fork::kInit)) [[unlikely]]
      return fail("unknown fork of block", id);
    if (((flags & kHasData) != 0) != (data_length != 0)) [[unlikely]]
      return fail("data flag and data length contradict in block", id);
    // Of the block before this one, before the vector may move it.
    const RelationId same = has_previous ? blocks.back().block.relation : RelationId{};

    BlockReference& reference = blocks.emplace_back();
    reference.id = id;
    reference.block.fork = static_cast<Fork>(flags & kForkMask);
    reference.will_init = (flags & kWillInit) != 0;
    reference.has_data = (flags & kHasData) != 0;
    // Null for now: only the length is known. assign_payloads() gives it its place.
    reference.data = {static_cast<const uint8_t*>(nullptr), data_length};
    payload_ += data_length;
    if ((flags & kHasImage) != 0 && !parse_image(reference)) return false;
    if ((flags & kSameRelation) != 0) {
      if (!has_previous) return fail("refers to a relation before its first block", id);
      if (remaining() < 4) return cut_short();
      reference.block.relation = same;
    } else {
      if (remaining() < 16) [[unlikely]]
        return cut_short();
      reference.block.relation.tablespace = take<uint32_t>();
      reference.block.relation.database = take<uint32_t>();
      reference.block.relation.relation = take<uint32_t>();
    }
    reference.block.block = take<uint32_t>();
    return true;
  }

  bool parse_image(BlockReference& reference) {
    if (remaining() < 5) return cut_short();
    const ImageFlags& known = version_.image;
    const uint16_t length = take<uint16_t>();
    BlockImage& image = reference.image.emplace();
    image.hole_offset = take<uint16_t>();
    const uint8_t flags = take<uint8_t>();
    image.apply = (flags & known.apply) != 0;
    const bool has_hole = (flags & known.has_hole) != 0;
    const uint8_t method = flags & (known.pglz | known.lz4 | known.zstd);
    const uint8_t all = known.has_hole | known.apply | known.pglz | known.lz4 | known.zstd;
    if ((flags & ~all) != 0 || (method & (method - 1)) != 0)
      return fail("unknown flags of a page image", flags);
    if (method == 0) {
      image.compression = ImageCompression::kNone;
      if (length > kBlockSize) return fail("page image is longer than a page", length);
      image.hole_length = static_cast<uint16_t>(kBlockSize - length);
    } else {
      image.compression = method == known.pglz  ? ImageCompression::kPglz
                          : method == known.lz4 ? ImageCompression::kLz4
                                                : ImageCompression::kZstd;
      if (length == 0 || length >= kBlockSize)
        return fail("compressed page image is not smaller than a page", length);
      if (has_hole) {
        if (remaining() < 2) return cut_short();
        image.hole_length = take<uint16_t>();
      }
    }
    const bool hole_fits = image.hole_offset + image.hole_length <= int{kBlockSize};
    const bool hole_said = has_hole ? image.hole_offset != 0 && image.hole_length != 0
                                    : image.hole_offset == 0 && image.hole_length == 0;
    if (!hole_fits || !hole_said) return fail("impossible hole in a page image", image.hole_offset);
    image.bytes = {static_cast<const uint8_t*>(nullptr), length};
    payload_ += length;
    return true;
  }

  // Invariant: exactly payload_ bytes are left.
  void assign_payloads() {
    for (BlockReference& reference : record_.blocks) {
      if (reference.image.has_value()) reference.image->bytes = payload(reference.image->bytes);
      reference.data = reference.has_data ? payload(reference.data) : std::span<const uint8_t>{};
    }
    record_.main_data = {cursor_, main_data_};
  }

  std::span<const uint8_t> payload(std::span<const uint8_t> length_only) {
    const std::span<const uint8_t> piece{cursor_, length_only.size()};
    cursor_ += piece.size();
    return piece;
  }

  const Version& version_;
  const uint8_t* cursor_;
  const uint8_t* const end_;
  Record& record_;
  // 64-bit: a main-data length near 2^32 plus 33 blocks must not wrap.
  uint64_t payload_ = 0;
  uint32_t main_data_ = 0;
  const char* error_ = nullptr;
  uint64_t value_ = 0;
};

}  // namespace

uint32_t record_checksum(std::span<const uint8_t> raw) {
  VARVE_CHECK(raw.size() >= kRecordHeaderSize);
  return crc32c(raw.first(20), crc32c(raw.subspan(kRecordHeaderSize)));
}

Status check_record_header(const Version& version, Lsn start, std::span<const uint8_t> header) {
  const uint8_t* p = header.data();
  if (record_header_is_possible(version, p)) return Status();
  const uint32_t length = load_le<uint32_t>(p);
  if (length < kRecordHeaderSize || length > version.max_record_length)
    return corrupt(start, "impossible length " + std::to_string(length));
  if ((p[16] & kInfoReserved) != 0 || load_le<uint16_t>(p + 18) != 0)
    return corrupt(start, "reserved bits of the header are set");
  if (p[17] == 0) return corrupt(start, "a segment switch of " + std::to_string(length) + " bytes");
  return corrupt(start, "unknown resource manager " + std::to_string(p[17]));
}

void decode_header_only(Lsn start, Lsn end, std::span<const uint8_t> raw, Record& record) {
  const uint8_t* p = raw.data();
  record.start = start;
  record.end = end;
  record.previous = Lsn(load_le<uint64_t>(p + 8));
  record.total_length = load_le<uint32_t>(p);
  record.xid = load_le<uint32_t>(p + 4);
  record.info = p[16];
  record.rmid = p[17];
  record.crc = load_le<uint32_t>(p + 20);
  record.blocks.clear();
  record.main_data = {};
  record.origin.reset();
  record.toplevel_xid.reset();
  record.raw = raw;
}

Status decode_checked_record(const Version& version, Lsn start, Lsn end,
                             std::span<const uint8_t> raw, Record& record) {
  decode_header_only(start, end, raw, record);
  return BodyParser(version, raw.subspan(kRecordHeaderSize), record).parse();
}

Status decode_record(const Version& version, Lsn start, Lsn end, std::span<const uint8_t> raw,
                     Record& record) {
  if (raw.size() < kRecordHeaderSize)
    return corrupt(start, "only " + std::to_string(raw.size()) + " bytes");
  VARVE_TRY(check_record_header(version, start, raw));
  if (load_le<uint32_t>(raw.data()) != raw.size())
    return corrupt(start, "length " + std::to_string(load_le<uint32_t>(raw.data())) + " in " +
                              std::to_string(raw.size()) + " bytes");
  if (record_checksum(raw) != load_le<uint32_t>(raw.data() + 20))
    return corrupt(start, "checksum does not match");
  return decode_checked_record(version, start, end, raw, record);
}

}  // namespace varve::wal
