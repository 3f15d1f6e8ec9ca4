// One timeline of a safekeeper, alone on its disk.
#include "consensus/safekeeper/timeline.h"

#include <gtest/gtest.h>

#include "consensus/safekeeper/segment_log.h"
#include "consensus/testing/cluster.h"

namespace varve::consensus {
namespace {

using testing::kStart;

constexpr const char* kDirectory = "timeline";

AcceptorState fresh_state() {
  return AcceptorState::create(testing::timeline_id(), NodeId(1), testing::three_members(),
                               testing::server_info(), kStart);
}

std::vector<uint8_t> records(size_t count) {
  wal::LogWriter writer(testing::identity(), kStart, Lsn());
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < count; ++i) {
    const std::vector<uint8_t> data(1000, static_cast<uint8_t>(i));
    wal::RecordParts parts;
    parts.rmid = static_cast<uint8_t>(wal::Rmgr::kLogicalMessage);
    parts.main_data = data;
    std::vector<uint8_t> raw = wal::build_record(*testing::identity().version, parts);
    writer.append(raw, bytes);
  }
  return bytes;
}

// A life of a timeline can end, in a process that goes on, between a write and its sync: a full
// disk met by the control file does it. What the next life reads back then is in the kernel's
// memory only. It is told in votes and written into the control file, so it must survive a power
// cut from the moment on in which the timeline is loaded.
TEST(TimelineLoad, WhatAnEarlierLifeDidNotSyncIsDurableOnceLoaded) {
  sim::Simulation sim(1);
  const SafekeeperOptions options;
  const std::vector<uint8_t> log = records(20);
  Lsn told;
  Lsn found;
  int lives = 0;
  const NodeId node = sim.add_node("sk1", [&](World& world) {
    Scope scope("test");
    if (++lives == 1) {
      ASSERT_TRUE(Timeline::create(world.disk, kDirectory, fresh_state(), Bytes()).ok());
      ASSERT_TRUE(world.disk.sync_directory("").ok());
      SegmentLog earlier(world.disk, kDirectory, testing::server_info().segment_size);
      ASSERT_TRUE(earlier.open().ok());
      ASSERT_TRUE(earlier.write(kStart, {Bytes::copy(log)}, false).ok());
    }
    auto timeline = Timeline::load(world, options, kDirectory, scope, nullptr);
    ASSERT_TRUE(timeline.ok()) << timeline.status().to_string();
    (lives == 1 ? told : found) = (*timeline)->status().flush;
    Event never;
    never.wait("the end").ignore("only a crash ends it");
  });
  sim::FaultPlan plan = sim::FaultPlan::clean();
  plan.disk.keep_sector_rate = 0;
  plan.disk.keep_name_rate = 0;
  sim.unleash(plan);
  sim.start(node);
  // Past the first save of the control file, which then vouches for what was told.
  ASSERT_TRUE(sim.run_for(options.save_interval + Duration::seconds(1)));
  EXPECT_EQ(told, kStart + log.size());
  sim.restart(node, sim::Crash::kPowerCut, Duration::millis(1));
  ASSERT_TRUE(sim.run_for(Duration::seconds(1)));
  EXPECT_EQ(lives, 2);
  EXPECT_EQ(found, told);
}

}  // namespace
}  // namespace varve::consensus
