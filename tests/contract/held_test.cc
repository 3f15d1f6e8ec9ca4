// VARVE_DISK=hold-until-sync: what a killed process leaves is what it had synced.
#include <gtest/gtest.h>

#include <map>

#include "real_io/hold_until_sync.h"
#include "real_io/real_world.h"
#include "tests/contract/worlds.h"

namespace varve::contract {
namespace {

using real_io::hold_until_sync;
using real_io::RealWorld;

std::vector<Bytes> text(std::string_view content) {
  std::vector<Bytes> pieces;
  pieces.push_back(Bytes::copy(content));
  return pieces;
}

// One directory seen through the decorator, and, after a "power cut", through a new one.
void in_lives(const std::function<Status(World&, const std::function<Disk&()>& next_life)>& body) {
  const TemporaryDirectory directory(true);
  real_io::RealOptions options;
  options.root = directory.path();
  auto world = RealWorld::create(options);
  ASSERT_SUCCESS(world);
  EXPECT_SUCCESS((*world)->run([&](RealWorld& real) {
    std::vector<std::unique_ptr<Disk>> lives;
    return body(real.world(), [&]() -> Disk& {
      lives.push_back(hold_until_sync(real.world().disk));
      return *lives.back();
    });
  }));
}

std::string content(Disk& disk, const char* path) {
  auto file = read_file(disk, path);
  return file.ok() ? std::string(file->view()) : std::string(code_name(file.code()));
}

TEST(Held, OnlyWhatIsSyncedSurvives) {
  in_lives([](World&, const auto& next_life) -> Status {
    {
      Disk& disk = next_life();
      VARVE_TRY(disk.make_directory("kept"));
      VARVE_TRY(disk.make_directory("lost"));
      VARVE_TRY_ASSIGN(auto both, disk.open("kept/both", OpenMode::kCreate));
      VARVE_TRY(both->write_durable(0, text("synced")));
      VARVE_TRY_ASSIGN(auto name_only, disk.open("kept/name_only", OpenMode::kCreate));
      VARVE_TRY(name_only->write(0, text("never synced")));
      VARVE_TRY(disk.sync_directory("kept"));
      VARVE_TRY_ASSIGN(auto data_only, disk.open("kept/data_only", OpenMode::kCreate));
      VARVE_TRY(data_only->write(0, text("no name")));
      VARVE_TRY(data_only->sync());
      VARVE_TRY(both->write(0, text("SY")));
      EXPECT_EQ(content(disk, "kept/both"), "SYnced");
      // The root's sync would keep "lost" too, so it comes before it is looked at again.
      VARVE_TRY(disk.remove("lost"));
      VARVE_TRY(disk.sync_directory(""));
      VARVE_TRY(disk.make_directory("lost"));
    }
    Disk& disk = next_life();
    EXPECT_EQ(content(disk, "kept/both"), "synced");
    EXPECT_EQ(content(disk, "kept/name_only"), "");
    EXPECT_EQ(content(disk, "kept/data_only"), "not found");
    EXPECT_EQ(disk.list("lost").code(), Code::kNotFound);
    EXPECT_EQ(disk.list("")->size(), 1u) << "no wreckage";
    return Status();
  });
}

TEST(Held, RenameAndRemoveAreHeldToo) {
  in_lives([](World&, const auto& next_life) -> Status {
    {
      Disk& disk = next_life();
      VARVE_TRY(replace_file(disk, "f", Bytes::copy("one")));
      VARVE_TRY(replace_file(disk, "g", Bytes::copy("old")));
      VARVE_TRY_ASSIGN(auto file, disk.open("f.new", OpenMode::kCreate));
      VARVE_TRY(file->write_durable(0, text("two")));
      VARVE_TRY(disk.rename("f.new", "f"));
      VARVE_TRY(disk.remove("g"));
      EXPECT_EQ(content(disk, "f"), "two");
      EXPECT_EQ(content(disk, "g"), "not found");
    }
    {
      Disk& disk = next_life();
      EXPECT_EQ(content(disk, "f"), "one");
      EXPECT_EQ(content(disk, "g"), "old");
      VARVE_TRY(disk.rename("g", "f"));
      VARVE_TRY(disk.sync_directory(""));
    }
    Disk& disk = next_life();
    EXPECT_EQ(content(disk, "f"), "old");
    EXPECT_EQ(disk.list("")->size(), 1u);
    return Status();
  });
}

// Random operations against a model of two views: what is seen, and what is durable.
struct HeldModel {
  struct Node {
    std::string seen;
    std::string durable;
  };
  std::map<std::string, std::shared_ptr<Node>> seen;
  std::map<std::string, std::shared_ptr<Node>> durable;
};

Status held_step(Disk& disk, HeldModel& model, RandomStream& random) {
  const std::string name(1, static_cast<char>('a' + random.below(4)));
  const uint64_t kind = random.below(8);
  const uint64_t offset = random.below(40);
  const uint64_t length = random.below(30);
  if (kind == 0) {
    const std::string to(1, static_cast<char>('a' + random.below(4)));
    if (!model.seen.contains(name) || to == name) return Status();
    VARVE_TRY(disk.rename(name, to));
    model.seen[to] = model.seen[name];
    model.seen.erase(name);
    return Status();
  }
  if (kind == 1) {
    if (model.seen.erase(name) != 0) VARVE_TRY(disk.remove(name));
    return Status();
  }
  if (kind == 2) {
    model.durable = model.seen;
    return disk.sync_directory("");
  }
  VARVE_TRY_ASSIGN(auto file, disk.open(name, OpenMode::kCreate));
  auto& node = model.seen[name];
  if (node == nullptr) node = std::make_shared<HeldModel::Node>();
  const auto grow = [](std::string& content, uint64_t end) {
    if (content.size() < end) content.resize(end, '\0');
  };
  if (kind == 3) {
    node->durable = node->seen;
    return file->sync();
  }
  if (kind == 4) {
    node->seen.resize(length, '\0');
    return file->truncate(length);
  }
  if (kind == 5) {
    for (uint64_t i = offset; i < std::min<uint64_t>(offset + length, node->seen.size()); ++i)
      node->seen[i] = '\0';
    return file->punch(offset, length);
  }
  if (length == 0) return Status();
  const Bytes data = pattern(length, random.next());
  grow(node->seen, offset + length);
  node->seen.replace(offset, length, data.view());
  if (kind == 6) return file->write(offset, {data});
  // Durable: this write, the file's size as far as it, and whatever was cut off before.
  VARVE_TRY(file->write(offset, {data}));
  node->durable = node->seen;
  return file->sync();
}

TEST(Held, RandomProgramsAgainstTwoViews) {
  in_lives([](World& world, const auto& next_life) -> Status {
    const uint64_t seeds = program_settings().seeds;
    for (uint64_t seed = program_settings().first_seed;
         seed < program_settings().first_seed + seeds; ++seed) {
      SCOPED_TRACE("seed " + std::to_string(seed));
      VARVE_TRY_ASSIGN(const auto left, world.disk.list(""));
      for (const DirectoryEntry& entry : left) {
        VARVE_TRY(entry.is_directory ? remove_tree(world.disk, entry.name)
                                     : world.disk.remove(entry.name));
      }
      RandomStream random(seed, "held program");
      HeldModel model;
      for (int life = 0; life < 2; ++life) {
        Disk& disk = next_life();
        for (int i = 0; i < 12; ++i) VARVE_TRY(held_step(disk, model, random));
        VARVE_TRY_ASSIGN(const auto entries, disk.list(""));
        EXPECT_EQ(entries.size(), model.seen.size());
        for (const auto& [name, node] : model.seen)
          EXPECT_EQ(content(disk, name.c_str()), node->seen) << name;
        model.seen = model.durable;
        for (const auto& [name, node] : model.seen) node->seen = node->durable;
        Disk& after = next_life();
        for (const auto& [name, node] : model.seen)
          EXPECT_EQ(content(after, name.c_str()), node->durable) << name;
        EXPECT_EQ(after.list("")->size(), model.seen.size());
      }
      if (testing::Test::HasFailure())
        return Status(Code::kInternal, "stopped at the first failing seed");
    }
    return Status();
  });
}

}  // namespace
}  // namespace varve::contract
