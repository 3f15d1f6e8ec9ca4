// A node's disk as its lives use it: DiskImage with time, errors, a bounded size and writes under
// way.
//
// An operation takes effect at one moment, its completion. A write that is under way when the
// process dies may have been applied in part; one whose fiber left early is applied all the same,
// and its file answers every further write with Refused. A sync that fails ends the life, as
// real_io ends the process, and drops what it could not write.
#pragma once

#include <list>
#include <memory>

#include "runtime/disk.h"
#include "sim/disk_image.h"
#include "sim/life.h"

namespace varve::sim {

// Survives its lives.
class NodeDisk {
 public:
  NodeDisk(Engine& engine, NodeId node, const std::string& name);

  DiskImage& image() { return image_; }
  // The view of one life. Life and NodeDisk must outlive it.
  std::unique_ptr<Disk> open_for(Life& life);

  // The life is over. Writes under way are applied in part, by draw.
  void process_crash(Life& life);
  void power_cut(Life& life);

  // Until then every write that needs room answers Full.
  void fill_until(int64_t global_time) {
    full_until_ = global_time;
    full_counted_ = false;
  }
  // Operations that begin before then end after it.
  void hang_until(int64_t global_time) {
    hang_until_ = global_time;
    hang_counted_ = false;
  }
  // Calls `strike` once, when the next write or sync begins, with how long that will take: crashes
  // find most where something is under way.
  void at_next_change(std::function<void(Duration)> strike) { strike_ = std::move(strike); }
  void keep_from_rot() { may_rot_ = false; }
  void heal() {
    full_until_ = hang_until_ = 0;
    strike_ = nullptr;
  }

 private:
  friend class LifeDisk;
  friend struct OpenFile;
  struct WriteUnderWay {
    std::shared_ptr<FileContent> file;
    uint64_t offset;
    std::vector<Bytes> data;
  };
  void interrupt_writes();
  Duration latency(Duration mean, Life& life);
  Status check_room(uint64_t growth, const std::string& path, Life& life);

  Engine& engine_;
  DiskImage image_;
  RandomStream random_;
  std::list<WriteUnderWay> under_way_;
  Duration change_begins(Duration takes) {
    if (strike_) std::exchange(strike_, nullptr)(takes);
    return takes;
  }
  std::function<void(Duration)> strike_;
  // One fault, however many operations meet it.
  void count_once(bool& counted, FaultKind kind, Life& life) {
    if (!std::exchange(counted, true)) engine_.fault(kind, &life);
  }
  bool may_rot_ = true;
  uint64_t allocated_bound_ = 0;  // not below image_.allocated(), but for what crashes left
  bool full_counted_ = false;
  bool hang_counted_ = false;
  int64_t full_until_ = 0;
  int64_t hang_until_ = 0;
};

}  // namespace varve::sim
