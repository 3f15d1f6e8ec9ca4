// decode(encode(records)) over every alignment, page and segment crossing and split of the input;
// and hostile bytes.
#include "wal/decoder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/codec.h"
#include "base/random.h"
#include "wal/extent.h"
#include "wal/writer.h"

namespace varve::wal {
namespace {

LogIdentity small_segments(uint16_t major = 15) {
  return {version_of_major(major), 0xC0FFEE, kMinSegmentSize, 1};
}

std::vector<uint8_t> random_bytes(RandomStream& random, size_t size) {
  std::vector<uint8_t> bytes(size);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.next());
  return bytes;
}

// Owns what a random record's spans point to.
struct OwnedRecord {
  std::vector<std::vector<uint8_t>> pieces;
  std::vector<BlockReference> blocks;
  RecordParts parts;
};

BlockImage random_image(RandomStream& random, const Version& version, OwnedRecord& owned) {
  BlockImage image;
  image.apply = random.chance(500000);
  const uint64_t methods = version.major == 14 ? 2 : 4;
  image.compression = static_cast<ImageCompression>(random.below(methods));
  if (random.chance(700000)) {
    image.hole_offset = static_cast<uint16_t>(random.between(1, 8000));
    image.hole_length = static_cast<uint16_t>(random.between(1, kBlockSize - image.hole_offset));
  }
  const size_t size = image.compression == ImageCompression::kNone ? kBlockSize - image.hole_length
                                                                   : random.between(1, 600);
  owned.pieces.push_back(random_bytes(random, size));
  image.bytes = owned.pieces.back();
  return image;
}

OwnedRecord random_record(RandomStream& random, const Version& version) {
  OwnedRecord owned;
  owned.pieces.reserve(128);
  uint32_t id = 0;
  const uint64_t count = random.chance(50000) ? random.below(34) : random.below(4);
  for (uint64_t i = 0; i < count && id <= kMaxBlockId; ++i) {
    BlockReference block;
    block.id = static_cast<uint8_t>(id);
    id += static_cast<uint32_t>(1 + random.below(2));
    block.block.relation = {1663, 5, static_cast<uint32_t>(16384 + random.below(2))};
    block.block.fork = static_cast<Fork>(random.below(4));
    block.block.block = static_cast<uint32_t>(random.next());
    block.will_init = random.chance(200000);
    if (random.chance(150000)) block.image = random_image(random, version, owned);
    if (random.chance(600000)) {
      owned.pieces.push_back(random_bytes(random, random.between(1, 200)));
      block.data = owned.pieces.back();
      block.has_data = true;
    }
    owned.blocks.push_back(block);
  }
  const uint64_t shape = random.below(100);
  const size_t main = shape < 20 ? 0 : shape < 90 ? random.below(300) : random.below(40000);
  owned.pieces.push_back(random_bytes(random, main));
  owned.parts.main_data = owned.pieces.back();
  owned.parts.blocks = owned.blocks;
  owned.parts.xid = static_cast<uint32_t>(random.next());
  owned.parts.info = static_cast<uint8_t>(random.below(16) << 4);
  owned.parts.info |= static_cast<uint8_t>(random.below(4));
  owned.parts.rmid = static_cast<uint8_t>(random.between(1, 21));
  if (random.chance(100000)) owned.parts.origin = static_cast<uint16_t>(random.next());
  if (random.chance(100000)) owned.parts.toplevel_xid = static_cast<uint32_t>(random.next());
  return owned;
}

void expect_same_bytes(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  ASSERT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end()));
}

void expect_equal(const Record& record, const RecordParts& parts) {
  EXPECT_EQ(record.xid, parts.xid);
  EXPECT_EQ(record.info, parts.info);
  EXPECT_EQ(record.rmid, parts.rmid);
  EXPECT_EQ(record.origin, parts.origin);
  EXPECT_EQ(record.toplevel_xid, parts.toplevel_xid);
  expect_same_bytes(record.main_data, parts.main_data);
  ASSERT_EQ(record.blocks.size(), parts.blocks.size());
  for (size_t i = 0; i < record.blocks.size(); ++i) {
    const BlockReference& got = record.blocks[i];
    const BlockReference& want = parts.blocks[i];
    EXPECT_EQ(got.id, want.id);
    EXPECT_EQ(got.block, want.block);
    EXPECT_EQ(got.will_init, want.will_init);
    EXPECT_EQ(got.has_data, want.has_data);
    expect_same_bytes(got.data, want.data);
    ASSERT_EQ(got.image.has_value(), want.image.has_value());
    if (!got.image.has_value()) continue;
    EXPECT_EQ(got.image->compression, want.image->compression);
    EXPECT_EQ(got.image->apply, want.image->apply);
    EXPECT_EQ(got.image->hole_offset, want.image->hole_offset);
    EXPECT_EQ(got.image->hole_length, want.image->hole_length);
    expect_same_bytes(got.image->bytes, want.image->bytes);
  }
}

// A log of random records, and where they lie.
struct Log {
  LogIdentity identity;
  Lsn begin;
  Lsn previous_of_first;
  std::vector<uint8_t> bytes;
  std::vector<OwnedRecord> records;
  std::vector<LsnRange> extents;
  std::vector<bool> switches;
};

Log random_log(RandomStream& random, const LogIdentity& identity, Lsn begin, size_t count) {
  Log log;
  log.identity = identity;
  log.begin = begin;
  log.previous_of_first = Lsn(begin.value - 64);
  LogWriter writer(identity, begin, log.previous_of_first);
  while (log.extents.size() < count) {
    if (random.chance(20000) && writer.boundary().segment_offset(identity.segment_size) != 0) {
      log.extents.push_back(writer.append_switch(log.bytes));
      log.switches.push_back(true);
      log.records.emplace_back();
      continue;
    }
    OwnedRecord record = random_record(random, *identity.version);
    std::vector<uint8_t> raw = build_record(*identity.version, record.parts);
    log.extents.push_back(writer.append(raw, log.bytes));
    log.switches.push_back(false);
    log.records.push_back(std::move(record));
  }
  EXPECT_EQ(writer.boundary(), begin + log.bytes.size());
  return log;
}

// Feeds pieces of drawn sizes and checks each record that comes out.
void decode_all(const Log& log, RandomStream& random, uint64_t max_piece, bool know_previous) {
  Decoder decoder({log.identity, Depth::kFull, TimelineRule::kExact});
  decoder.reset(log.begin, know_previous ? std::optional(log.previous_of_first) : std::nullopt);
  Record record;
  size_t seen = 0;
  size_t fed = 0;
  while (true) {
    const Step step = decoder.next(record);
    if (step == Step::kNeedMore) {
      ASSERT_EQ(decoder.fed_to(), log.begin + fed);
      if (fed == log.bytes.size()) break;
      const size_t size = std::min<size_t>(log.bytes.size() - fed, random.between(0, max_piece));
      decoder.feed(decoder.fed_to(), std::span(log.bytes).subspan(fed, size));
      fed += size;
      continue;
    }
    ASSERT_EQ(step, Step::kRecord) << decoder.status().to_string();
    ASSERT_LT(seen, log.extents.size());
    EXPECT_EQ((LsnRange{record.start, record.end}), log.extents[seen]);
    EXPECT_EQ(decoder.boundary(), record.end);
    EXPECT_EQ(decoder.previous(), record.start);
    EXPECT_EQ(record.previous, seen == 0 ? log.previous_of_first : log.extents[seen - 1].start);
    // Complete means that all of the extent was fed, and not handed out later than needed.
    EXPECT_LE(record.end, log.begin + fed);
    if (log.switches[seen]) {
      EXPECT_TRUE(record.is(Rmgr::kXlog));
      EXPECT_EQ(record.operation(), kXlogSwitch);
    } else {
      expect_equal(record, log.records[seen].parts);
    }
    if (testing::Test::HasFatalFailure()) return;
    ++seen;
  }
  EXPECT_EQ(seen, log.extents.size());
  EXPECT_EQ(decoder.boundary(), log.begin + log.bytes.size());
}

TEST(Decoder, DecodesWhatTheWriterWrote) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomStream random(seed, "decoder");
    const auto identity = small_segments(static_cast<uint16_t>(14 + seed % 5));
    const Lsn begin = normalise(Lsn(0x3000000 - 40000 + random.below(80000)), kMinSegmentSize);
    const Log log = random_log(random, identity, begin, 300);
    const uint64_t pieces[] = {1, 7, 100, 9000, uint64_t{1} << 40};
    for (const uint64_t piece : pieces) {
      // Single bytes over zero-filled segments prove nothing new after a while.
      if (piece == 1 && seed > 6) continue;
      decode_all(log, random, piece, random.chance(500000));
      if (HasFailure()) return;
    }
  }
}

// Every offset of a record's start before a page edge and a segment edge, at 8-byte steps.
TEST(Decoder, EveryAlignmentBeforeAnEdge) {
  for (const uint64_t edge : {uint64_t{0x3002000}, uint64_t{0x3100000}}) {
    for (uint64_t before = 0; before <= 256; before += 8) {
      for (const size_t main : {0u, 1u, 86u, 88u, 200u, 20000u}) {
        const auto identity = small_segments();
        Log log;
        log.identity = identity;
        log.begin = Lsn(edge - before);
        log.previous_of_first = Lsn(0x3000028);
        LogWriter writer(identity, log.begin, log.previous_of_first);
        for (int i = 0; i < 2; ++i) {
          OwnedRecord owned;
          owned.pieces.push_back(std::vector<uint8_t>(main, 0xAB));
          owned.parts.main_data = owned.pieces.back();
          owned.parts.rmid = static_cast<uint8_t>(Rmgr::kLogicalMessage);
          std::vector<uint8_t> raw = build_record(*identity.version, owned.parts);
          log.extents.push_back(writer.append(raw, log.bytes));
          log.switches.push_back(false);
          log.records.push_back(std::move(owned));
        }
        RandomStream random(before * 1000 + main, "edges");
        decode_all(log, random, 1, true);
        decode_all(log, random, 1 << 20, true);
        ASSERT_FALSE(HasFailure()) << edge - before << " " << main;
      }
    }
  }
}

TEST(Decoder, StartsAtAnyPage) {
  RandomStream random(7, "pages");
  const Log log = random_log(random, small_segments(), Lsn(0x3000000), 400);
  for (size_t page = 0; page + kWalPageSize < log.bytes.size(); page += kWalPageSize) {
    const Lsn lsn = log.begin + page;
    // Pages inside a switch have no header; a reader that starts there finds the end of the log.
    Decoder decoder({log.identity, Depth::kFull, TimelineRule::kExact});
    decoder.reset_to_page(lsn);
    decoder.feed(lsn, std::span(log.bytes).subspan(page));
    Record record;
    const Step step = decoder.next(record);
    size_t at = 0;
    while (at < log.extents.size() && log.extents[at].start < lsn) ++at;
    const bool in_switch = at > 0 && log.switches[at - 1] && lsn < log.extents[at - 1].end &&
                           lsn > log.extents[at - 1].start + 64;
    if (in_switch) {
      EXPECT_EQ(step, Step::kEndOfWal);
      continue;
    }
    ASSERT_EQ(step, at < log.extents.size() ? Step::kRecord : Step::kNeedMore)
        << decoder.status().to_string();
    if (at < log.extents.size()) {
      EXPECT_EQ(record.start, log.extents[at].start);
    }
  }
}

TEST(Decoder, HeaderDepthFindsTheSameBoundaries) {
  RandomStream random(8, "depth");
  const Log log = random_log(random, small_segments(), Lsn(0x3000000), 300);
  Decoder decoder({log.identity, Depth::kHeader, TimelineRule::kExact});
  decoder.reset(log.begin, log.previous_of_first);
  decoder.feed(log.begin, log.bytes);
  Record record;
  for (const LsnRange& extent : log.extents) {
    ASSERT_EQ(decoder.next(record), Step::kRecord);
    EXPECT_EQ((LsnRange{record.start, record.end}), extent);
    EXPECT_EQ(record.raw.size(), record.total_length);
    EXPECT_TRUE(record.blocks.empty());
  }
  EXPECT_EQ(decoder.next(record), Step::kNeedMore);
}

TEST(Decoder, GoesOnAfterAReset) {
  RandomStream random(9, "reset");
  const Log log = random_log(random, small_segments(), Lsn(0x3000000), 200);
  Decoder decoder({log.identity, Depth::kFull, TimelineRule::kExact});
  Record record;
  for (size_t i = 1; i < log.extents.size(); ++i) {
    // Half a record was received and is taken back.
    const Lsn boundary = log.extents[i - 1].end;
    decoder.reset(boundary, log.extents[i - 1].start);
    const size_t offset = boundary - log.begin;
    const size_t half = (log.extents[i].end - boundary) / 2;
    decoder.feed(boundary, std::span(log.bytes).subspan(offset, half));
    ASSERT_EQ(decoder.next(record), Step::kNeedMore);
    EXPECT_TRUE(decoder.mid_record());
    EXPECT_EQ(decoder.boundary(), boundary);
    decoder.reset(decoder.boundary(), decoder.previous());
    EXPECT_FALSE(decoder.mid_record());
    decoder.feed(boundary, std::span(log.bytes).subspan(offset));
    ASSERT_EQ(decoder.next(record), Step::kRecord) << decoder.status().to_string();
    EXPECT_EQ(record.end, log.extents[i].end);
    decoder.reset(boundary, Lsn(8));
    decoder.feed(to_start_form(boundary, kMinSegmentSize),
                 std::span(log.bytes).subspan(
                     offset + (to_start_form(boundary, kMinSegmentSize) - boundary)));
    ASSERT_EQ(decoder.next(record), Step::kCorrupt);  // the link is wrong
    EXPECT_EQ(decoder.status().detail().lsn, log.extents[i].start);
  }
}

// One record over three pages, cut off at the second page by a server that came back.
TEST(Decoder, OverwrittenContinuation) {
  const auto identity = small_segments();
  const Lsn begin(0x3000100);
  const Lsn previous(0x3000028);
  std::vector<uint8_t> bytes;
  LogWriter broken(identity, begin, previous);
  const std::vector<uint8_t> payload(20000, 7);
  std::vector<uint8_t> raw = build_record(*identity.version, {.rmid = 21, .main_data = payload});
  broken.append(raw, bytes);
  bytes.resize(0x3002000 - begin.value);
  const auto overwrite = [&](Lsn named, uint8_t operation) {
    std::vector<uint8_t> out = bytes;
    Writer main;
    main.le<uint64_t>(named.value);
    main.le<uint64_t>(0);
    std::vector<uint8_t> mark =
        build_record(*identity.version, {.info = operation, .rmid = 0, .main_data = main.span()});
    LogWriter again(identity, Lsn(0x3002000), previous);
    const size_t page = out.size();
    again.append(mark, out);
    out[page + 2] |= kPageFirstIsOverwrite;
    return out;
  };
  Record record;
  for (const size_t piece : {size_t{1}, size_t{100000}}) {
    const std::vector<uint8_t> good = overwrite(begin, kXlogOverwriteContinuation);
    Decoder decoder({identity, Depth::kHeader, TimelineRule::kExact});
    decoder.reset(begin, previous);
    size_t fed = 0;
    Step step = decoder.next(record);
    for (; step == Step::kNeedMore && fed < good.size(); step = decoder.next(record)) {
      const size_t size = std::min(piece, good.size() - fed);
      decoder.feed(decoder.fed_to(), std::span(good).subspan(fed, size));
      fed += size;
    }
    ASSERT_EQ(step, Step::kRecord) << decoder.status().to_string();
    EXPECT_EQ(record.start, Lsn(0x3002018));
    EXPECT_EQ(decoder.overwritten(), begin);
    EXPECT_EQ(decoder.boundary(), record.end);
  }
  for (const auto& bad :
       {overwrite(begin + 8, kXlogOverwriteContinuation), overwrite(begin, 0x20)}) {
    Decoder decoder({identity, Depth::kFull, TimelineRule::kExact});
    decoder.reset(begin, previous);
    decoder.feed(begin, bad);
    EXPECT_EQ(decoder.next(record), Step::kCorrupt);
    EXPECT_EQ(decoder.status().detail().lsn, Lsn(0x3002018));
  }
}

TEST(Decoder, ZerosAreTheEndOfTheLog) {
  const auto identity = small_segments();
  Record record;
  for (const uint64_t begin : {uint64_t{0x3000100}, uint64_t{0x3002000}, uint64_t{0x3100000}}) {
    const std::vector<uint8_t> zeros(100);
    Decoder decoder({identity, Depth::kFull, TimelineRule::kExact});
    decoder.reset(Lsn(begin), std::nullopt);
    decoder.feed(Lsn(begin), zeros);
    EXPECT_EQ(decoder.next(record), Step::kEndOfWal);
    EXPECT_EQ(decoder.next(record), Step::kEndOfWal);
    EXPECT_EQ(decoder.boundary(), Lsn(begin));
  }
}

TEST(Decoder, TimelineRules) {
  auto identity = small_segments();
  const std::vector<uint8_t> payload(8000, 1);
  std::vector<uint8_t> bytes;
  Lsn previous(0x3000028);
  Lsn boundary(0x3002000);
  for (const uint32_t timeline : {2u, 3u, 3u, 2u}) {
    identity.timeline = timeline;
    LogWriter writer(identity, boundary, previous);
    std::vector<uint8_t> raw = build_record(*identity.version, {.rmid = 21, .main_data = payload});
    writer.append(raw, bytes);
    boundary = writer.boundary();
    previous = writer.previous();
    // Fill the page up, so that the next record starts a page.
    std::vector<uint8_t> fill = build_record(
        *identity.version,
        {.rmid = 21,
         .main_data = std::vector<uint8_t>(kWalPageSize - boundary.page_offset() - 26, 2)});
    writer.append(fill, bytes);
    boundary = writer.boundary();
    previous = writer.previous();
    ASSERT_EQ(boundary.page_offset(), 0u);
  }
  identity.timeline = 2;
  const auto count = [&](TimelineRule rule) {
    Decoder decoder({identity, Depth::kFull, rule});
    decoder.reset(Lsn(0x3002000), Lsn(0x3000028));
    decoder.feed(Lsn(0x3002000), bytes);
    Record record;
    int records = 0;
    while (decoder.next(record) == Step::kRecord) ++records;
    EXPECT_TRUE(decoder.status().is(Code::kCorrupt));
    return records;
  };
  EXPECT_EQ(count(TimelineRule::kExact), 2);
  EXPECT_EQ(count(TimelineRule::kNonDecreasing), 6);
}

// Any byte of a log may be anything: the decoder answers, and never hands out a record that was
// changed.
TEST(Decoder, HostileBytes) {
  RandomStream random(11, "hostile");
  const Log log = random_log(random, small_segments(), Lsn(0x30FF000), 60);
  const size_t size = std::min<size_t>(log.bytes.size(), 200000);
  Record record;
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> bytes(log.bytes.begin(), log.bytes.begin() + static_cast<long>(size));
    const uint64_t changes = random.between(1, 4);
    for (uint64_t i = 0; i < changes; ++i) {
      const size_t at = random.below(size);
      const auto bits = static_cast<uint8_t>(1 + random.below(255));
      bytes[at] ^= bits;
    }
    Decoder decoder({log.identity, Depth::kFull, TimelineRule::kExact});
    decoder.reset(log.begin, std::nullopt);
    const uint64_t cut = random.below(size);
    decoder.feed(log.begin, std::span(bytes).first(cut));
    size_t seen = 0;
    bool fed_rest = false;
    while (true) {
      const Step step = decoder.next(record);
      if (step == Step::kRecord) {
        ASSERT_EQ((LsnRange{record.start, record.end}), log.extents[seen]);
        if (!log.switches[seen]) {
          std::vector<uint8_t> want = build_record(*log.identity.version, log.records[seen].parts);
          seal_record(want, record.previous);
          // The two paddings of a page header are all that may change unnoticed.
          expect_same_bytes(record.raw, want);
          ASSERT_FALSE(HasFatalFailure());
        }
        ++seen;
        continue;
      }
      if (step == Step::kNeedMore && !fed_rest) {
        fed_rest = true;
        decoder.feed(decoder.fed_to(), std::span(bytes).subspan(cut));
        continue;
      }
      break;
    }
  }
}

// The same without checksums in the way: a body of random bytes, or a good one with a few changed.
TEST(Decoder, HostileBodies) {
  RandomStream random(12, "bodies");
  const Version& version = *version_of_major(15);
  Record record;
  int decoded = 0;
  for (int round = 0; round < 200000; ++round) {
    std::vector<uint8_t> raw;
    if (random.chance(500000)) {
      const OwnedRecord owned = random_record(random, version);
      raw = build_record(version, owned.parts);
      const uint64_t changes = random.between(1, 3);
      for (uint64_t i = 0; i < changes && raw.size() > 24; ++i) {
        const size_t at = 24 + random.below(std::min<size_t>(raw.size() - 24, 120));
        raw[at] = static_cast<uint8_t>(random.next());
      }
    } else {
      raw = random_bytes(random, 24 + random.below(64));
      store_le<uint32_t>(raw.data(), static_cast<uint32_t>(raw.size()));
      raw[17] = 10;
      raw[16] = raw[18] = raw[19] = 0;
      if (raw.size() > 24 && random.chance(700000)) raw[24] = static_cast<uint8_t>(random.below(2));
    }
    seal_record(raw, Lsn(0x1000028));
    // On the heap at exactly its size, so that the address sanitizer sees any step outside.
    const Status status = decode_record(version, Lsn(8), Lsn(16), raw, record);
    if (!status.ok()) continue;
    ++decoded;
    size_t total = record.main_data.size();
    for (const BlockReference& block : record.blocks) {
      total += block.data.size();
      if (block.image.has_value()) total += block.image->bytes.size();
    }
    ASSERT_LE(total, raw.size());
  }
  EXPECT_GT(decoded, 1000);
}

TEST(Decoder, LengthsNearTheLimitsDoNotWrap) {
  const Version& version = *version_of_major(15);
  std::vector<uint8_t> raw(40, 0);
  store_le<uint32_t>(raw.data(), 40);
  raw[17] = 21;
  raw[24] = 254;
  store_le<uint32_t>(raw.data() + 25, 0xFFFFFFFF);
  seal_record(raw, Lsn(8));
  Record record;
  EXPECT_TRUE(decode_record(version, Lsn(8), Lsn(16), raw, record).is(Code::kCorrupt));
}

}  // namespace
}  // namespace varve::wal
