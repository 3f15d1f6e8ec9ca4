// What happened in a run: a rolling hash over all events, and the events themselves in a bounded
// table.
//
// An event is a delivered message, a completed I/O, a fired timer or a life-cycle step of a node;
// switches of fibers, log lines and metrics are none, so that what a program says about itself
// changes nothing. Two executions of one seed must agree on every event; the table is what names
// the first one on which they don't.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace varve::sim {

enum class EventKind : uint8_t {
  kStart,
  kExit,
  kCrash,
  kPause,
  kTimer,
  kConnect,
  kAccept,
  kDeliver,
  kEndOfStream,
  kReset,
  kRead,
  kWrite,
  kSync,
  kName,  // open, create, rename, remove, list, directory sync
  kObject,
  kOffload,
  kFault,
  kMark,  // a scenario's own
};
const char* event_name(EventKind kind);

// Plain bytes, so that it can live in memory shared between processes.
struct TraceEvent {
  int64_t time = 0;  // global, ns
  uint64_t detail = 0;
  uint64_t size = 0;
  uint64_t hash_after = 0;  // the rolling hash with this event in it
  uint32_t payload = 0;     // CRC-32C of what was moved
  uint16_t node = 0;
  EventKind kind = EventKind::kMark;
  uint8_t reserved = 0;
};
static_assert(std::has_unique_object_representations_v<TraceEvent>,
              "padding would differ between executions");

class Trace {
 public:
  // Events past the table's end are hashed and counted only. `table` may be empty and must outlive
  // this.
  explicit Trace(std::span<TraceEvent> table = {}) : table_(table) {}

  void add(int64_t time, NodeId node, EventKind kind, uint64_t detail, uint64_t size,
           uint32_t payload);
  uint64_t hash() const { return hash_; }
  uint64_t count() const { return count_; }

 private:
  std::span<TraceEvent> table_;
  uint64_t hash_ = 0x243F6A8885A308D3ull;
  uint64_t count_ = 0;
};

// "event 17 at 0.003201 s, node 2: deliver, detail 4, 128 bytes, payload 89abcdef".
std::string to_string(const TraceEvent& event, uint64_t index);

}  // namespace varve::sim
