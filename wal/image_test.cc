#include "wal/image.h"

#include <gtest/gtest.h>
#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/random.h"

namespace varve::wal {
namespace {

using Bytes8 = std::vector<uint8_t>;

// A naive pglz compressor that takes a match wherever it finds one, overlapping ones included.
Bytes8 pglz_compress(std::span<const uint8_t> source) {
  Bytes8 out;
  size_t at = 0;
  size_t control = 0;
  int bit = 8;
  while (at < source.size()) {
    if (bit == 8) {
      control = out.size();
      out.push_back(0);
      bit = 0;
    }
    size_t best = 0;
    size_t distance = 0;
    for (size_t d = 1; d <= std::min<size_t>(at, 4095) && best < 273; ++d) {
      size_t n = 0;
      while (n < 273 && at + n < source.size() && source[at + n] == source[at + n - d]) ++n;
      if (n > best) {
        best = n;
        distance = d;
      }
    }
    if (best >= 3) {
      out[control] |= static_cast<uint8_t>(1 << bit);
      const size_t low = best >= 18 ? 15 : best - 3;
      out.push_back(static_cast<uint8_t>(distance >> 4 & 0xF0) | static_cast<uint8_t>(low));
      out.push_back(static_cast<uint8_t>(distance));
      if (best >= 18) out.push_back(static_cast<uint8_t>(best - 18));
      at += best;
    } else {
      out.push_back(source[at++]);
    }
    ++bit;
  }
  return out;
}

struct Case {
  Bytes8 page;
  Bytes8 stored;
  BlockImage image;
};

Case make_case(RandomStream& random, ImageCompression compression) {
  Case c;
  c.page.resize(kBlockSize);
  uint8_t value = 0;
  for (size_t i = 0; i < kBlockSize; ++i) {
    if (random.chance(30000)) value = static_cast<uint8_t>(random.next());
    c.page[i] = value;
  }
  if (random.chance(700000)) {
    c.image.hole_offset = static_cast<uint16_t>(random.between(1, 8000));
    c.image.hole_length =
        static_cast<uint16_t>(random.between(1, kBlockSize - c.image.hole_offset));
    std::fill_n(c.page.begin() + c.image.hole_offset, c.image.hole_length, 0);
  }
  Bytes8 body(c.page.begin(), c.page.begin() + c.image.hole_offset);
  body.insert(body.end(), c.page.begin() + c.image.hole_offset + c.image.hole_length, c.page.end());
  c.image.compression = compression;
  switch (compression) {
    case ImageCompression::kNone:
      c.stored = body;
      break;
    case ImageCompression::kPglz:
      c.stored = pglz_compress(body);
      break;
    case ImageCompression::kLz4:
      c.stored.resize(static_cast<size_t>(LZ4_compressBound(static_cast<int>(body.size()))));
      c.stored.resize(static_cast<size_t>(LZ4_compress_default(
          reinterpret_cast<const char*>(body.data()), reinterpret_cast<char*>(c.stored.data()),
          static_cast<int>(body.size()), static_cast<int>(c.stored.size()))));
      break;
    case ImageCompression::kZstd:
      c.stored.resize(ZSTD_compressBound(body.size()));
      c.stored.resize(ZSTD_compress(c.stored.data(), c.stored.size(), body.data(), body.size(), 1));
      break;
  }
  c.image.bytes = c.stored;
  return c;
}

constexpr ImageCompression kAll[] = {ImageCompression::kNone, ImageCompression::kPglz,
                                     ImageCompression::kLz4, ImageCompression::kZstd};

TEST(Image, RestoresEveryMethod) {
  RandomStream random(1, "image");
  ImageRestorer restorer;
  Bytes8 page(kBlockSize);
  for (int round = 0; round < 200; ++round) {
    for (const ImageCompression compression : kAll) {
      const Case c = make_case(random, compression);
      std::fill(page.begin(), page.end(), 0xEE);
      const Status status =
          restorer.restore(c.image, std::span<uint8_t, kBlockSize>(page.data(), kBlockSize));
      ASSERT_TRUE(status.ok()) << status.to_string();
      ASSERT_EQ(page, c.page) << static_cast<int>(compression);
    }
  }
}

TEST(Image, HostileBytes) {
  RandomStream random(2, "hostile");
  ImageRestorer restorer;
  int refused = 0;
  constexpr int kRounds = 2000;
  for (int round = 0; round < kRounds; ++round) {
    Case c = make_case(random, kAll[round % 4]);
    const uint64_t kind = random.below(3);
    if (kind == 0) {
      c.stored.resize(random.below(c.stored.size() + 1));
    } else if (kind == 1 && !c.stored.empty()) {
      for (int i = 0; i < 3; ++i) {
        const size_t at = random.below(c.stored.size());
        c.stored[at] = static_cast<uint8_t>(random.next());
      }
    } else {
      c.image.hole_offset = static_cast<uint16_t>(random.next());
      c.image.hole_length = static_cast<uint16_t>(random.next());
    }
    c.stored.shrink_to_fit();
    c.image.bytes = c.stored;
    Bytes8 page(kBlockSize);
    const Status status =
        restorer.restore(c.image, std::span<uint8_t, kBlockSize>(page.data(), kBlockSize));
    if (!status.ok()) {
      EXPECT_EQ(status.code(), Code::kCorrupt);
      ++refused;
    }
  }
  EXPECT_GT(refused, kRounds / 2);
}

TEST(Image, PglzRefusesWhatDoesNotFit) {
  Bytes8 out(10);
  const Bytes8 no_distance = {0x02, 'a', 0x00, 0x00};
  EXPECT_FALSE(pglz_decompress(no_distance, out));
  const Bytes8 too_far = {0x02, 'a', 0x00, 0x02};
  EXPECT_FALSE(pglz_decompress(too_far, out));
  const Bytes8 run = {0x02, 'a', 0x06, 0x01};
  EXPECT_TRUE(pglz_decompress(run, out));
  EXPECT_EQ(out, Bytes8(10, 'a'));
  EXPECT_FALSE(pglz_decompress(Bytes8{0x02, 'a', 0x06, 0x01, 'b'}, out));  // bytes left over
  EXPECT_FALSE(pglz_decompress(Bytes8{0x02, 'a', 0x05, 0x01}, out));       // one byte short
}

}  // namespace
}  // namespace varve::wal
