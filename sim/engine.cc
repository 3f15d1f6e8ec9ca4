#include "sim/engine.h"

#include <algorithm>
#include <limits>

#include "sim/life.h"

namespace varve::sim {
namespace {

// More events than this at one instant mean that something re-plans itself without time passing.
constexpr uint64_t kMostEventsAtOnce = 2000000;

}  // namespace

void Engine::push(int64_t time, Life* life, Task task) {
  queue_.push_back(Planned{time, ++sequence_, life, std::move(task)});
  std::push_heap(queue_.begin(), queue_.end(), later);
}

void Engine::after(Duration delay, Life* life, Task task) {
  VARVE_CHECK(delay.nanoseconds >= 0);
  if (delay.nanoseconds > std::numeric_limits<int64_t>::max() - now_) return;  // never
  push(now_ + delay.nanoseconds, life, std::move(task));
}

bool Engine::step(int64_t limit) {
  while (!queue_.empty() && queue_.front().time <= limit) {
    std::pop_heap(queue_.begin(), queue_.end(), later);
    Planned planned = std::move(queue_.back());
    queue_.pop_back();
    VARVE_CHECK(planned.time >= now_);
    if (planned.time != now_) events_at_now_ = 0;
    now_ = planned.time;
    if (++events_at_now_ > kMostEventsAtOnce) {
      violation("livelock: events without end at one instant");
      return false;
    }
    if (planned.life != nullptr) {
      if (!planned.life->alive) continue;
      if (planned.life->paused_until > now_) {
        push(planned.life->paused_until, planned.life, std::move(planned.task));
        continue;
      }
    }
    planned.task();
    return true;
  }
  if (limit != std::numeric_limits<int64_t>::max()) now_ = std::max(now_, limit);
  return false;
}

RandomStream& Engine::random(std::string_view label) {
  const auto found = streams_.find(label);
  if (found != streams_.end()) return found->second;
  return streams_.emplace(std::string(label), RandomStream(seed_, label)).first->second;
}

Duration Engine::around(Duration mean, RandomStream& random) {
  if (mean.nanoseconds <= 0) return Duration{};
  const auto ns = static_cast<uint64_t>(mean.nanoseconds);
  return Duration::nanos(static_cast<int64_t>(ns / 2 + random.below(ns + 1)));
}

void Engine::record(const Life* life, EventKind kind, uint64_t detail, uint64_t size,
                    uint32_t payload) {
  record_node(life == nullptr ? NodeId() : life->node, kind, detail, size, payload);
}

void Engine::fault(FaultKind kind, Life* life) {
  faults_.count(kind);
  if (life != nullptr) life->faulted = true;
  record(life, EventKind::kFault, static_cast<uint64_t>(kind));
}

void Engine::violation(std::string reason) {
  if (!violation_) violation_ = std::move(reason);
}

}  // namespace varve::sim
