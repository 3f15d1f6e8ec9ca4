// Which faults there are, how often a run wants them, and how many it had.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/random.h"
#include "base/time.h"

namespace varve::sim {

enum class FaultKind : uint8_t {
  kCrash,       // process killed: what the kernel had is kept
  kPowerCut,    // unsynced state lost or torn
  kLostSector,  // effect: a power cut lost unsynced data
  kTornSector,  // effect: a power cut mixed old and new bytes within a sector
  kLostName,    // effect: a power cut reverted a create, rename or remove
  kPause,       // node frozen, then running on
  kClockStep,
  kClockFreeze,
  kClockDrift,
  kPartition,  // both directions, between two groups
  kOneWayPartition,
  kStall,      // one direction of one link
  kDelayTail,  // a message much later than usual
  kReset,
  kCut,       // stream cut after some byte
  kHalfOpen,  // one side was never told
  kAcceptQueueFull,
  kPortInUse,
  kReadError,
  kWriteError,
  kSyncError,
  kDiskFull,
  kDiskHang,
  kBitRot,
  kObjectError,      // certainly not applied
  kObjectAmbiguous,  // error, though it was or will be applied
  kObjectThrottle,
  kObjectLate,  // took effect after its caller had been told of an error
};
inline constexpr size_t kFaultKinds = static_cast<size_t>(FaultKind::kObjectLate) + 1;
const char* fault_name(FaultKind kind);

// True for what tells how deep a fault went and is no fault of its own: the power cut is counted.
bool is_effect(FaultKind kind);
// Sum of counts by kind, without effects.
uint64_t total_faults(const std::array<uint64_t, kFaultKinds>& counts);

// A fault counts once, and only if it changed an outcome: a partition that stopped no message is
// none, and one that stopped a hundred is one.
class FaultCounts {
 public:
  void count(FaultKind kind) { ++counts_[static_cast<size_t>(kind)]; }
  uint64_t of(FaultKind kind) const { return counts_[static_cast<size_t>(kind)]; }
  uint64_t total() const { return total_faults(counts_); }
  const std::array<uint64_t, kFaultKinds>& all() const { return counts_; }

 private:
  std::array<uint64_t, kFaultKinds> counts_{};
};

// How the network behaves. All rates are per million.
struct NetworkModel {
  Duration delay_minimum = Duration::micros(50);
  Duration delay_spread = Duration::micros(100);
  uint32_t tail_rate = 0;  // per segment: delayed by up to tail_maximum
  Duration tail_maximum = Duration::millis(1000);
  uint64_t high_water = 64 << 10;  // unsent bytes above which write() waits
  uint64_t window = 256 << 10;     // bytes sent and not yet read by the peer
  uint64_t segment_maximum = 64 << 10;
  bool short_reads = false;       // read() returns drawn prefixes of what is there
  uint32_t reset_rate = 0;        // per segment
  uint32_t cut_rate = 0;          // per segment
  uint32_t port_in_use_rate = 0;  // per listen()
  uint64_t accept_queue = 128;
};

struct DiskModel {
  Duration read_latency = Duration::micros(80);  // latencies are drawn up to twice this
  Duration write_latency = Duration::micros(20);
  Duration sync_latency = Duration::micros(400);
  uint32_t slow_rate = 0;  // per operation: up to 100 times slower
  uint32_t read_error_rate = 0;
  uint32_t write_error_rate = 0;
  uint32_t sync_error_rate = 0;        // ends the node, as real_io does
  uint32_t bit_rot_rate = 0;           // per read: one durable bit flips for good
  uint32_t keep_sector_rate = 500000;  // at a power cut, per unsynced sector
  uint32_t tear_sector_rate = 0;       // of the kept ones
  uint32_t keep_name_rate = 500000;    // per unsynced create, rename, remove
  uint64_t capacity = uint64_t{4} << 30;
};

struct ObjectModel {
  Duration latency = Duration::millis(2);
  uint32_t error_rate = 0;
  uint32_t ambiguous_rate = 0;  // of mutations
  uint32_t throttle_rate = 0;
  Duration late_maximum =
      Duration::seconds(20);  // how long after its error an ambiguous mutation may apply
};

// What strikes between operations, at drawn moments. A mean of zero means never.
struct NemesisPlan {
  Duration crash_every{};
  Duration restart_after = Duration::millis(500);  // mean
  uint32_t power_cut_share = 500000;               // of crashes, per million
  Duration partition_every{};
  Duration partition_length = Duration::millis(800);
  uint32_t one_way_share = 300000;
  Duration stall_every{};
  Duration pause_every{};
  Duration pause_length = Duration::millis(300);
  Duration clock_every{};
  Duration disk_full_every{};
  Duration disk_hang_every{};
  Duration break_every{};     // resets, cuts and half-open connections
  uint32_t most_crashed = 1;  // nodes down at once by our hand
};

struct FaultPlan {
  NetworkModel network;
  DiskModel disk;
  ObjectModel objects;
  NemesisPlan nemesis;
  bool random_order = false;  // ready fibers in drawn order instead of first come, first served

  // Nothing goes wrong.
  static FaultPlan clean() { return FaultPlan(); }
  // Nothing goes wrong, but everything comes in small pieces and in unusual order.
  static FaultPlan benign();
  // Swarm: a drawn subset of all fault kinds with drawn rates, another mix for each seed. Bit rot
  // is never in it: what a fleet can survive of it is for the scenario to say.
  static FaultPlan draw(RandomStream random);
};

}  // namespace varve::sim
