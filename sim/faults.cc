#include "sim/faults.h"

namespace varve::sim {

const char* fault_name(FaultKind kind) {
  switch (kind) {
    case FaultKind::kCrash:
      return "crash";
    case FaultKind::kPowerCut:
      return "power_cut";
    case FaultKind::kLostSector:
      return "lost_sector";
    case FaultKind::kTornSector:
      return "torn_sector";
    case FaultKind::kLostName:
      return "lost_name";
    case FaultKind::kPause:
      return "pause";
    case FaultKind::kClockStep:
      return "clock_step";
    case FaultKind::kClockFreeze:
      return "clock_freeze";
    case FaultKind::kClockDrift:
      return "clock_drift";
    case FaultKind::kPartition:
      return "partition";
    case FaultKind::kOneWayPartition:
      return "one_way_partition";
    case FaultKind::kStall:
      return "stall";
    case FaultKind::kDelayTail:
      return "delay_tail";
    case FaultKind::kReset:
      return "reset";
    case FaultKind::kCut:
      return "cut";
    case FaultKind::kHalfOpen:
      return "half_open";
    case FaultKind::kAcceptQueueFull:
      return "accept_queue_full";
    case FaultKind::kPortInUse:
      return "port_in_use";
    case FaultKind::kReadError:
      return "read_error";
    case FaultKind::kWriteError:
      return "write_error";
    case FaultKind::kSyncError:
      return "sync_error";
    case FaultKind::kDiskFull:
      return "disk_full";
    case FaultKind::kDiskHang:
      return "disk_hang";
    case FaultKind::kBitRot:
      return "bit_rot";
    case FaultKind::kObjectError:
      return "object_error";
    case FaultKind::kObjectAmbiguous:
      return "object_ambiguous";
    case FaultKind::kObjectThrottle:
      return "object_throttle";
    case FaultKind::kObjectLate:
      return "object_late";
  }
  return "?";
}

bool is_effect(FaultKind kind) {
  return kind == FaultKind::kLostSector || kind == FaultKind::kTornSector ||
         kind == FaultKind::kLostName;
}

uint64_t total_faults(const std::array<uint64_t, kFaultKinds>& counts) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kFaultKinds; ++i) {
    if (!is_effect(static_cast<FaultKind>(i))) sum += counts[i];
  }
  return sum;
}

FaultPlan FaultPlan::benign() {
  FaultPlan plan;
  plan.network.high_water = 700;
  plan.network.window = 1000;
  plan.network.segment_maximum = 37;
  plan.network.short_reads = true;
  plan.disk.slow_rate = 20000;
  plan.random_order = true;
  return plan;
}

namespace {

// With even odds nothing, else a rate that is small more often than large.
uint32_t draw_rate(RandomStream& random, uint32_t most) {
  if (random.chance(500000)) return 0;
  const uint32_t halvings = static_cast<uint32_t>(random.below(8));
  return (most >> halvings) + 1;
}

Duration draw_mean(RandomStream& random, int64_t low_ms, int64_t high_ms) {
  if (random.chance(500000)) return Duration{};
  return Duration::millis(static_cast<int64_t>(
      random.between(static_cast<uint64_t>(low_ms), static_cast<uint64_t>(high_ms))));
}

void draw_network(NetworkModel& network, RandomStream random) {
  network.delay_minimum = Duration::micros(static_cast<int64_t>(random.between(10, 5000)));
  network.delay_spread = Duration::micros(static_cast<int64_t>(random.between(10, 20000)));
  network.tail_rate = draw_rate(random, 50000);
  if (random.chance(300000)) {
    network.segment_maximum = random.between(1, 400);
    network.short_reads = true;
  }
  if (random.chance(300000)) {
    network.window = random.between(512, 8192);
    network.high_water = random.between(256, 8192);
  }
  if (random.chance(200000)) network.accept_queue = random.between(1, 3);
  network.reset_rate = draw_rate(random, 20000);
  network.cut_rate = draw_rate(random, 20000);
  network.port_in_use_rate = draw_rate(random, 200000);
}

void draw_disk(DiskModel& disk, RandomStream random) {
  disk.sync_latency = Duration::micros(static_cast<int64_t>(random.between(50, 10000)));
  disk.slow_rate = draw_rate(random, 50000);
  disk.read_error_rate = draw_rate(random, 5000);
  disk.write_error_rate = draw_rate(random, 5000);
  disk.sync_error_rate = draw_rate(random, 5000);
  switch (random.below(3)) {
    case 0:
      disk.keep_sector_rate = 0;
      break;
    case 1:
      disk.keep_sector_rate = 500000;
      break;
    default:
      disk.keep_sector_rate = 900000;
      break;
  }
  disk.tear_sector_rate = draw_rate(random, 300000);
  switch (random.below(3)) {
    case 0:
      disk.keep_name_rate = 0;
      break;
    case 1:
      disk.keep_name_rate = 500000;
      break;
    default:
      disk.keep_name_rate = 900000;
      break;
  }
}

void draw_objects(ObjectModel& objects, RandomStream random) {
  objects.latency = Duration::micros(static_cast<int64_t>(random.between(100, 50000)));
  objects.error_rate = draw_rate(random, 100000);
  objects.ambiguous_rate = draw_rate(random, 100000);
  objects.throttle_rate = draw_rate(random, 50000);
}

void draw_nemesis(NemesisPlan& nemesis, RandomStream random) {
  nemesis.crash_every = draw_mean(random, 300, 5000);
  nemesis.restart_after = Duration::millis(static_cast<int64_t>(random.between(1, 2000)));
  nemesis.power_cut_share = random.chance(300000) ? 1000000 : 500000;
  nemesis.partition_every = draw_mean(random, 300, 5000);
  nemesis.partition_length = Duration::millis(static_cast<int64_t>(random.between(10, 3000)));
  nemesis.stall_every = draw_mean(random, 300, 5000);
  nemesis.pause_every = draw_mean(random, 500, 5000);
  nemesis.pause_length = Duration::millis(static_cast<int64_t>(random.between(1, 3000)));
  nemesis.clock_every = draw_mean(random, 500, 5000);
  nemesis.disk_full_every = draw_mean(random, 1000, 8000);
  nemesis.disk_hang_every = draw_mean(random, 1000, 8000);
  nemesis.break_every = draw_mean(random, 100, 3000);
  nemesis.most_crashed = static_cast<uint32_t>(random.between(1, 3));
}

}  // namespace

FaultPlan FaultPlan::draw(RandomStream random) {
  FaultPlan plan;
  draw_network(plan.network, random.fork("network"));
  draw_disk(plan.disk, random.fork("disk"));
  draw_objects(plan.objects, random.fork("objects"));
  draw_nemesis(plan.nemesis, random.fork("nemesis"));
  plan.random_order = random.fork("order").chance(700000);
  return plan;
}

}  // namespace varve::sim
