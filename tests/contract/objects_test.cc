// runtime/object_store.h over a directory, and the simulator's model of a store.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/contract/worlds.h"

namespace varve::contract {
namespace {

class Objects : public testing::TestWithParam<WorldKind> {
 protected:
  static std::vector<Bytes> one(Bytes data) {
    std::vector<Bytes> pieces;
    pieces.push_back(std::move(data));
    return pieces;
  }
};
INSTANTIATE_TEST_SUITE_P(Contract, Objects, testing::ValuesIn(all_object_worlds()),
                         [](const auto& info) { return info.param.name; });

TEST_P(Objects, PutGetHeadRemove) {
  in_object_world(GetParam(), [&](ObjectStore& store) {
    const Bytes data = pattern(100000, 1);
    EXPECT_EQ(store.get("a/b", std::nullopt).code(), Code::kNotFound);
    EXPECT_EQ(store.head("a/b").code(), Code::kNotFound);
    ASSERT_SUCCESS(store.put("a/b", {data.slice(0, 10), data.slice(10)}).status);
    ASSERT_SUCCESS(store.put("a/b", one(data)).status) << "again, the same";
    // A store that can tell says so; to the simulator it is the end of the run.
    if (!GetParam().model) {
      const Mutation other = store.put("a/b", one(Bytes::copy("other")));
      EXPECT_EQ(other.status.code(), Code::kExists);
      EXPECT_FALSE(other.maybe_applied);
    }
    EXPECT_EQ(store.get("a/b", std::nullopt)->view(), data.view());
    EXPECT_EQ(store.get("a/b", ByteRange{50, 7})->view(), data.view().substr(50, 7));
    EXPECT_TRUE(store.get("a/b", ByteRange{100000, 0})->empty());
    EXPECT_EQ(store.get("a/b", ByteRange{99999, 2}).code(), Code::kInvalid);
    EXPECT_EQ(store.head("a/b")->size, 100000u);
    ASSERT_SUCCESS(store.put("empty", {}).status);
    EXPECT_TRUE(store.get("empty", std::nullopt)->empty());
    ASSERT_SUCCESS(store.remove({"a/b", "never/was"}).status);
    EXPECT_EQ(store.get("a/b", std::nullopt).code(), Code::kNotFound);
    for (const char* bad : {"", "/a", "a/", "a//b", "../a", "a b", "a+"}) {
      EXPECT_EQ(store.put(bad, {}).status.code(), Code::kInvalid) << bad;
    }
  });
}

TEST_P(Objects, ListIsSortedAndGoesOn) {
  in_object_world(GetParam(), [&](ObjectStore& store) {
    std::vector<std::string> keys{"a",     "a/b",   "a-b",     "a.b",   "a/b/c", "a0",      "b/x/1",
                                  "b/x/2", "b/x-1", "b/x.d/1", "ab/ab", "aB",    "tmp/tmp", "z"};
    for (const std::string& key : keys)
      ASSERT_SUCCESS(store.put(key, one(Bytes::copy(key))).status);
    std::sort(keys.begin(), keys.end());
    for (const std::string prefix : {"", "a", "a/", "b/x", "b/x/", "tmp/", "nothing"}) {
      for (const size_t limit : {size_t{1}, size_t{3}, size_t{1000}}) {
        std::vector<std::string> expected;
        for (const std::string& key : keys) {
          if (key.starts_with(prefix)) expected.push_back(key);
        }
        std::vector<std::string> listed;
        for (std::string after;;) {
          auto page = store.list(prefix, after, limit);
          ASSERT_SUCCESS(page);
          EXPECT_LE(page->size(), limit);
          for (const ObjectInfo& info : *page) {
            EXPECT_EQ(info.size, info.key.size());
            listed.push_back(info.key);
          }
          if (page->size() < limit) break;
          after = listed.back();
        }
        EXPECT_EQ(listed, expected) << prefix << " by " << limit;
      }
    }
    EXPECT_EQ(store.list("", "", 0).code(), Code::kInvalid);
  });
}

}  // namespace
}  // namespace varve::contract
