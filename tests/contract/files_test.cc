// runtime/disk.h, promise by promise.
#include <gtest/gtest.h>

#include "runtime/disk.h"
#include "tests/contract/worlds.h"

namespace varve::contract {
namespace {

class Files : public testing::TestWithParam<WorldKind> {
 protected:
  static std::vector<Bytes> one(Bytes data) {
    std::vector<Bytes> pieces;
    pieces.push_back(std::move(data));
    return pieces;
  }
  static std::unique_ptr<File> create(World& world, const char* path) {
    auto file = world.disk.open(path, OpenMode::kCreateNew);
    EXPECT_SUCCESS(file);
    return file.ok() ? std::move(*file) : nullptr;
  }
};

INSTANTIATE_TEST_SUITE_P(Contract, Files, testing::ValuesIn(all_worlds()),
                         [](const auto& info) { return info.param.name; });

TEST_P(Files, WhatIsWrittenIsRead) {
  in_world(GetParam(), [](World& world) {
    const auto file = create(world, "f");
    const Bytes data = pattern(300000, 1);
    std::vector<Bytes> pieces;
    for (size_t at = 0; at < data.size(); at += 1234) {
      pieces.push_back(data.slice(at, std::min<size_t>(1234, data.size() - at)));
    }
    ASSERT_SUCCESS(file->write(0, std::move(pieces)));
    auto all = file->read_at(0, data.size());
    ASSERT_SUCCESS(all);
    EXPECT_EQ(all->view(), data.view());
    auto parts = file->read({{5, 10}, {299990, 100}, {300000, 5}, {400000, 5}, {0, 0}});
    ASSERT_SUCCESS(parts);
    ASSERT_EQ(parts->size(), 5u);
    EXPECT_EQ((*parts)[0].view(), data.view().substr(5, 10));
    EXPECT_EQ((*parts)[1].view(), data.view().substr(299990)) << "short at the end of the file";
    for (size_t i = 2; i < 5; ++i) EXPECT_TRUE((*parts)[i].empty());
    EXPECT_EQ(*file->size(), data.size());
    EXPECT_EQ(file->path(), "f");
  });
}

TEST_P(Files, ManyReadsAtOnceKeepTheirOrder) {
  in_world(GetParam(), [](World& world) {
    const auto file = create(world, "f");
    const Bytes data = pattern(600 * 512, 2);
    ASSERT_SUCCESS(file->write_durable(0, one(data)));
    std::vector<ReadOperation> operations;
    for (uint64_t i = 0; i < 600; ++i) operations.push_back({i * 7919 % 600 * 512, 512});
    auto pieces = file->read(operations);
    ASSERT_SUCCESS(pieces);
    for (size_t i = 0; i < 600; ++i) {
      EXPECT_EQ((*pieces)[i].view(), data.view().substr(operations[i].offset, 512));
    }
  });
}

TEST_P(Files, HolesAndExtensionsAreZeros) {
  in_world(GetParam(), [](World& world) {
    const auto file = create(world, "f");
    ASSERT_SUCCESS(file->write(10000, one(Bytes::copy("end"))));
    EXPECT_EQ(file->read_at(0, 10000)->view(), std::string(10000, '\0'));
    ASSERT_SUCCESS(file->truncate(10001));
    ASSERT_SUCCESS(file->truncate(10003));
    EXPECT_EQ(file->read_at(10000, 10)->view(), std::string_view("e\0\0", 3));
    ASSERT_SUCCESS(file->sync());
    EXPECT_EQ(file->read_at(10000, 10)->view(), std::string_view("e\0\0", 3));
    ASSERT_SUCCESS(file->truncate(0));
    EXPECT_EQ(*file->size(), 0u);
  });
}

TEST_P(Files, PunchMakesZerosAndKeepsTheSize) {
  in_world(GetParam(), [](World& world) {
    const auto file = create(world, "f");
    const Bytes data = pattern(20000, 3);
    ASSERT_SUCCESS(file->write(0, one(data)));
    ASSERT_SUCCESS(file->punch(100, 9000));
    ASSERT_SUCCESS(file->punch(19990, 5000));
    std::string expected(data.view());
    std::fill_n(expected.begin() + 100, 9000, '\0');
    std::fill_n(expected.begin() + 19990, 10, '\0');
    EXPECT_EQ(file->read_at(0, 30000)->view(), expected);
    ASSERT_SUCCESS(file->sync());
    EXPECT_EQ(file->read_at(0, 30000)->view(), expected);
  });
}

TEST_P(Files, OpenModes) {
  in_world(GetParam(), [](World& world) {
    Disk& disk = world.disk;
    EXPECT_EQ(disk.open("f", OpenMode::kRead).code(), Code::kNotFound);
    EXPECT_EQ(disk.open("f", OpenMode::kReadWrite).code(), Code::kNotFound);
    EXPECT_EQ(disk.open("no/f", OpenMode::kCreate).code(), Code::kNotFound);
    ASSERT_SUCCESS((*disk.open("f", OpenMode::kCreate))->write(0, one(Bytes::copy("abc"))));
    EXPECT_EQ(disk.open("f", OpenMode::kCreateNew).code(), Code::kExists);
    EXPECT_EQ((*disk.open("f", OpenMode::kCreate))->read_at(0, 9)->view(), "abc");
    auto file = disk.open("f", OpenMode::kRead);
    ASSERT_SUCCESS(file);
    EXPECT_EQ((*file)->read_at(1, 1)->view(), "b");
    EXPECT_EQ((*file)->write(0, one(Bytes::copy("x"))).code(), Code::kRefused);
    ASSERT_SUCCESS(disk.make_directory("d"));
    EXPECT_EQ(disk.open("d", OpenMode::kRead).code(), Code::kInvalid);
    EXPECT_EQ(disk.open("f/x", OpenMode::kRead).code(), Code::kInvalid);
    for (const char* bad : {"", "/f", "../f", "./f", "d//f", "d/../f", "f/"}) {
      EXPECT_EQ(disk.open(bad, OpenMode::kRead).code(), Code::kInvalid) << bad;
    }
  });
}

TEST_P(Files, HandlesOutliveNames) {
  in_world(GetParam(), [](World& world) {
    const auto file = create(world, "f");
    ASSERT_SUCCESS(file->write_durable(0, one(Bytes::copy("abc"))));
    ASSERT_SUCCESS(world.disk.rename("f", "g"));
    ASSERT_SUCCESS(file->write(3, one(Bytes::copy("def"))));
    EXPECT_EQ((*world.disk.open("g", OpenMode::kRead))->read_at(0, 9)->view(), "abcdef");
    ASSERT_SUCCESS(world.disk.remove("g"));
    ASSERT_SUCCESS(world.disk.sync_directory(""));
    EXPECT_EQ(file->read_at(0, 9)->view(), "abcdef");
    ASSERT_SUCCESS(file->sync());
    EXPECT_EQ(world.disk.open("g", OpenMode::kRead).code(), Code::kNotFound);
  });
}

TEST_P(Files, Names) {
  in_world(GetParam(), [](World& world) {
    Disk& disk = world.disk;
    ASSERT_SUCCESS(disk.make_directory("a/b/c"));
    ASSERT_SUCCESS(disk.make_directory("a/b/c"));
    for (const char* name : {"a/z", "a/x", "a/y1"}) {
      auto file = disk.open(name, OpenMode::kCreateNew);
      ASSERT_SUCCESS(file);
      ASSERT_SUCCESS((*file)->write_durable(0, one(Bytes::copy(name))));
    }
    auto entries = disk.list("a");
    ASSERT_SUCCESS(entries);
    ASSERT_EQ(entries->size(), 4u);
    const char* expected[] = {"b", "x", "y1", "z"};
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ((*entries)[i].name, expected[i]);
      EXPECT_EQ((*entries)[i].is_directory, i == 0);
      if (i != 0) {
        EXPECT_EQ((*entries)[i].size, 2 + std::string_view(expected[i]).size());
      }
    }
    EXPECT_EQ(disk.list("nowhere").code(), Code::kNotFound);
    EXPECT_EQ(disk.list("a/x").code(), Code::kInvalid);
    ASSERT_SUCCESS(disk.rename("a/x", "a/z"));
    EXPECT_EQ((*disk.open("a/z", OpenMode::kRead))->read_at(0, 9)->view(), "a/x");
    EXPECT_EQ(disk.rename("a/x", "a/q").code(), Code::kNotFound);
    ASSERT_SUCCESS(disk.rename("a/b", "d"));
    EXPECT_EQ(disk.remove("a/b").code(), Code::kNotFound);
    EXPECT_EQ(disk.remove("d").code(), Code::kExists) << "not empty";
    ASSERT_SUCCESS(disk.remove("d/c"));
    ASSERT_SUCCESS(disk.remove("d"));
    for (const char* directory : {"a", ""}) ASSERT_SUCCESS(disk.sync_directory(directory));
    EXPECT_EQ(disk.sync_directory("nowhere").code(), Code::kNotFound);
    ASSERT_SUCCESS(disk.sync_all());
    EXPECT_EQ(disk.list("")->size(), 1u);
    const auto space = disk.space();
    ASSERT_SUCCESS(space);
    EXPECT_GE(space->total, space->available);
    ASSERT_SUCCESS(remove_tree(disk, "a"));
    ASSERT_SUCCESS(remove_tree(disk, "a"));
    EXPECT_TRUE(disk.list("")->empty());
  });
}

TEST_P(Files, ReplaceFile) {
  in_world(GetParam(), [](World& world) {
    ASSERT_SUCCESS(replace_file(world.disk, "f", pattern(5000, 4)));
    ASSERT_SUCCESS(replace_file(world.disk, "f", pattern(70, 5)));
    auto content = read_file(world.disk, "f");
    ASSERT_SUCCESS(content);
    EXPECT_EQ(content->view(), pattern(70, 5).view());
    EXPECT_EQ(read_file(world.disk, "f", 69).code(), Code::kFull);
    EXPECT_EQ(world.disk.list("")->size(), 1u) << "no temporary file is left";
  });
}

TEST_P(Files, FibersShareAFile) {
  in_world(GetParam(), [](World& world) {
    const auto file = create(world, "f");
    const Bytes data = pattern(64 * 4096, 6);
    Scope scope("writers");
    for (size_t i = 0; i < 64; ++i) {
      scope.spawn("writer", [&, i]() -> Status {
        const std::vector<Bytes> piece = one(data.slice(i * 4096, 4096));
        if (i % 3 == 0) return file->write_durable(i * 4096, piece);
        return file->write(i * 4096, piece);
      });
    }
    ASSERT_SUCCESS(scope.join());
    EXPECT_EQ(file->read_at(0, data.size())->view(), data.view());
  });
}

TEST_P(Files, AnAbandonedWriteIsTheLast) {
  in_world(GetParam(), [](World& world) {
    const auto file = create(world, "f");
    const Bytes data = pattern(4 << 20, 7);
    Scope scope("writer");
    Status outcome;
    bool begun = false;
    scope.spawn("write", [&] {
      begun = true;
      outcome = file->write_durable(0, one(data));
    });
    // In whatever order fibers run: one that is cancelled before it begins abandons nothing.
    while (!begun) ASSERT_SUCCESS(yield());
    scope.cancel();
    (void)scope.join();
    if (outcome.ok()) {  // it was faster
      EXPECT_SUCCESS(file->write(0, one(Bytes::copy("x"))));
      return;
    }
    EXPECT_EQ(outcome.code(), Code::kCancelled);
    // A decorator that had not begun the real write knows what the file holds.
    if (!GetParam().held) {
      EXPECT_EQ(file->write(0, one(Bytes::copy("x"))).code(), Code::kRefused);
    }
    EXPECT_SUCCESS(file->read_at(0, 1));
  });
}

}  // namespace
}  // namespace varve::contract
