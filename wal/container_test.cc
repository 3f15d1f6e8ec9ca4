// The container: version table, page headers, segment names, extents.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "base/random.h"
#include "wal/extent.h"
#include "wal/page.h"
#include "wal/version.h"
#include "wal/visibility.h"

namespace varve::wal {
namespace {

constexpr uint32_t kSegment = kDefaultSegmentSize;

LogIdentity identity() {
  return {version_of_major(15), 0x1122334455667788, kSegment, 1};
}

TEST(Version, TableHoldsTheMeasuredFacts) {
  struct Fact {
    uint16_t major;
    uint16_t magic;
    uint32_t control;
    uint32_t crc;
    uint16_t map;
  };
  constexpr Fact kFacts[] = {{14, 0xD10D, 1300, 288, 512},
                             {15, 0xD110, 1300, 288, 512},
                             {16, 0xD113, 1300, 288, 524},
                             {17, 0xD116, 1700, 288, 524},
                             {18, 0xD118, 1800, 292, 524}};
  for (const Fact& fact : kFacts) {
    const Version* version = version_of_major(fact.major);
    ASSERT_NE(version, nullptr);
    EXPECT_EQ(version, version_of_magic(fact.magic));
    EXPECT_EQ(version->control_version, fact.control);
    EXPECT_EQ(version->control_crc, fact.crc);
    EXPECT_EQ(version->relation_map_bytes, fact.map);
    EXPECT_EQ(version->slru_page_number_size, fact.major >= 17 ? 8 : 4);
    EXPECT_EQ(version->checkpoint_has_wal_level, fact.major >= 17);
  }
  EXPECT_EQ(version_of_major(13), nullptr);
  EXPECT_EQ(version_of_magic(0), nullptr);
  // 14 said "apply" with the bit that 15 uses for pglz.
  EXPECT_EQ(version_of_major(14)->image.apply, version_of_major(15)->image.pglz);
}

TEST(Page, HeaderRoundTrip) {
  std::array<uint8_t, kLongHeaderSize> bytes{};
  for (const uint64_t address : {uint64_t{0x1000000}, uint64_t{0x1002000}, uint64_t{0x9FFE000}}) {
    write_page_header(identity(), Lsn(address), kPageFirstIsContinuation, 77, bytes);
    const auto header = read_page_header(bytes);
    ASSERT_TRUE(header.has_value());
    EXPECT_EQ(header->remaining_length, 77u);
    EXPECT_EQ(header->is_long(), address % kSegment == 0);
    EXPECT_TRUE(check_page_header(identity(), Lsn(address), *header).ok());
    EXPECT_TRUE(check_page_header(identity(), Lsn(address + 8192), *header).is(Code::kCorrupt));
  }
}

TEST(Page, EachFieldIsChecked) {
  std::array<uint8_t, kLongHeaderSize> good{};
  write_page_header(identity(), Lsn(0x1000000), 0, 0, good);
  // Every byte that is looked at; 4..7 is the timeline, which the decoder checks, 20..23 is
  // padding.
  for (size_t i = 0; i < good.size(); ++i) {
    auto bad = good;
    bad[i] ^= 0xA0;
    const auto header = read_page_header(bad);
    const bool looked_at = i < 4 || (i >= 8 && i < 20) || i >= 24;
    const bool refused =
        !header.has_value() || !check_page_header(identity(), Lsn(0x1000000), *header).ok();
    EXPECT_EQ(refused, looked_at) << "byte " << i;
  }
  auto other = identity();
  other.version = version_of_major(16);
  EXPECT_TRUE(
      check_page_header(other, Lsn(0x1000000), *read_page_header(good)).is(Code::kUnsupported));
}

TEST(Page, IdentityOfASegment) {
  std::array<uint8_t, kLongHeaderSize> bytes{};
  write_page_header(identity(), Lsn(0x1000000), 0, 0, bytes);
  const auto found = identity_of_segment(bytes);
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  EXPECT_EQ(*found, identity());
  EXPECT_TRUE(identity_of_segment(std::span(bytes).first(39)).is(Code::kCorrupt));
  bytes[33] = 1;  // a segment size that is no power of two
  EXPECT_TRUE(identity_of_segment(bytes).is(Code::kCorrupt));
  bytes[0] = 0;
  EXPECT_TRUE(identity_of_segment(bytes).is(Code::kUnsupported));
}

TEST(Page, SegmentNames) {
  EXPECT_EQ(segment_file_name({1, 1}, kSegment), "000000010000000000000001");
  EXPECT_EQ(segment_file_name({0xAB, 0x1FF}, kSegment), "000000AB00000001000000FF");
  EXPECT_EQ(segment_file_name({1, 5}, kMaxSegmentSize), "000000010000000100000001");
  for (const uint32_t size : {kMinSegmentSize, kSegment, kMaxSegmentSize}) {
    const SegmentName segment{3, 0x12345};
    EXPECT_EQ(parse_segment_file_name(segment_file_name(segment, size), size), segment);
  }
  for (const char* name : {"", "00000001000000000000000", "00000001000000000000000g",
                           "000000010000000000000100", "000000010000000000000001.partial"}) {
    EXPECT_FALSE(parse_segment_file_name(name, kSegment).has_value()) << name;
  }
}

// The eight places where a 114-byte record was booted from by a real Postgres, and where it must
// end.
TEST(Extent, TableOfTheForgedCheckpointPlaces) {
  struct Row {
    const char* what;
    uint64_t boundary;
    uint64_t start;
    uint64_t end;
  };
  constexpr Row kRows[] = {
      {"in a page", 0x9C5AA78, 0x9C5AA78, 0x9C5AAF0},
      {"24 bytes before a page's end", 0x9C5BFE8, 0x9C5BFE8, 0x9C5C018 + 96},
      {"8 bytes before a page's end", 0x9C5BFF8, 0x9C5BFF8, 0x9C5C018 + 112},
      {"across a page", 0x9C5BF90, 0x9C5BF90, 0x9C5C018 + 8},
      {"on a page's start", 0x9C5C000, 0x9C5C018, 0x9C5C018 + 120},
      {"across a segment", 0x9FFFFC0, 0x9FFFFC0, 0xA000028 + 56},
      {"8 bytes before a segment's end", 0x9FFFFF8, 0x9FFFFF8, 0xA000028 + 112},
      {"on a segment's start", 0xA000000, 0xA000028, 0xA000028 + 120},
  };
  for (const Row& row : kRows) {
    const LsnRange extent = record_extent(Lsn(row.boundary), 114, false, kSegment);
    EXPECT_EQ(extent.start, Lsn(row.start)) << row.what;
    EXPECT_EQ(extent.end, Lsn(row.end)) << row.what << " " << extent.end.to_string();
    EXPECT_EQ(to_start_form(Lsn(row.boundary), kSegment), Lsn(row.start)) << row.what;
    EXPECT_EQ(to_end_form(Lsn(row.start), kSegment), Lsn(row.boundary)) << row.what;
    EXPECT_EQ(record_extent(Lsn(row.start), 114, false, kSegment), extent) << row.what;
  }
}

TEST(Extent, EndsOnAnEdgeInEndForm) {
  // The last byte, and the padding behind it, may be what touches the edge.
  for (uint32_t length = 24; length <= 120; ++length) {
    const uint64_t padded = (length + 7) & ~7u;
    EXPECT_EQ(record_extent(Lsn(0x9C5C000 - padded), length, false, kSegment).end, Lsn(0x9C5C000));
    EXPECT_EQ(record_extent(Lsn(0xA000000 - padded), length, false, kSegment).end, Lsn(0xA000000));
  }
}

TEST(Extent, SwitchReachesTheSegmentsEnd) {
  constexpr uint64_t kStart = 0x9000000;
  constexpr uint64_t kEnd = kStart + kSegment;
  // The first page, the last page, and ending exactly at the segment's end.
  for (const uint64_t at : {kStart + 40, kStart + 8192 - 24, kStart + 8192 - 8, kEnd - 8192 + 24,
                            kEnd - 48, kEnd - 24}) {
    EXPECT_EQ(record_extent(Lsn(at), 24, true, kSegment), (LsnRange{Lsn(at), Lsn(kEnd)}));
  }
  // Its 24 bytes cross into the next segment, so that one is used up.
  EXPECT_EQ(record_extent(Lsn(kEnd - 8), 24, true, kSegment).end, Lsn(kEnd + kSegment));
  EXPECT_EQ(record_extent(Lsn(kEnd - 16), 24, true, kSegment).end, Lsn(kEnd + kSegment));
}

TEST(Extent, AgreesWithWalkingThePages) {
  RandomStream random(1, "extent");
  for (int round = 0; round < 20000; ++round) {
    const uint32_t segment = kMinSegmentSize << random.below(3);
    const Lsn start =
        to_start_form(normalise(Lsn(0x7000000 + random.below(4u << 20)), segment), segment);
    const uint64_t length = 24 + random.below(random.chance(200000) ? 3 << 20 : 30000);
    Lsn at = start;
    uint64_t left = length;
    while (left > 0) {
      if (at.page_offset() == 0) at = to_start_form(at, segment);
      const uint64_t count = std::min<uint64_t>(left, kWalPageSize - at.page_offset());
      at = at + count;
      left -= count;
    }
    const LsnRange extent = record_extent(start, length, false, segment);
    ASSERT_EQ(extent.end, at.align8());
    ASSERT_EQ(record_bytes_between(extent.start, at, segment), length);
    ASSERT_TRUE(can_be_boundary(extent.end, segment));
  }
}

TEST(Extent, NormalisesAnyPosition) {
  for (uint64_t value = 0xA000000 - 100; value < 0xA000000 + 100; ++value) {
    const Lsn normal = normalise(Lsn(value), kSegment);
    EXPECT_LE(normal, Lsn(value));
    EXPECT_EQ(normalise(normal, kSegment), normal);
    EXPECT_EQ(to_end_form(to_start_form(normal, kSegment), kSegment), normal);
    const bool in_header = value >= 0xA000000 && value < 0xA000000 + 48;
    EXPECT_EQ(normal, Lsn(in_header ? 0xA000000 : value & ~uint64_t{7}));
  }
}

TEST(Visibility, PositionsAndBits) {
  std::vector<uint8_t> bytes(kBlockSize, 0xFF);
  const std::span<uint8_t, kBlockSize> page(bytes.data(), kBlockSize);
  EXPECT_EQ(kHeapBlocksPerVisibilityPage, 32672u);
  EXPECT_EQ(visibility_position(32672 + 5).map_block, 1u);
  EXPECT_EQ(visibility_position(32672 + 5).byte, 25u);
  EXPECT_EQ(visibility_position(32672 + 5).shift, 2);
  EXPECT_EQ(visibility_pages(0), 0u);
  EXPECT_EQ(visibility_pages(32672), 1u);
  EXPECT_EQ(visibility_pages(32673), 2u);
  clear_visibility(page, 5, kAllFrozen);
  EXPECT_EQ(visibility_of(page, 5), kAllVisible);
  clear_visibility(page, 5, kVisibilityBits);
  EXPECT_EQ(visibility_of(page, 4), kVisibilityBits);
  EXPECT_EQ(visibility_of(page, 5), 0);
  EXPECT_EQ(visibility_of(page, 6), kVisibilityBits);
  set_visibility(page, 5, kAllVisible);
  truncate_visibility_page(page, 6);
  EXPECT_EQ(visibility_of(page, 5), kAllVisible);
  for (const uint32_t block : {6u, 7u, 8u, 32671u}) EXPECT_EQ(visibility_of(page, block), 0);
  EXPECT_EQ(bytes[23], 0xFF);
}

}  // namespace
}  // namespace varve::wal
