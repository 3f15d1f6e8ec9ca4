#include "wal/page.h"

#include <cstring>

#include "base/codec.h"

namespace varve::wal {
namespace {

std::string hex(uint64_t value) {
  char text[20];
  int at = sizeof text;
  do {
    text[--at] = "0123456789ABCDEF"[value & 15];
    value >>= 4;
  } while (value != 0);
  return std::string(text + at, sizeof text - at);
}

std::string hex8(uint32_t value) {
  std::string digits = hex(value);
  return std::string(8 - digits.size(), '0') + digits;
}

Status corrupt(Lsn address, const std::string& what) {
  return Status(Code::kCorrupt, "WAL page header: " + what).with_lsn(address);
}

Status bad_magic(const LogIdentity& identity, Lsn address, uint16_t magic) {
  const Version* other = version_of_magic(magic);
  if (other == nullptr) return corrupt(address, "no magic number, but " + hex(magic));
  return Status(Code::kUnsupported, "WAL page of Postgres " + std::to_string(other->major) +
                                        " in a log of Postgres " +
                                        std::to_string(identity.version->major))
      .with_lsn(address);
}

}  // namespace

std::optional<PageHeader> read_page_header(std::span<const uint8_t> page) {
  if (page.size() < kShortHeaderSize) return std::nullopt;
  const uint8_t* p = page.data();
  PageHeader header;
  header.magic = load_le<uint16_t>(p);
  header.info = load_le<uint16_t>(p + 2);
  header.timeline = load_le<uint32_t>(p + 4);
  header.address = Lsn(load_le<uint64_t>(p + 8));
  header.remaining_length = load_le<uint32_t>(p + 16);
  if (header.is_long()) {
    if (page.size() < kLongHeaderSize) return std::nullopt;
    header.system_id = load_le<uint64_t>(p + 24);
    header.segment_size = load_le<uint32_t>(p + 32);
    header.page_size = load_le<uint32_t>(p + 36);
  }
  return header;
}

void write_page_header(const LogIdentity& identity, Lsn address, uint16_t info,
                       uint32_t remaining_length, std::span<uint8_t> out) {
  const uint32_t size = page_header_size(address, identity.segment_size);
  VARVE_CHECK(address.page_offset() == 0 && out.size() >= size);
  uint8_t* p = out.data();
  std::memset(p, 0, size);
  const bool is_long = size == kLongHeaderSize;
  store_le<uint16_t>(p, identity.version->page_magic);
  store_le<uint16_t>(p + 2, info | (is_long ? kPageLongHeader : 0));
  store_le<uint32_t>(p + 4, identity.timeline);
  store_le<uint64_t>(p + 8, address.value);
  store_le<uint32_t>(p + 16, remaining_length);
  if (is_long) {
    store_le<uint64_t>(p + 24, identity.system_id);
    store_le<uint32_t>(p + 32, identity.segment_size);
    store_le<uint32_t>(p + 36, kWalPageSize);
  }
}

Status check_page_header(const LogIdentity& identity, Lsn address, const PageHeader& header) {
  if (header.magic != identity.version->page_magic)
    return bad_magic(identity, address, header.magic);
  if ((header.info & ~kPageKnownFlags) != 0)
    return corrupt(address, "unknown info bits " + hex(header.info));
  if (header.address != address)
    return corrupt(address, "written for " + header.address.to_string());
  const bool must_be_long = page_header_size(address, identity.segment_size) == kLongHeaderSize;
  if (header.is_long() != must_be_long)
    return corrupt(address, must_be_long ? "a segment starts here, but the header is short"
                                         : "a long header inside a segment");
  const bool continues = (header.info & kPageFirstIsContinuation) != 0;
  if (continues && (header.info & kPageFirstIsOverwrite) != 0)
    return corrupt(address, "both continues and overwrites a record");
  if (continues != (header.remaining_length != 0))
    return corrupt(address, "continuation flag and remaining length " +
                                std::to_string(header.remaining_length) + " contradict");
  if (!header.is_long()) return Status();
  if (header.system_id != identity.system_id)
    return corrupt(address, "belongs to cluster " + std::to_string(header.system_id) + ", not " +
                                std::to_string(identity.system_id));
  if (header.segment_size != identity.segment_size)
    return corrupt(address, "segment size " + std::to_string(header.segment_size) + ", not " +
                                std::to_string(identity.segment_size));
  if (header.page_size != kWalPageSize)
    return corrupt(address, "page size " + std::to_string(header.page_size));
  return Status();
}

Result<LogIdentity> identity_of_segment(std::span<const uint8_t> segment_start) {
  const auto header = read_page_header(segment_start);
  if (!header.has_value()) return Status(Code::kCorrupt, "WAL segment is shorter than its header");
  const Lsn address = header->address;
  const Version* version = version_of_magic(header->magic);
  if (version == nullptr) {
    return Status(Code::kUnsupported,
                  "WAL segment has magic number " + hex(header->magic) + ", which is not known")
        .with_hint("Postgres 14 to 18 can be read");
  }
  if (!header->is_long()) return corrupt(address, "not the start of a segment");
  if (header->page_size != kWalPageSize) {
    return Status(Code::kUnsupported,
                  "WAL pages of " + std::to_string(header->page_size) + " bytes")
        .with_lsn(address)
        .with_hint("only builds with 8 KiB WAL pages can be read");
  }
  if (!valid_segment_size(header->segment_size) || address.value % header->segment_size != 0) {
    return corrupt(address, "segment size " + std::to_string(header->segment_size));
  }
  return LogIdentity{version, header->system_id, header->segment_size, header->timeline};
}

std::string segment_file_name(SegmentName segment, uint32_t segment_size) {
  const uint64_t per_id = (uint64_t{1} << 32) / segment_size;
  return hex8(segment.timeline) + hex8(static_cast<uint32_t>(segment.number / per_id)) +
         hex8(static_cast<uint32_t>(segment.number % per_id));
}

std::optional<SegmentName> parse_segment_file_name(std::string_view name, uint32_t segment_size) {
  if (name.size() != 24) return std::nullopt;
  uint32_t parts[3] = {};
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    uint32_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<uint32_t>(c - '0');
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<uint32_t>(c - 'A' + 10);
    } else {
      return std::nullopt;
    }
    parts[i / 8] = parts[i / 8] << 4 | digit;
  }
  const uint64_t per_id = (uint64_t{1} << 32) / segment_size;
  if (parts[2] >= per_id) return std::nullopt;
  return SegmentName{parts[0], parts[1] * per_id + parts[2]};
}

}  // namespace varve::wal
