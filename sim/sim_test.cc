// The world itself: time, disk, network, object store and nodes, each at its documented worst.
#include <gtest/gtest.h>

#include <numeric>

#include "base/codec.h"
#include "runtime/sync.h"
#include "sim/disk_image.h"
#include "sim/objects.h"
#include "sim/world.h"

namespace varve::sim {
namespace {

constexpr Duration kLong = Duration::seconds(600);

std::span<const uint8_t> raw(std::string_view text) {
  return varve::as_bytes(text);
}

std::vector<Bytes> one(std::string_view text) {
  std::vector<Bytes> pieces;
  pieces.push_back(Bytes::copy(text));
  return pieces;
}

// Runs `body` as the first life of one node in a clean world; the run must end well.
void run_alone(uint64_t seed, const std::function<void(World&)>& body) {
  Simulation sim(seed);
  bool done = false;
  const NodeId node = sim.add_node("alone", [&](World& world) {
    body(world);
    done = true;
  });
  sim.start(node);
  EXPECT_TRUE(sim.run_until([&] { return done; }, kLong)) << *sim.failure();
}

TEST(SimulationTime, PassesOnlyWhileSomebodyWaits) {
  run_alone(1, [](World& world) {
    const Instant start = world.clock.now();
    EXPECT_EQ(world.clock.now(), start);
    EXPECT_TRUE(sleep_for(Duration::seconds(3)).ok());
    const Duration passed = world.clock.now() - start;
    EXPECT_GE(passed, Duration::seconds(3));
    EXPECT_LT(passed, Duration::seconds(3) + Duration::micros(1));
  });
}

TEST(SimulationTime, AnUnmetGoalTellsWhoWaits) {
  Simulation sim(1);
  sim.start(sim.add_node("patient", [](World&) {
    Event never;
    never.wait("a thing that never comes").ignore("cancelled at the end");
  }));
  EXPECT_FALSE(sim.run_until([] { return false; }, kLong));
  EXPECT_NE(sim.failure()->find("waits for a thing that never comes"), std::string::npos)
      << *sim.failure();
}

TEST(SimulationTime, AFiberThatSpinsIsNamed) {
  Simulation sim(1);
  sim.start(sim.add_node("busy", [](World&) {
    Scope scope("work");
    scope.spawn("spinner", [] {
      while (yield().ok()) {
      }
    });
    scope.join().ignore("never");
  }));
  EXPECT_FALSE(sim.run_for(kLong));
  EXPECT_NE(sim.failure()->find("livelock"), std::string::npos);
  EXPECT_NE(sim.failure()->find("spinner"), std::string::npos);
}

TEST(SimulationLog, AnErrorWithoutAFaultFailsTheRun) {
  Simulation sim(1);
  sim.start(sim.add_node("honest",
                         [](World& world) { world.log.error("broken", "something is wrong"); }));
  EXPECT_FALSE(sim.run_for(kLong));
  EXPECT_NE(sim.failure()->find("something is wrong"), std::string::npos);
}

// --- Disk ---

TEST(SimulationDisk, WhatIsSyncedSurvivesAPowerCut) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Simulation sim(seed);
    bool synced = false;
    std::string found = "nothing";
    const NodeId node = sim.add_node("disk", [&](World& world) {
      if (!synced) {
        ASSERT_TRUE(replace_file(world.disk, "a", Bytes::copy("kept")).ok());
        synced = true;
        ASSERT_TRUE(replace_file(world.disk, "a", Bytes::copy("newer")).ok());
      } else {
        found = std::string(read_file(world.disk, "a")->view());
      }
    });
    sim.start(node);
    ASSERT_TRUE(sim.run_until([&] { return synced; }, kLong));
    ASSERT_TRUE(sim.run_for(Duration::micros(static_cast<int64_t>(sim.fork("when").below(1500)))));
    sim.restart(node, Crash::kPowerCut, Duration::millis(1));
    ASSERT_TRUE(sim.run_until([&] { return found != "nothing"; }, kLong));
    EXPECT_TRUE(found == "kept" || found == "newer") << found;
  }
}

// Without the syncs every combination of old, new and mixed must come up.
TEST(SimulationDisk, WhatIsNotSyncedIsLostKeptOrTorn) {
  std::map<std::string, int> outcomes;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    DiskImage image;
    auto file = *image.open("f", OpenMode::kCreate);
    file->write(0, raw(std::string(1024, 'o')));
    file->finish_sync(file->begin_sync());
    image.sync_names();
    file->write(0, raw(std::string(1024, 'n')));
    RandomStream random(seed, "cut");
    image.power_cut(500000, 200000, 500000, random);
    const Bytes bytes = (*image.open("f", OpenMode::kRead))->read(0, 4096);
    ASSERT_EQ(bytes.size(), 1024u);
    const auto sector = [&](size_t i) {
      const auto text = bytes.view().substr(i * 512, 512);
      const auto fresh = static_cast<size_t>(std::count(text.begin(), text.end(), 'n'));
      return fresh == 0 ? "old" : fresh == 512 ? "new" : "torn";
    };
    ++outcomes[std::string(sector(0)) + " " + sector(1)];
  }
  EXPECT_EQ(outcomes.size(), 9u);
}

TEST(SimulationDisk, ASyncThatEndsLateTakesNothingBack) {
  RandomStream random(3, "cut");
  FileContent file;
  const std::vector<uint8_t> versions[] = {{1, 1}, {2, 2}, {3, 3}};
  file.write(0, versions[0]);
  const SyncSnapshot early = file.begin_sync();
  file.write(0, versions[1]);
  file.write(4096, versions[1]);
  file.finish_sync(file.begin_sync());
  FileContent dirty_again = file;
  file.finish_sync(early);
  (void)file.power_cut(0, 0, random);
  EXPECT_EQ(file.size(), 4098u);
  EXPECT_EQ(file.read(0, 1)[0], 2);
  EXPECT_EQ(file.read(4096, 1)[0], 2);

  dirty_again.write(0, versions[2]);
  dirty_again.finish_sync(early);
  (void)dirty_again.power_cut(0, 0, random);
  EXPECT_EQ(dirty_again.read(0, 1)[0], 3);
}

TEST(SimulationDisk, NamesNeedTheirDirectorySynced) {
  int lost = 0;
  int kept = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    DiskImage image;
    ASSERT_TRUE(image.make_directory("d").ok());
    ASSERT_TRUE(image.sync_directory("").ok());
    auto file = *image.open("d/f", OpenMode::kCreate);
    file->write(0, raw("text"));
    file->finish_sync(file->begin_sync());
    ASSERT_TRUE(image.rename("d/f", "d/g").ok());
    RandomStream random(seed, "cut");
    image.power_cut(500000, 0, 500000, random);
    EXPECT_TRUE(image.open("d/f", OpenMode::kRead).ok() + image.open("d/g", OpenMode::kRead).ok() <=
                1)
        << "a rename leaves one name";
    (image.list("d")->empty() ? lost : kept) += 1;
  }
  EXPECT_GT(lost, 20);
  EXPECT_GT(kept, 20);
}

TEST(SimulationDisk, TruncatedAndPunchedRangesReadAsZeros) {
  FileContent file;
  file.write(0, raw(std::string(10000, 'x')));
  file.truncate(5000);
  file.truncate(9000);
  EXPECT_EQ(file.read(4999, 2).view(), std::string_view("x\0", 2));
  file.punch(100, 4500);
  EXPECT_EQ(file.read(99, 2).view(), std::string_view("x\0", 2));
  EXPECT_EQ(file.read(4599, 2).view(), std::string_view("\0x", 2));
  EXPECT_EQ(file.size(), 9000u);
}

// A model of the file, byte by byte: whatever is done, reads agree; after a cut each sector is one
// of the contents that it had since its last sync.
TEST(SimulationDisk, ContentAgreesWithAModel) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    RandomStream random(seed, "model");
    FileContent file;
    std::string model;
    std::string durable;
    for (int step = 0; step < 60; ++step) {
      const uint64_t offset = random.below(20000);
      const uint64_t length = random.between(1, 9000);
      switch (random.below(6)) {
        case 0:
        case 1:
        case 2: {
          const std::string data(length, static_cast<char>('a' + random.below(26)));
          file.write(offset, raw(data));
          if (model.size() < offset + length) model.resize(offset + length);
          model.replace(offset, length, data);
          break;
        }
        case 3:
          file.truncate(offset);
          model.resize(offset);
          break;
        case 4:
          file.punch(offset, length);
          for (uint64_t i = offset; i < std::min<uint64_t>(offset + length, model.size()); ++i)
            model[i] = 0;
          break;
        default: {
          const SyncSnapshot snapshot = file.begin_sync();
          durable = model;
          if (random.chance(500000)) {
            file.write(0, raw("later"));
            if (model.size() < 5) model.resize(5);
            model.replace(0, 5, "later");
          }
          file.finish_sync(snapshot);
          break;
        }
      }
      ASSERT_EQ(file.size(), model.size());
      ASSERT_EQ(file.read(0, model.size()).view(), model);
    }
    FileContent lost = file;
    lost.power_cut(0, 0, random);
    const size_t common = std::min({lost.size(), durable.size()});
    const std::string after(lost.read(0, lost.size()).view());
    ASSERT_EQ(after.substr(0, common), durable.substr(0, common)) << "seed " << seed;
  }
}

TEST(SimulationDisk, AnAbandonedWriteClosesTheFileForWriting) {
  run_alone(3, [](World& world) {
    auto file = *world.disk.open("f", OpenMode::kCreate);
    {
      DeadlineGuard soon(Duration::micros(1));
      EXPECT_TRUE(file->write(0, one("data")).is(Code::kDeadlineExceeded));
    }
    EXPECT_TRUE(file->write(0, one("more")).is(Code::kRefused));
    EXPECT_TRUE(sleep_for(Duration::seconds(1)).ok());
    EXPECT_EQ(file->read_at(0, 10)->view(), "data") << "it happens all the same";
  });
}

// --- Network ---

// Sends 200,000 bytes both ways through `plan`; ends when all is there.
void exchange(uint64_t seed, const FaultPlan& plan) {
  Simulation sim(seed);
  constexpr size_t kTotal = 200000;
  const auto content = [](size_t from, size_t count) {
    MutableBytes bytes(count);
    for (size_t i = 0; i < count; ++i)
      bytes.data()[i] = static_cast<uint8_t>((from + i) * 131 >> 3);
    return std::move(bytes).freeze();
  };
  int done = 0;
  const auto talk = [&](Stream& stream) {
    Scope scope("talk");
    scope.spawn("send", [&]() -> Status {
      for (size_t sent = 0; sent < kTotal; sent += 1000)
        VARVE_TRY(stream.write(content(sent, 1000)));
      return stream.close_write();
    });
    size_t got = 0;
    while (true) {
      auto piece = stream.read();
      ASSERT_TRUE(piece.ok()) << piece.status().to_string();
      if (piece->empty()) break;
      ASSERT_EQ(piece->view(), content(got, piece->size()).view());
      got += piece->size();
    }
    EXPECT_EQ(got, kTotal);
    EXPECT_TRUE(scope.join().ok());
    ++done;
  };
  sim.start(sim.add_node("server", [&](World& world) {
    auto listener = *world.network.listen({"server", 700});
    talk(**listener->accept());
  }));
  sim.start(sim.add_node("client", [&](World& world) {
    EXPECT_TRUE(sleep_for(Duration::millis(10)).ok());
    talk(**world.network.connect({"server", 700}));
  }));
  sim.unleash(plan);
  EXPECT_TRUE(sim.run_until([&] { return done == 2; }, kLong)) << *sim.failure();
}

TEST(SimulationNetwork, BytesArriveInOrder) {
  exchange(1, FaultPlan::clean());
}
TEST(SimulationNetwork, BytesArriveInOrderInSmallPieces) {
  for (uint64_t seed = 0; seed < 5; ++seed) exchange(seed, FaultPlan::benign());
}
TEST(SimulationNetwork, PartitionsDelayButLoseNothing) {
  FaultPlan plan;
  plan.nemesis.partition_every = Duration::millis(20);
  plan.nemesis.partition_length = Duration::millis(15);
  plan.nemesis.one_way_share = 500000;
  plan.nemesis.stall_every = Duration::millis(30);
  plan.network.window = 4000;
  for (uint64_t seed = 0; seed < 20; ++seed) exchange(seed, plan);
}

TEST(SimulationNetwork, AWriterWaitsForItsReader) {
  Simulation sim(1);
  size_t written = 0;
  sim.start(sim.add_node("server", [&](World& world) {
    auto listener = *world.network.listen({"server", 700});
    auto stream = *listener->accept();
    EXPECT_TRUE(sleep_for(Duration::seconds(1000)).ok());
  }));
  sim.start(sim.add_node("client", [&](World& world) {
    EXPECT_TRUE(sleep_for(Duration::millis(10)).ok());
    auto stream = *world.network.connect({"server", 700});
    while (stream->write(Bytes::copy(std::string(1000, 'x'))).ok()) written += 1000;
  }));
  ASSERT_TRUE(sim.run_for(Duration::seconds(10)));
  EXPECT_GT(written, 300000u);
  EXPECT_LT(written, 400000u);
}

TEST(SimulationNetwork, APortInUseAndARefusalSaySo) {
  run_alone(1, [](World& world) {
    auto listener = world.network.listen({"", 0});
    ASSERT_TRUE(listener.ok());
    const Address address = (*listener)->address();
    EXPECT_NE(address.port, 0);
    EXPECT_TRUE(world.network.listen(address).is(Code::kExists));
    listener->reset();
    EXPECT_TRUE(world.network.connect(address).is(Code::kUnavailable));
    EXPECT_TRUE(world.network.listen(address).ok());
  });
}

TEST(SimulationNetwork, APeerThatDiesIsAResetAnEndOrSilence) {
  std::map<std::string, int> outcomes;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Simulation sim(seed);
    std::string outcome;
    const NodeId server = sim.add_node("server", [&](World& world) {
      auto listener = *world.network.listen({"server", 700});
      auto stream = *listener->accept();
      EXPECT_TRUE(sleep_for(Duration::seconds(1000)).ok());
    });
    sim.start(server);
    sim.start(sim.add_node("client", [&](World& world) {
      EXPECT_TRUE(sleep_for(Duration::millis(10)).ok());
      auto stream = *world.network.connect({"server", 700});
      DeadlineGuard patience(Duration::seconds(5));
      auto piece = stream->read();
      outcome = !piece.ok() ? code_name(piece.code()) : "end";
    }));
    ASSERT_TRUE(sim.run_for(Duration::millis(20)));
    sim.crash(server, seed % 2 == 0 ? Crash::kPowerCut : Crash::kProcess);
    ASSERT_TRUE(sim.run_until([&] { return !outcome.empty(); }, kLong)) << *sim.failure();
    ++outcomes[outcome];
  }
  EXPECT_EQ(outcomes.size(), 3u);
}

TEST(SimulationNetwork, AnIdleStreamNeedsNoFiber) {
  Simulation sim(1);
  std::string got;
  sim.start(sim.add_node("server", [&](World& world) {
    auto listener = *world.network.listen({"server", 700});
    auto stream = *listener->accept();
    Scope scope("connections");
    Event finished;
    stream->on_readable([&] {
      scope.spawn("reader", [&] {
        got = std::string(stream->read()->view());
        finished.set();
      });
    });
    EXPECT_TRUE(finished.wait().ok());
  }));
  sim.start(sim.add_node("client", [&](World& world) {
    EXPECT_TRUE(sleep_for(Duration::seconds(1)).ok());
    auto stream = *world.network.connect({"server", 700});
    EXPECT_TRUE(sleep_for(Duration::seconds(1)).ok());
    EXPECT_TRUE(stream->write(Bytes::copy("hello")).ok());
    EXPECT_TRUE(sleep_for(Duration::seconds(1)).ok());
  }));
  ASSERT_TRUE(sim.run_for(Duration::seconds(10)));
  EXPECT_EQ(got, "hello");
}

// --- Objects ---

TEST(SimulationObjects, ReadWhatWasPut) {
  Simulation sim(1);
  bool done = false;
  sim.start(sim.add_node("alone", [&](World& world) {
    ObjectStore& store = sim.object_store(world);
    EXPECT_TRUE(store.put("a/1", one("content")).status.ok());
    EXPECT_TRUE(store.put("a/2", one("other")).status.ok());
    EXPECT_EQ(store.get("a/1", ByteRange{3, 2})->view(), "te");
    EXPECT_TRUE(store.get("a/1", ByteRange{6, 2}).is(Code::kInvalid));
    EXPECT_EQ(store.head("a/2")->size, 5u);
    EXPECT_EQ(store.list("a/", "a/1", 10)->size(), 1u);
    EXPECT_TRUE(store.remove({"a/1", "a/3"}).status.ok());
    EXPECT_TRUE(store.get("a/1").is(Code::kNotFound));
    EXPECT_TRUE(store.put("../up", one("x")).status.is(Code::kInvalid));
    done = true;
  }));
  EXPECT_TRUE(sim.run_until([&] { return done; }, kLong)) << *sim.failure();
}

TEST(SimulationObjects, BreakingTheLawFailsTheRun) {
  Simulation sim(1);
  sim.start(sim.add_node("outlaw", [&](World& world) {
    ObjectStore& store = sim.object_store(world);
    EXPECT_TRUE(store.put("a", one("content")).status.ok());
    EXPECT_TRUE(store.put("a", one("another")).status.ok());
  }));
  EXPECT_FALSE(sim.run_for(kLong));
  EXPECT_NE(sim.failure()->find("law"), std::string::npos);
}

TEST(SimulationObjects, AnAmbiguousPutMayComeLate) {
  FaultPlan plan;
  plan.objects.ambiguous_rate = 1000000;
  std::map<std::string, int> outcomes;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Simulation sim(seed);
    bool told = false;
    sim.start(sim.add_node("alone", [&](World& world) {
      const Mutation put = sim.object_store(world).put("a", one("content"));
      EXPECT_TRUE(put.status.is(Code::kUnavailable));
      EXPECT_TRUE(put.maybe_applied);
      told = true;
    }));
    sim.unleash(plan);
    ASSERT_TRUE(sim.run_until([&] { return told; }, kLong));
    const bool at_once = sim.objects().objects().contains("a");
    ASSERT_TRUE(sim.run_for(Duration::seconds(60)));
    const bool later = sim.objects().objects().contains("a");
    ++outcomes[at_once ? "at once" : later ? "late" : "never"];
  }
  EXPECT_EQ(outcomes.size(), 3u);
}

// --- Nodes ---

struct NoticesDestruction {
  bool* noticed;
  ~NoticesDestruction() { *noticed = true; }
};

TEST(SimulationNodes, ACrashRunsNoDestructor) {
  Simulation sim(1);
  bool destroyed = false;
  const NodeId node = sim.add_node("mortal", [&](World&) {
    NoticesDestruction notice{&destroyed};
    EXPECT_TRUE(sleep_for(Duration::seconds(1000)).ok());
  });
  sim.start(node);
  ASSERT_TRUE(sim.run_for(Duration::seconds(1)));
  sim.crash(node, Crash::kProcess);
  ASSERT_TRUE(sim.run_for(Duration::seconds(1)));
  EXPECT_FALSE(destroyed);
  EXPECT_FALSE(sim.up(node));
  sim.start(node);
  EXPECT_EQ(sim.lives(node), 2u);
}

TEST(SimulationNodes, AStopCancelsWhatWaits) {
  Simulation sim(1);
  Status ended;
  const NodeId node =
      sim.add_node("polite", [&](World&) { ended = sleep_for(Duration::seconds(1000)); });
  sim.start(node);
  ASSERT_TRUE(sim.run_for(Duration::seconds(1)));
  sim.stop(node);
  ASSERT_TRUE(sim.run_for(Duration::seconds(1)));
  EXPECT_TRUE(ended.is(Code::kCancelled));
  EXPECT_FALSE(sim.up(node));
}

TEST(SimulationNodes, APausedNodeMissesItsTime) {
  Simulation sim(1);
  Duration slept;
  const NodeId node = sim.add_node("frozen", [&](World& world) {
    const Instant start = world.clock.now();
    EXPECT_TRUE(sleep_for(Duration::seconds(1)).ok());
    slept = world.clock.now() - start;
  });
  sim.start(node);
  ASSERT_TRUE(sim.run_for(Duration::millis(500)));
  sim.pause(node, Duration::seconds(10));
  ASSERT_TRUE(sim.run_for(Duration::seconds(20)));
  EXPECT_GE(slept, Duration::seconds(10));
}

TEST(SimulationNodes, OneSeedIsOneRun) {
  const auto run = [](uint64_t seed) {
    Simulation sim(seed);
    for (int i = 0; i < 3; ++i) {
      sim.add_node("node" + std::to_string(i), [](World& world) {
        for (int round = 0; round < 50; ++round) {
          const auto wait = static_cast<int64_t>(world.random.below(1000, "wait"));
          if (!sleep_for(Duration::millis(wait)).ok()) return;
          replace_file(world.disk, "f", Bytes::copy("round")).ignore("faults may hit it");
        }
      });
    }
    sim.start_all();
    sim.unleash(FaultPlan::draw(sim.fork("plan")));
    sim.run_for(Duration::seconds(20));
    return sim.trace().hash();
  };
  EXPECT_EQ(run(7), run(7));
  EXPECT_NE(run(7), run(8));
}

}  // namespace
}  // namespace varve::sim
