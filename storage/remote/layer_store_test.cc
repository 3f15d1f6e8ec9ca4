// Layers whose local copies are lost.
#include "storage/remote/layer_store.h"

#include <gtest/gtest.h>

#include "sim/world.h"
#include "storage/format/layer_writer.h"
#include "storage/remote/index.h"
#include "storage/value.h"

namespace varve::storage {
namespace {

const TenantShardId kTenant{*TenantId::parse("00112233445566778899aabbccddeeff"), 0, 1};
const TimelineId kTimeline = *TimelineId::parse("ffeeddccbbaa99887766554433221100");
constexpr uint32_t kKeys = 1000;

Key key(uint32_t n) {
  return Key::make(KeyKind::kBlock, 1, 2, 3, 0, n);
}

// A megabyte that does not compress.
LayerWriter::Finished write_layer() {
  LayerWriter writer(LayerKind::kDelta, kTenant.tenant, kTimeline, {Lsn(100), Lsn(200)}, {});
  RandomStream random(1, "values");
  for (uint32_t n = 0; n < kKeys; ++n) {
    std::vector<uint8_t> bytes(1000);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.next());
    writer.add(key(n), Lsn(150), make_value(ValueKind::kImage, bytes));
  }
  return writer.finish(KeyRange::all());
}

// A store that counts the bytes it is read for.
class CountedObjects final : public ObjectStore {
 public:
  explicit CountedObjects(ObjectStore& objects) : objects_(objects) {}
  uint64_t read() const { return read_; }

  Mutation put(std::string_view key, std::vector<Bytes> content) override {
    return objects_.put(key, std::move(content));
  }
  Result<Bytes> get(std::string_view key, std::optional<ByteRange> range) override {
    Result<Bytes> bytes = objects_.get(key, range);
    if (bytes.ok()) read_ += bytes->size();
    return bytes;
  }
  Result<ObjectInfo> head(std::string_view key) override { return objects_.head(key); }
  Result<std::vector<ObjectInfo>> list(std::string_view prefix, std::string_view after,
                                       size_t limit) override {
    return objects_.list(prefix, after, limit);
  }
  Mutation remove(std::vector<std::string> keys) override {
    return objects_.remove(std::move(keys));
  }

 private:
  ObjectStore& objects_;
  uint64_t read_ = 0;
};

Status read_one(LayerStore& store, const LayerRef& layer, uint32_t n) {
  VARVE_TRY_ASSIGN(const std::shared_ptr<const LayerReader> reader, store.open(layer));
  std::vector<StoredValue> chain;
  VARVE_TRY_ASSIGN(const bool found, reader->find_chain(key(n), layer->lsn, chain));
  return found ? Status() : Status(Code::kNotFound, "the value is not there");
}

TEST(LayerStore, AnObjectIsFetchedOnceItIsReadAndNotForABlock) {
  sim::Simulation sim(1);
  bool done = false;
  sim.start(sim.add_node("pageserver", [&](World& world) {
    CountedObjects objects(sim.object_store(world));
    const StorageWorld storage{world.disk, objects, world.offload};
    BlockCache cache(16 << 20);
    LayerWriter::Finished file = write_layer();
    const auto layer = std::make_shared<const LayerDescriptor>(file.descriptor);
    const std::string copy = timeline_prefix(kTenant, kTimeline) + layer->name();
    const auto has_copy = [&] { return world.disk.open(copy, OpenMode::kRead).ok(); };
    Scope scope("layers");
    {
      LayerStore first(storage, kTenant, kTimeline, cache, scope);
      ASSERT_TRUE(first.add(layer, file.content).ok());
    }
    ASSERT_TRUE(has_copy());
    ASSERT_TRUE(world.disk.remove(copy).ok());
    LayerStore store(storage, kTenant, kTimeline, cache, scope);
    ASSERT_TRUE(read_one(store, layer, kKeys / 2).ok());
    ASSERT_TRUE(sleep_for(Duration::seconds(10)).ok());
    EXPECT_LT(objects.read(), layer->size / 16);
    EXPECT_FALSE(has_copy());
    for (uint32_t n = 0; n < kKeys / 4; ++n) ASSERT_TRUE(read_one(store, layer, n).ok());
    ASSERT_TRUE(sleep_for(Duration::seconds(10)).ok());
    EXPECT_TRUE(has_copy());
    EXPECT_LT(objects.read(), layer->size * 3 / 2);
    const uint64_t before = objects.read();
    for (uint32_t n = 0; n < kKeys; ++n) ASSERT_TRUE(read_one(store, layer, n).ok());
    EXPECT_EQ(objects.read(), before);
    // Nobody will ask for it again.
    store.forget(layer);
    ASSERT_TRUE(sleep_for(Duration::seconds(1)).ok());
    EXPECT_FALSE(has_copy());
    ASSERT_TRUE(scope.join().ok());
    done = true;
  }));
  EXPECT_TRUE(sim.run_until([&] { return done; }, Duration::seconds(600))) << *sim.failure();
}

}  // namespace
}  // namespace varve::storage
