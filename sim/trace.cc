#include "sim/trace.h"

#include <fmt/format.h>

#include "base/random.h"

namespace varve::sim {

const char* event_name(EventKind kind) {
  switch (kind) {
    case EventKind::kStart:
      return "start";
    case EventKind::kExit:
      return "exit";
    case EventKind::kCrash:
      return "crash";
    case EventKind::kPause:
      return "pause";
    case EventKind::kTimer:
      return "timer";
    case EventKind::kConnect:
      return "connect";
    case EventKind::kAccept:
      return "accept";
    case EventKind::kDeliver:
      return "deliver";
    case EventKind::kEndOfStream:
      return "end of stream";
    case EventKind::kReset:
      return "reset";
    case EventKind::kRead:
      return "read";
    case EventKind::kWrite:
      return "write";
    case EventKind::kSync:
      return "sync";
    case EventKind::kName:
      return "name";
    case EventKind::kObject:
      return "object";
    case EventKind::kOffload:
      return "offload";
    case EventKind::kFault:
      return "fault";
    case EventKind::kMark:
      return "mark";
  }
  return "?";
}

void Trace::add(int64_t time, NodeId node, EventKind kind, uint64_t detail, uint64_t size,
                uint32_t payload) {
  uint64_t h = hash_;
  h = mix64(h ^ static_cast<uint64_t>(time));
  h = mix64(h ^ (node.value << 8 | static_cast<uint64_t>(kind)));
  h = mix64(h ^ detail);
  hash_ = mix64(h ^ (size << 32 | payload));
  if (count_ < table_.size()) {
    TraceEvent& event = table_[count_];
    event.time = time;
    event.detail = detail;
    event.size = size;
    event.hash_after = hash_;
    event.payload = payload;
    event.node = static_cast<uint16_t>(node.value);
    event.kind = kind;
    event.reserved = 0;
  }
  ++count_;
}

std::string to_string(const TraceEvent& event, uint64_t index) {
  return fmt::format("event {} at {}.{:09} s, node {}: {}, detail {:#x}, {} bytes, payload {:08x}",
                     index, event.time / 1000000000, event.time % 1000000000, event.node,
                     event_name(event.kind), event.detail, event.size, event.payload);
}

}  // namespace varve::sim
