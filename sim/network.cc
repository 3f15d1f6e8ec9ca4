#include "sim/network.h"

#include <algorithm>

#include "base/crc32c.h"
#include "sim/connection.h"

namespace varve::sim {

bool is_loopback(const std::string& host) {
  return host.empty() || host == "localhost" || host == "127.0.0.1" || host == "::1";
}

Fabric::Fabric(Engine& engine) : engine_(engine), random_(engine.random("network")) {}
Fabric::~Fabric() = default;

void Fabric::add_node(NodeId node, const std::string& name, std::function<Life*()> current) {
  Node added;
  added.name = name;
  added.current = std::move(current);
  VARVE_CHECK_MSG(nodes_.emplace(node, std::move(added)).second, "two nodes of one number");
}

std::unique_ptr<Network> Fabric::open_for(Life& life) {
  return std::make_unique<LifeNetwork>(*this, life);
}

NodeId Fabric::find(const std::string& host, NodeId asking) const {
  for (const auto& [id, node] : nodes_) {
    if (node.name == host || (id == asking && (is_loopback(host) || host == "0.0.0.0"))) return id;
  }
  return NodeId();
}

// --- Links ---

void Fabric::block(NodeId from, NodeId to, FaultKind kind, std::shared_ptr<bool> counted) {
  links_.emplace(std::pair(from, to), Block{kind, std::move(counted)});
}

bool Fabric::held(NodeId from, NodeId to, Life* victim) {
  const auto found = links_.find({from, to});
  if (found == links_.end()) return false;
  if (!*found->second.counted) {
    *found->second.counted = true;
    engine_.fault(found->second.kind, victim);
  }
  if (victim != nullptr) victim->faulted = true;
  return true;
}

void Fabric::unblock(NodeId from, NodeId to) {
  if (links_.erase({from, to}) == 0) return;
  for (const auto& [number, connection] : connections_) {
    for (int side = 0; side < 2; ++side) {
      if (connection->sides[side].node != from || connection->sides[1 - side].node != to) continue;
      Pipe& pipe = connection->pipes[side];
      // Retransmission: what was held arrives in order, a little later.
      const Duration wait = delay(from, to);
      for (; pipe.held_segments > 0; --pipe.held_segments) {
        engine_.after(wait, nullptr,
                      [this, connection = connection, side] { arrive(connection, side); });
      }
      Pipe& reverse = connection->pipes[1 - side];
      if (std::exchange(reverse.held_room, false)) give_room(connection, 1 - side);
    }
  }
}

void Fabric::unblock_all() {
  while (!links_.empty()) unblock(links_.begin()->first.first, links_.begin()->first.second);
}

Duration Fabric::delay(NodeId from, NodeId to) {
  if (from == to) return Duration::micros(10);
  const NetworkModel& model = engine_.plan.network;
  Duration delay = model.delay_minimum;
  if (model.delay_spread.nanoseconds > 0) {
    delay = delay + Duration::nanos(static_cast<int64_t>(
                        random_.below(static_cast<uint64_t>(model.delay_spread.nanoseconds))));
  }
  if (random_.chance(model.tail_rate)) {
    const auto most = static_cast<uint64_t>(model.tail_maximum.nanoseconds);
    const Duration tail = Duration::nanos(static_cast<int64_t>(random_.below(most)));
    // Less than a tenth of a second changes nothing that a healthy network wouldn't.
    if (tail >= Duration::millis(100)) engine_.fault(FaultKind::kDelayTail);
    delay = delay + tail;
  }
  return delay;
}

// --- Bytes on their way ---

void Fabric::pump(const std::shared_ptr<Connection>& connection, int from) {
  Connection& c = *connection;
  Pipe& pipe = c.pipes[from];
  if (pipe.severed) return;
  const NetworkModel& model = engine_.plan.network;
  while (!pipe.unsent.empty() && pipe.outstanding < model.window) {
    Bytes& front = pipe.unsent.front();
    uint64_t length = std::min<uint64_t>({front.size(), model.segment_maximum,
                                          std::max<uint64_t>(model.window - pipe.outstanding, 1)});
    if (model.short_reads) length = random_.between(1, length);
    Bytes piece = front.slice(0, length);
    front = front.slice(length);
    if (front.empty()) pipe.unsent.pop_front();
    pipe.unsent_bytes -= length;
    pipe.outstanding += length;
    pipe.flying.push_back(std::move(piece));
    pipe.last_arrival =
        std::max(pipe.last_arrival,
                 engine_.now() + delay(c.sides[from].node, c.sides[1 - from].node).nanoseconds);
    engine_.after(Duration::nanos(pipe.last_arrival - engine_.now()), nullptr,
                  [this, connection, from] { arrive(connection, from); });
  }
  if (pipe.unsent.empty() && pipe.end_written && !pipe.end_flying) {
    pipe.end_flying = true;
    pipe.last_arrival =
        std::max(pipe.last_arrival,
                 engine_.now() + delay(c.sides[from].node, c.sides[1 - from].node).nanoseconds);
    engine_.after(Duration::nanos(pipe.last_arrival - engine_.now()), nullptr,
                  [this, connection, from] { arrive(connection, from); });
  }
  if (pipe.unsent_bytes <= model.high_water) wake_writer(c, from);
}

void Fabric::arrive(const std::shared_ptr<Connection>& connection, int from) {
  Connection& c = *connection;
  Pipe& pipe = c.pipes[from];
  Side& sender = c.sides[from];
  Side& receiver = c.sides[1 - from];
  if (pipe.flying.empty() && (!pipe.end_flying || pipe.end_arrived)) return;  // cut meanwhile
  if (held(sender.node, receiver.node, receiver.life)) {
    ++pipe.held_segments;
    return;
  }
  switch (receiver.state) {
    case SideState::kOpen:
      break;
    case SideState::kReset:
    case SideState::kLeft:
      pipe.flying.clear();
      send_reset(connection, 1 - from, "the peer had closed");
      return;
    case SideState::kSilent:
      pipe.flying.clear();
      // A machine that is up again doesn't know this connection; one that is down says nothing.
      if (nodes_.at(receiver.node).current() != nullptr) {
        send_reset(connection, 1 - from, "the peer had restarted");
      }
      return;
  }
  if (sender.life->faulted) receiver.life->faulted = true;
  const NetworkModel& model = engine_.plan.network;
  if (!pipe.flying.empty() && sender.node != receiver.node) {
    if (random_.chance(model.cut_rate)) {
      cut(connection, from);
      return;
    }
    if (random_.chance(model.reset_rate)) {
      engine_.fault(FaultKind::kReset, receiver.life);
      send_reset(connection, 0, "reset on the way");
      send_reset(connection, 1, "reset on the way");
      return;
    }
  }
  deliver(connection, from);
}

void Fabric::deliver(const std::shared_ptr<Connection>& connection, int from) {
  Connection& c = *connection;
  Pipe& pipe = c.pipes[from];
  Side& receiver = c.sides[1 - from];
  if (receiver.life->paused_until > engine_.now()) {
    // The kernel takes it, but nobody looks: deliver when the process runs again.
    engine_.after(Duration::nanos(receiver.life->paused_until - engine_.now()), nullptr,
                  [this, connection, from] { arrive(connection, from); });
    return;
  }
  if (!pipe.flying.empty()) {
    Bytes piece = std::move(pipe.flying.front());
    pipe.flying.pop_front();
    engine_.record(receiver.life, EventKind::kDeliver, c.number, piece.size(), crc32c(piece));
    pipe.arrived.push_back(std::move(piece));
  } else {
    pipe.end_arrived = true;
    engine_.record(receiver.life, EventKind::kEndOfStream, c.number);
  }
  wake_reader(c, 1 - from);
}

void Fabric::give_room(const std::shared_ptr<Connection>& connection, int from) {
  connection->pipes[from].room_flying = true;
  const Duration wait = delay(connection->sides[1 - from].node, connection->sides[from].node);
  engine_.after(wait, nullptr, [this, connection, from] {
    Pipe& pipe = connection->pipes[from];
    const Side& sender = connection->sides[from];
    if (held(connection->sides[1 - from].node, sender.node, sender.life)) {
      pipe.held_room = true;
      return;
    }
    const uint64_t room = std::exchange(pipe.unreported, 0);
    VARVE_CHECK(room <= pipe.outstanding);
    pipe.outstanding -= room;
    pipe.room_flying = false;
    pump(connection, from);
  });
}

void Fabric::model_changed() {
  for (const auto& [number, connection] : connections_) {
    pump(connection, 0);
    pump(connection, 1);
  }
}

// --- Ends ---

void Fabric::wake_reader(Connection& connection, int side) {
  Side& s = connection.sides[side];
  if (!s.life->alive) return;
  if (s.reader != nullptr) s.life->scheduler->wake(s.reader);
  if (!s.on_readable || std::exchange(s.telling, true)) return;
  // Taken when the fiber runs, as in the real world: a stream that goes before takes it along.
  s.life->scheduler->start("readable", [connection = connection.shared_from_this(), side] {
    Side& s = connection->sides[side];
    s.telling = false;
    Task spawn = std::exchange(s.on_readable, Task());
    if (spawn) spawn();
  });
}

void Fabric::wake_writer(Connection& connection, int side) {
  Side& s = connection.sides[side];
  if (s.life->alive && s.writer != nullptr) s.life->scheduler->wake(s.writer);
}

void Fabric::reset_side(Connection& connection, int side, const char* why) {
  Side& s = connection.sides[side];
  if (s.state != SideState::kOpen) return;
  s.state = SideState::kReset;
  s.why = why;
  connection.pipes[1 - side].arrived.clear();
  connection.pipes[side].unsent.clear();
  connection.pipes[side].unsent_bytes = 0;
  engine_.record(s.life, EventKind::kReset, connection.number);
  wake_reader(connection, side);
  wake_writer(connection, side);
}

// An RST that side `from` (or something on the way to the other side) sends to the other side.
void Fabric::send_reset(const std::shared_ptr<Connection>& connection, int from, const char* why) {
  const NodeId source = connection->sides[from].node;
  const NodeId target = connection->sides[1 - from].node;
  Pipe& pipe = connection->pipes[from];
  const int64_t time =
      std::max(pipe.last_arrival, engine_.now() + delay(source, target).nanoseconds);
  pipe.last_arrival = time;
  engine_.after(Duration::nanos(time - engine_.now()), nullptr,
                [this, connection, from, source, target, why] {
                  if (held(source, target, connection->sides[1 - from].life))
                    return;  // lost for good
                  if (connection->sides[from].life->faulted)
                    connection->sides[1 - from].life->faulted = true;
                  connection->pipes[from].flying.clear();
                  reset_side(*connection, 1 - from, why);
                  forget_if_over(connection);
                });
}

void Fabric::cut(const std::shared_ptr<Connection>& connection, int from) {
  Pipe& pipe = connection->pipes[from];
  Side& sender = connection->sides[from];
  Side& receiver = connection->sides[1 - from];
  if (!pipe.flying.empty()) {
    const Bytes first = pipe.flying.front();
    pipe.flying.clear();
    const size_t keep = random_.below(first.size());
    if (keep > 0) {
      pipe.flying.push_back(first.slice(0, keep));
      deliver(connection, from);
      if (!pipe.flying.empty()) return;  // paused: it goes on later, the cut is off
    }
  }
  pipe.unsent.clear();
  pipe.unsent_bytes = 0;
  // A side that has not been told goes on writing: none of it may arrive behind the gap.
  pipe.severed = true;
  sender.life->faulted = true;
  const uint64_t told = random_.below(4);
  if (told != 0) send_reset(connection, from, "cut on the way");
  if (told != 1) send_reset(connection, 1 - from, "cut on the way");
  engine_.fault(told < 2 ? FaultKind::kHalfOpen : FaultKind::kCut,
                told == 1 ? sender.life : receiver.life);
}

void Fabric::leave(const std::shared_ptr<Connection>& connection, int side) {
  Connection& c = *connection;
  Side& s = c.sides[side];
  s.on_readable = Task();
  if (s.state == SideState::kOpen) {
    Pipe& out = c.pipes[side];
    const bool in_order = out.end_written && c.pipes[1 - side].end_read;
    s.state = SideState::kLeft;
    if (!in_order) {
      out.unsent.clear();
      out.unsent_bytes = 0;
      send_reset(connection, side, "the peer aborted");
    }
  } else if (s.state == SideState::kReset) {
    s.state = SideState::kLeft;
  }
  forget_if_over(connection);
}

void Fabric::forget_if_over(const std::shared_ptr<Connection>& connection) {
  const auto over = [&](int side) {
    const SideState state = connection->sides[side].state;
    return state == SideState::kLeft || (state == SideState::kSilent) ||
           (state == SideState::kReset && !connection->sides[side].life->alive);
  };
  // A closed side still sends what it wrote; its segments hold the connection themselves.
  if (over(0) && over(1)) connections_.erase(connection->number);
}

void Fabric::end_life(Life& life, bool power_cut) {
  Node& node = nodes_.at(life.node);
  for (auto& [port, listener] : node.listeners) {
    for (const auto& waiting : listener->waiting) {
      if (!power_cut) send_reset(waiting, 1, "the peer died");
      waiting->sides[1].state = power_cut ? SideState::kSilent : SideState::kLeft;
    }
  }
  node.listeners.clear();
  std::vector<std::shared_ptr<Connection>> touched;
  for (const auto& [number, connection] : connections_) {
    if (connection->sides[0].life == &life || connection->sides[1].life == &life)
      touched.push_back(connection);
  }
  for (const auto& connection : touched) {
    for (int side = 0; side < 2; ++side) {
      Side& s = connection->sides[side];
      if (s.life != &life) continue;
      s.reader = s.writer = nullptr;
      (void)new Task(
          std::move(s.on_readable));  // its captures are the dead life's; no destructor may run
      if (s.state != SideState::kOpen) continue;
      Pipe& out = connection->pipes[side];
      if (power_cut) {
        s.state = SideState::kSilent;
        out.unsent.clear();
        out.unsent_bytes = 0;
        connection->sides[1 - side].life->faulted = true;
      } else if (connection->pipes[1 - side].arrived.empty() && random_.chance(500000)) {
        s.state = SideState::kLeft;  // the kernel sends the rest, then the end
        out.end_written = true;
        pump(connection, side);
      } else {
        s.state = SideState::kLeft;
        out.unsent.clear();
        out.unsent_bytes = 0;
        send_reset(connection, side, "the peer died");
      }
    }
    forget_if_over(connection);
  }
}

void Fabric::break_one(RandomStream& random) {
  std::vector<std::shared_ptr<Connection>> candidates;
  for (const auto& [number, connection] : connections_) {
    const bool open = connection->sides[0].state == SideState::kOpen &&
                      connection->sides[1].state == SideState::kOpen;
    if (open && connection->sides[0].node != connection->sides[1].node)
      candidates.push_back(connection);
  }
  if (candidates.empty()) return;
  const auto& connection = candidates[random.below(candidates.size())];
  if (random.chance(500000)) {
    cut(connection, static_cast<int>(random.below(2)));
    return;
  }
  engine_.fault(FaultKind::kReset, connection->sides[0].life);
  connection->sides[1].life->faulted = true;
  send_reset(connection, 0, "reset on the way");
  send_reset(connection, 1, "reset on the way");
}

}  // namespace varve::sim
