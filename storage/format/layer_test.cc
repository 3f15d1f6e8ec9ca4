#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/options.h"
#include "base/random.h"
#include "storage/format/layer_reader.h"
#include "storage/format/layer_writer.h"
#include "storage/layer_map.h"
#include "storage/value.h"

namespace varve::storage {
namespace {

using Model = std::map<std::pair<Key, Lsn>, std::vector<uint8_t>>;

TenantId tenant() {
  return *TenantId::parse("00112233445566778899aabbccddeeff");
}
TimelineId timeline() {
  return *TimelineId::parse("ffeeddccbbaa99887766554433221100");
}

Key draw_key(RandomStream& random) {
  const auto relation = static_cast<uint32_t>(random.below(3));
  const auto block = static_cast<uint32_t>(random.below(12));
  if (random.chance(200000)) return Key::relation_size({1663, 5, relation}, wal::Fork::kMain);
  return Key::block({{1663, 5, relation}, wal::Fork::kMain, block});
}

std::vector<uint8_t> draw_value(RandomStream& random) {
  const uint64_t shape = random.below(4);
  if (shape == 0) return make_value(ValueKind::kZeroPage);
  const size_t size = random.below(shape == 1 ? 3000 : 40);
  std::vector<uint8_t> payload(size);
  const auto fill = static_cast<uint8_t>(random.next());
  for (uint8_t& byte : payload)
    byte = random.chance(300000) ? static_cast<uint8_t>(random.next()) : fill;
  return make_value(shape == 3 ? ValueKind::kSlruDelta : ValueKind::kImage, payload);
}

Bytes join(const std::vector<Bytes>& content) {
  return concatenate(content);
}

ReadRange read_of(Bytes file) {
  return [file = std::move(file)](uint64_t offset, uint64_t length) -> Result<Bytes> {
    if (offset > file.size() || length > file.size() - offset)
      return Status(Code::kCorrupt, "the file is cut");
    return file.slice(offset, length);
  };
}

struct Written {
  LayerDescriptor descriptor;
  Bytes file;
};

Written write(const Model& model, LayerKind kind, LsnRange lsn, const LayerFormatOptions& options) {
  LayerWriter writer(kind, tenant(), timeline(), lsn, options);
  for (const auto& [at, value] : model) writer.add(at.first, at.second, value);
  LayerWriter::Finished finished = writer.finish(KeyRange::all());
  Written written{finished.descriptor, join(finished.content)};
  EXPECT_EQ(written.file.size(), written.descriptor.size);
  return written;
}

Model draw_model(RandomStream& random, LsnRange lsn, uint64_t count) {
  Model model;
  for (uint64_t i = 0; i < count; ++i) {
    const Key key = draw_key(random);
    const Lsn at = lsn.start + random.below(lsn.end - lsn.start);
    model[{key, at}] = draw_value(random);
  }
  return model;
}

LayerFormatOptions draw_format(RandomStream& random) {
  LayerFormatOptions options;
  draw_options(options, random);
  if (options.compression_level > 3) options.compression_level = 3;
  return options;
}

bool same(const Bytes& a, const std::vector<uint8_t>& b) {
  return std::ranges::equal(a.span(), b);
}

TEST(Layer, HoldsWhatWasWritten) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RandomStream random(seed, "layer");
    const LsnRange lsn{Lsn(1000), Lsn(1000 + 1 + random.below(4000))};
    const uint64_t count = random.below(400);
    const Model model = draw_model(random, lsn, count);
    const LayerFormatOptions format = draw_format(random);
    const Written written = write(model, LayerKind::kDelta, lsn, format);
    BlockCache cache(random.below(3) * 20000);
    auto reader = LayerReader::open(written.descriptor, tenant(), timeline(), read_of(written.file),
                                    random.chance(500000) ? &cache : nullptr);
    ASSERT_TRUE(reader.ok()) << reader.status().to_string();

    const Key first = draw_key(random);
    const Key second = draw_key(random);
    const KeyRange range = random.chance(300000) ? KeyRange::all() : KeyRange{first, second};
    auto at = model.lower_bound({range.start, Lsn(0)});
    LayerReader::Iterator it = (*reader)->iterate(range);
    for (;;) {
      const auto more = it.next();
      ASSERT_TRUE(more.ok());
      if (!*more) break;
      ASSERT_TRUE(at != model.end());
      EXPECT_EQ(it.value().key, at->first.first);
      EXPECT_EQ(it.value().lsn, at->first.second);
      EXPECT_TRUE(same(it.value().bytes, at->second));
      ++at;
    }
    EXPECT_TRUE(range.empty() || at == model.lower_bound({range.end, Lsn(0)}));

    for (int i = 0; i < 40; ++i) {
      const Key key = draw_key(random);
      const Lsn from(random.below(6000));
      const Lsn to(random.below(6000));
      std::vector<StoredValue> chain;
      const auto complete = (*reader)->find_chain(key, {from, to}, chain);
      ASSERT_TRUE(complete.ok()) << complete.status().to_string();
      size_t n = 0;
      bool started = false;
      auto down = model.lower_bound({key, to});
      while (!started && from < to && down != model.begin() && (--down)->first.first == key &&
             down->first.second >= from) {
        ASSERT_LT(n, chain.size());
        EXPECT_EQ(chain[n].lsn, down->first.second);
        EXPECT_TRUE(same(chain[n++].bytes, down->second));
        started = starts_chain(*parse_value(down->second));
      }
      EXPECT_EQ(n, chain.size());
      EXPECT_EQ(*complete, started);
    }
  }
}

// Each byte of the file in turn: opening it or reading all of it must fail and name the layer.
TEST(Layer, EveryFlippedByteIsDetectedAndNamed) {
  RandomStream random(7, "flip");
  const LsnRange lsn{Lsn(1000), Lsn(2000)};
  LayerFormatOptions format;
  format.block_bytes = 512;
  for (int level : {0, 1}) {
    format.compression_level = level;
    const Written written = write(draw_model(random, lsn, 60), LayerKind::kDelta, lsn, format);
    for (size_t at = 0; at < written.file.size(); ++at) {
      MutableBytes copy(written.file.size());
      std::ranges::copy(written.file.span(), copy.data());
      copy.data()[at] ^= static_cast<uint8_t>(1 + random.below(255));
      auto reader = LayerReader::open(written.descriptor, tenant(), timeline(),
                                      read_of(std::move(copy).freeze()), nullptr);
      Status status = reader.status();
      bool opened = false;
      if (reader.ok()) {
        opened = true;
        LayerReader::Iterator it = (*reader)->iterate(KeyRange::all());
        Result<bool> more = true;
        while (more.ok() && *more) more = it.next();
        status = more.status();
      }
      ASSERT_EQ(status.code(), Code::kCorrupt) << "byte " << at;
      EXPECT_NE(status.detail().object.find(written.descriptor.name()), std::string::npos);
      if (opened) {
        EXPECT_NE(status.message().find("1663/5/"), std::string::npos) << status.message();
      }
    }
  }
}

TEST(Layer, ACutOrForeignFileIsRefused) {
  RandomStream random(8, "cut");
  const LsnRange lsn{Lsn(1000), Lsn(2000)};
  const Written written = write(draw_model(random, lsn, 60), LayerKind::kDelta, lsn, {});
  for (size_t size = 0; size < written.file.size(); size += 97) {
    EXPECT_FALSE(LayerReader::open(written.descriptor, tenant(), timeline(),
                                   read_of(written.file.slice(0, size)), nullptr)
                     .ok());
  }
  EXPECT_TRUE(
      LayerReader::open(written.descriptor, tenant(), TimelineId(), read_of(written.file), nullptr)
          .is(Code::kCorrupt));
  LayerDescriptor other = written.descriptor;
  other.lsn.end = Lsn(3000);
  EXPECT_TRUE(LayerReader::open(other, tenant(), timeline(), read_of(written.file), nullptr)
                  .is(Code::kCorrupt));
}

TEST(Key, OrderHexAndBlocksAgree) {
  RandomStream random(1, "keys");
  std::vector<wal::BlockId> blocks;
  const auto draw32 = [&] {
    const uint64_t shift = random.between(32, 63);
    return static_cast<uint32_t>(random.next() >> shift);
  };
  for (int i = 0; i < 500; ++i) {
    wal::BlockId id;
    id.relation.tablespace = draw32();
    id.relation.database = draw32();
    id.relation.relation = draw32();
    id.fork = static_cast<wal::Fork>(random.below(4));
    id.block = draw32();
    blocks.push_back(id);
    const Key key = Key::block(id);
    EXPECT_EQ(key.to_block(), id);
    EXPECT_EQ(Key::parse_hex(key.to_hex()), key);
    EXPECT_LT(key, key.successor());
    EXPECT_LT(key, Key::relation_size(id.relation, id.fork));
    const wal::BlockId& other = blocks[random.below(blocks.size())];
    EXPECT_EQ(key <=> Key::block(other), id <=> other);
    EXPECT_EQ(key.to_hex() < Key::block(other).to_hex(), key < Key::block(other));
  }
  EXPECT_TRUE(KeyRange::of_kind(KeyKind::kRelationSize, 1663, UINT32_MAX)
                  .contains(Key::relation_size({1663, UINT32_MAX, 9}, wal::Fork::kInit)));
  EXPECT_FALSE(KeyRange::of_kind(KeyKind::kRelationSize, 1663, 5)
                   .contains(Key::relation_size({1663, 6, 0}, wal::Fork::kMain)));
}

TEST(Key, ShardsSpreadPagesByStripeAndKeepForksTogether) {
  std::set<uint8_t> seen;
  for (uint32_t relation = 0; relation < 200; ++relation) {
    for (uint32_t block : {0u, 2047u, 2048u, 100000u}) {
      const wal::BlockId id{{1663, relation % 7, relation}, wal::Fork::kMain, block};
      wal::BlockId map = id;
      map.fork = wal::Fork::kVisibility;
      map.relation.database = 99;
      const uint8_t shard = shard_of(Key::block(id), 8, 2048);
      EXPECT_EQ(shard, shard_of(Key::block(map), 8, 2048));
      seen.insert(shard);
      wal::BlockId init = id;
      init.fork = wal::Fork::kInit;
      EXPECT_EQ(shard_of(Key::block(init), 8, 2048), 0);
    }
    EXPECT_EQ(shard_of(Key::block({{1663, 5, relation}, wal::Fork::kMain, 0}), 8, 2048),
              shard_of(Key::block({{1663, 5, relation}, wal::Fork::kMain, 2047}), 8, 2048));
    EXPECT_EQ(shard_of(Key::relation_size({1663, 5, relation}, wal::Fork::kMain), 8, 2048), 0);
  }
  EXPECT_EQ(seen.size(), 8u);
}

LayerRef layer(LayerKind kind, KeyRange keys, uint64_t from, uint64_t to, uint64_t number) {
  auto made = std::make_shared<LayerDescriptor>();
  made->kind = kind;
  made->keys = keys;
  made->lsn = {Lsn(from), Lsn(to)};
  made->number = number;
  return made;
}

// Against a flat list: which layers can hold a version that a read must see.
TEST(LayerMap, VisitsWhatAFlatListSays) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RandomStream random(seed, "layer map");
    LayerMap map;
    std::vector<LayerRef> layers;
    const auto key = [](uint64_t i) {
      return Key::make(KeyKind::kBlock, 0, 0, 0, 0, static_cast<uint32_t>(i));
    };
    uint64_t lsn = 10;
    uint64_t number = 0;
    const uint64_t runs = random.below(8);
    std::set<uint64_t> image_lsns;
    for (uint64_t run = 0; run < runs; ++run) {
      const uint64_t end = lsn + 1 + random.below(10);
      uint64_t from = random.below(10);
      const LayerKind kind = random.chance(400000) ? LayerKind::kImage : LayerKind::kDelta;
      const uint64_t image_lsn = 9 + random.below(lsn - 9);  // inside a delta run too
      if (kind == LayerKind::kImage && !image_lsns.insert(image_lsn).second) continue;
      while (from < 100) {
        const uint64_t to = from + 1 + random.below(60);
        const bool image = kind == LayerKind::kImage;
        layers.push_back(layer(kind, {key(from), key(to)}, image ? image_lsn : lsn,
                               image ? image_lsn + 1 : end, ++number));
        map.insert(layers.back());
        from = to + random.below(20);
      }
      if (kind == LayerKind::kDelta) lsn = end;
    }
    if (!layers.empty() && random.chance(300000)) {
      const size_t gone = random.below(layers.size());
      map.remove(layers[gone]);
      layers.erase(layers.begin() + static_cast<std::ptrdiff_t>(gone));
    }
    EXPECT_EQ(map.size(), layers.size());
    EXPECT_EQ(map.all().size(), layers.size());
    for (int i = 0; i < 60; ++i) {
      const Key k = key(random.below(110));
      const Lsn upto(random.below(100));
      const LayerMap::Visit visit = map.visit(k, upto);
      LayerRef image;
      for (const LayerRef& l : layers) {
        if (l->is_image() && l->keys.contains(k) && l->lsn.start <= upto &&
            (!image || image->lsn.start < l->lsn.start))
          image = l;
      }
      EXPECT_EQ(visit.image, image);
      std::vector<LayerRef> deltas;
      for (const LayerRef& l : layers) {
        if (!l->is_image() && l->keys.contains(k) && l->lsn.start <= upto &&
            (!image || l->lsn.end > image->lsn.start + 1))
          deltas.push_back(l);
      }
      std::ranges::sort(
          deltas, [](const LayerRef& a, const LayerRef& b) { return a->lsn.start > b->lsn.start; });
      EXPECT_EQ(visit.deltas, deltas);
      for (const LayerMap::Column& column : map.columns(upto)) {
        if (column.keys.contains(k)) {
          EXPECT_EQ(column.image.has_value(), image != nullptr);
          if (image) {
            EXPECT_EQ(*column.image, image->lsn.start);
          }
        }
      }
      const LayerMap::Scan scan = map.scan({k, key(120)}, upto);
      for (const LayerRef& l : deltas)
        EXPECT_TRUE(std::ranges::find(scan.deltas, l) != scan.deltas.end());
      if (image) {
        EXPECT_TRUE(std::ranges::find(scan.images, image) != scan.images.end());
      }
    }
  }
}

}  // namespace
}  // namespace varve::storage
