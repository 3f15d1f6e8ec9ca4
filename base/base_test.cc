// The vocabulary's laws: text forms round-trip, hostile text is refused, checksums agree, draws are
// counted.
#include <gtest/gtest.h>
// gtest must come before this one, or FAIL does not compile.
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/ids.h"
#include "base/lsn.h"
#include "base/options.h"
#include "base/random.h"
#include "base/status.h"
#include "base/time.h"

namespace varve {
namespace {

RC_GTEST_PROP(Lsn, TextRoundTrips, (uint64_t value)) {
  const auto parsed = Lsn::parse(Lsn(value).to_string());
  RC_ASSERT(parsed.has_value());
  RC_ASSERT(parsed->value == value);
}

TEST(Lsn, RefusesWhatIsNoPosition) {
  for (const char* text :
       {"", "/", "1/", "/1", "1", "1/123456789", "1/2/3", "1/g", " 1/2", "1/2 "}) {
    EXPECT_FALSE(Lsn::parse(text).has_value()) << text;
  }
  EXPECT_EQ(Lsn::parse("0/16b3748")->value, 0x16B3748u);
}

TEST(Lsn, AlignsUpToEight) {
  EXPECT_EQ(Lsn(1).align8(), Lsn(8));
  EXPECT_EQ(Lsn(8).align8(), Lsn(8));
  EXPECT_EQ(Lsn(8193).page_start(), Lsn(8192));
}

RC_GTEST_PROP(Ids, TextRoundTrips, (std::vector<uint8_t> raw, uint8_t number, uint8_t count)) {
  TenantShardId id;
  for (size_t i = 0; i < raw.size(); ++i) id.tenant.bytes[i % 16] ^= raw[i];
  RC_PRE(number < count);
  id.number = number;
  id.count = count;
  RC_ASSERT(TenantShardId::parse(id.to_string()) == id);
  RC_ASSERT(TenantId::parse(id.tenant.to_string()) == id.tenant);
}

TEST(Ids, UnshardedEndsInOneShardOfOne) {
  const std::string text = TenantShardId{}.to_string();
  EXPECT_EQ(text, std::string(32, '0') + "-0001");
  EXPECT_FALSE(TenantShardId::parse(std::string(32, '0')).has_value());
  EXPECT_FALSE(TenantShardId::parse(std::string(32, '0') + "-0101").has_value());
}

TEST(Crc32c, KnownAnswers) {
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283u);
  EXPECT_EQ(crc32c({}), 0u);
}

// RapidCheck's inputs are short; long ones are read in lanes.
TEST(Crc32c, LongInputsAgreeWithTheTable) {
  RandomStream random(1, "crc32c");
  std::vector<uint8_t> bytes(20000);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.next());
  for (int round = 0; round < 2000; ++round) {
    const size_t from = random.below(64);
    const size_t size = random.below(round % 2 == 0 ? 1700 : bytes.size() - from);
    const auto piece = std::span<const uint8_t>(bytes).subspan(from, size);
    const auto seed = static_cast<uint32_t>(random.next());
    ASSERT_EQ(crc32c(piece, seed), internal::crc32c_portable(piece, seed)) << size;
  }
}

RC_GTEST_PROP(Crc32c, ContinuesAndAgreesWithTheTable, (std::vector<uint8_t> bytes)) {
  const std::span<const uint8_t> all(bytes);
  const size_t cut = *rc::gen::inRange<size_t>(0, bytes.size() + 1);
  RC_ASSERT(crc32c(all.subspan(cut), crc32c(all.first(cut))) == crc32c(all));
  RC_ASSERT(internal::crc32c_portable(all, 0) == crc32c(all));
}

RC_GTEST_PROP(Codec, IntegersRoundTripInBothOrders,
              (uint64_t a, uint32_t b, uint16_t c, int64_t d)) {
  Writer writer;
  writer.le(a);
  writer.be(a);
  writer.be(b);
  writer.le(c);
  writer.be(d);
  writer.cstring("name");
  Reader reader(writer.span());
  RC_ASSERT(reader.le<uint64_t>() == a);
  RC_ASSERT(reader.be<uint64_t>() == a);
  RC_ASSERT(reader.be<uint32_t>() == b);
  RC_ASSERT(reader.le<uint16_t>() == c);
  RC_ASSERT(reader.be<int64_t>() == d);
  RC_ASSERT(reader.cstring() == "name");
  RC_ASSERT(reader.done());
}

RC_GTEST_PROP(Codec, AReaderNeverLeavesItsSpan, (std::vector<uint8_t> bytes)) {
  Reader reader{std::span<const uint8_t>(bytes)};
  while (reader.ok()) {
    switch (*rc::gen::inRange(0, 4)) {
      case 0:
        (void)reader.be<uint64_t>();
        break;
      case 1:
        (void)reader.cstring();
        break;
      case 2:
        (void)reader.bytes(*rc::gen::inRange<size_t>(1, 100));
        break;
      default:
        (void)reader.u8();
        break;
    }
  }
  RC_ASSERT(reader.position() <= bytes.size());
  RC_ASSERT(reader.u8() == 0);
}

class CountingOwner : public SlabOwner {
 public:
  void slab_freed(size_t capacity) noexcept override { freed += capacity; }
  size_t freed = 0;
};

TEST(Bytes, TheLastUserFreesTheSlab) {
  CountingOwner owner;
  {
    MutableBytes fresh(10000, &owner);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(fresh.data()) % kSlabAlignment, 0u);
    fresh.data()[5000] = 7;
    Bytes all = std::move(fresh).freeze();
    Bytes part = all.slice(5000, 1);
    all = Bytes();
    EXPECT_EQ(owner.freed, 0u);
    EXPECT_EQ(part[0], 7);
  }
  EXPECT_EQ(owner.freed, 12288u);
}

TEST(Bytes, ConcatenatesAScatterList) {
  const std::vector<Bytes> pieces = {Bytes::copy("ab"), Bytes(), Bytes::copy("c")};
  EXPECT_EQ(concatenate(pieces).view(), "abc");
  EXPECT_EQ(total_size(pieces), 3u);
}

TEST(Status, NamesWhatWhereAndWhatToDo) {
  const Status status = Status(Code::kCorrupt, "checksum of block 7 does not match")
                            .with_object("layer-1")
                            .with_lsn(Lsn(0x16B3748))
                            .with_hint("restore it from the object store")
                            .with_context("reading a page");
  EXPECT_EQ(status.to_string(),
            "corrupt: reading a page: checksum of block 7 does not match (object: layer-1; lsn: "
            "0/16B3748; hint: restore it from the object store)");
  EXPECT_EQ(sizeof(Status), sizeof(void*));
  const Status copy = status;
  EXPECT_EQ(copy.code(), Code::kCorrupt);
  EXPECT_TRUE(Status().ok());
}

TEST(Status, EveryCodeHasANameAndAPolicy) {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(Code::kInternal); ++i) {
    names.insert(code_name(static_cast<Code>(i)));
    EXPECT_EQ(std::string(policy_of(static_cast<Code>(i)).sqlstate).size(), 5u);
  }
  EXPECT_EQ(names.size(), 14u);
}

TEST(Random, StreamsAreIndependentOfOneAnother) {
  RandomStream a(1, "network");
  RandomStream b(1, "disk");
  EXPECT_NE(a.next(), b.next());
  RandomStream again(1, "network");
  (void)again.next();
  EXPECT_EQ(a.next(), again.next());
  EXPECT_EQ(a.draws(), 2u);
}

RC_GTEST_PROP(Random, StaysInItsBounds, (uint64_t seed, uint32_t low, uint32_t span)) {
  RandomStream stream(seed, "x");
  const uint64_t value = stream.between(low, uint64_t{low} + span);
  RC_ASSERT(value >= low && value <= uint64_t{low} + span);
}

struct SampleOptions {
  uint64_t segment_bytes = 16 << 20;
  Duration interval = Duration::seconds(1);
  bool eager = false;
  template <class V>
  static void describe(V&& v) {
    v(&SampleOptions::segment_bytes,
      OptionInfo{"segment_bytes", "bytes", 1 << 20, 64 << 20, "why"});
    v(&SampleOptions::interval, OptionInfo{"interval", "ms", 1, 60000, "why"});
    v(&SampleOptions::eager, OptionInfo{"eager", "bool", 0, 1, "why"});
  }
};

TEST(Options, TextIsCheckedAgainstTheRange) {
  SampleOptions options;
  EXPECT_TRUE(set_option(options, "interval", "250").ok());
  EXPECT_EQ(options.interval, Duration::millis(250));
  EXPECT_TRUE(set_option(options, "eager", "true").ok());
  EXPECT_TRUE(options.eager);
  const Status status = set_option(options, "segment_bytes", "3");
  EXPECT_TRUE(status.is(Code::kInvalid));
  EXPECT_NE(status.message().find("between 1048576 and 67108864 bytes"), std::string::npos);
  EXPECT_TRUE(set_option(options, "no_such", "1").is(Code::kInvalid));
  EXPECT_TRUE(set_option(options, "interval", "12x").is(Code::kInvalid));
}

RC_GTEST_PROP(Options, DrawsStayInTheirRange, (uint64_t seed)) {
  RandomStream random(seed, "options");
  SampleOptions options;
  draw_options(options, random);
  RC_ASSERT(options.segment_bytes >= (1u << 20) && options.segment_bytes <= (64u << 20));
  RC_ASSERT(options.interval >= Duration::millis(1) && options.interval <= Duration::seconds(60));
}

}  // namespace
}  // namespace varve
