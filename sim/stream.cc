#include <algorithm>

#include "sim/connection.h"

namespace varve::sim {
namespace {

// Suspends the running fiber, which `slot` names meanwhile, until somebody wakes it.
Status wait_in(Fiber*& slot, Life& life, const char* label) {
  VARVE_CHECK_MSG(slot == nullptr, "two fibers in one call of a stream or listener");
  slot = life.scheduler->current_fiber();
  const Wake wake = life.scheduler->park(label);
  slot = nullptr;
  switch (wake) {
    case Wake::kSignalled:
      return Status();
    case Wake::kCancelled:
      return Status(Code::kCancelled, std::string("cancelled in ") + label);
    case Wake::kDeadline:
      return Status(Code::kDeadlineExceeded, std::string("deadline passed in ") + label);
  }
  VARVE_UNREACHABLE("no such wake");
}

}  // namespace

// --- Stream ---

LifeStream::~LifeStream() {
  VARVE_CHECK_MSG(mine().reader == nullptr && mine().writer == nullptr,
                  "a stream went with a fiber inside");
  fabric_.leave(connection_, side_);
}

Status LifeStream::broken() const {
  const Side& side = connection_->sides[side_];
  return Status(Code::kUnavailable, side.state == SideState::kReset
                                        ? std::string("connection reset: ") + side.why
                                        : std::string("the stream was aborted"))
      .with_object(side.peer.to_string());
}

Result<Bytes> LifeStream::take_arrived() {
  Pipe& pipe = in();
  Bytes& front = pipe.arrived.front();
  Bytes piece;
  const NetworkModel& model = life_.engine.plan.network;
  if (model.short_reads && front.size() > 1) {
    const size_t length = 1 + fabric_.random_.below(front.size());
    piece = front.slice(0, length);
    front = front.slice(length);
    if (front.empty()) pipe.arrived.pop_front();
  } else {
    piece = std::move(front);
    pipe.arrived.pop_front();
  }
  pipe.unreported += piece.size();
  // Half a window is worth a report; a sender that waits has a whole one outstanding.
  if (!pipe.room_flying && pipe.unreported * 2 >= model.window)
    fabric_.give_room(connection_, 1 - side_);
  return piece;
}

Result<Bytes> LifeStream::read() {
  VARVE_TRY(check_cancelled());
  while (true) {
    if (mine().state != SideState::kOpen) return broken();
    if (!in().arrived.empty()) return take_arrived();
    if (in().end_arrived) {
      in().end_read = true;
      return Bytes();
    }
    VARVE_TRY(wait_in(mine().reader, life_, "bytes from the peer"));
  }
}

Status LifeStream::write(std::vector<Bytes> data) {
  VARVE_TRY(check_cancelled());
  VARVE_CHECK_MSG(!out().end_written, "write() after close_write()");
  while (mine().state == SideState::kOpen &&
         out().unsent_bytes > life_.engine.plan.network.high_water) {
    VARVE_TRY(wait_in(mine().writer, life_, "room to send"));
  }
  if (mine().state != SideState::kOpen) return broken();
  for (Bytes& piece : data) {
    if (piece.empty()) continue;
    out().unsent_bytes += piece.size();
    out().unsent.push_back(std::move(piece));
  }
  fabric_.pump(connection_, side_);
  return Status();
}

Status LifeStream::close_write() {
  if (mine().state != SideState::kOpen) return broken();
  if (out().end_written) return Status();
  out().end_written = true;
  fabric_.pump(connection_, side_);
  return Status();
}

void LifeStream::abort() {
  if (mine().state == SideState::kLeft) return;
  fabric_.leave(connection_, side_);
  in().arrived.clear();
  fabric_.wake_reader(*connection_, side_);
  fabric_.wake_writer(*connection_, side_);
}

void LifeStream::on_readable(Task spawn) {
  VARVE_CHECK_MSG(mine().reader == nullptr && !mine().on_readable, "one reader at a time");
  mine().on_readable = std::move(spawn);
  if (connection_->readable(side_)) {
    life_.engine.after(Duration{}, &life_,
                       [&fabric = fabric_, connection = connection_, side = side_] {
                         fabric.wake_reader(*connection, side);
                       });
  }
}

// --- Listener ---

LifeListener::~LifeListener() {
  VARVE_CHECK_MSG(state_->acceptor == nullptr, "a listener went with a fiber inside");
  auto& listeners = fabric_.nodes_.at(life_.node).listeners;
  const auto found = listeners.find(state_->address.port);
  if (found != listeners.end() && found->second == state_.get()) listeners.erase(found);
  for (const auto& waiting : state_->waiting) fabric_.leave(waiting, 1);
}

Result<std::unique_ptr<Stream>> LifeListener::accept() {
  VARVE_TRY(check_cancelled());
  while (state_->waiting.empty()) VARVE_TRY(wait_in(state_->acceptor, life_, "a connection"));
  auto connection = std::move(state_->waiting.front());
  state_->waiting.pop_front();
  life_.engine.record(&life_, EventKind::kAccept, connection->number);
  return std::unique_ptr<Stream>(new LifeStream(fabric_, life_, std::move(connection), 1));
}

// --- Network ---

Result<std::unique_ptr<Listener>> LifeNetwork::listen(const Address& address) {
  VARVE_TRY(check_cancelled());
  Fabric::Node& node = fabric_.nodes_.at(life_.node);
  Address bound = address;
  if (!is_loopback(address.host) && address.host != "0.0.0.0" && address.host != node.name) {
    return Status(Code::kInvalid, "cannot listen on a name that is not this node's")
        .with_object(address.to_string());
  }
  if (bound.host.empty()) bound.host = "127.0.0.1";
  if (bound.port == 0) {
    while (node.listeners.contains(node.next_port)) ++node.next_port;
    bound.port = node.next_port++;
  }
  const bool busy = fabric_.random_.chance(life_.engine.plan.network.port_in_use_rate);
  if (busy) life_.engine.fault(FaultKind::kPortInUse, &life_);
  if (busy || node.listeners.contains(bound.port)) {
    return Status(Code::kExists, "port " + std::to_string(bound.port) + " is in use")
        .with_object(bound.to_string());
  }
  auto state = std::make_unique<ListenerState>();
  state->life = &life_;
  state->address = bound;
  node.listeners.emplace(bound.port, state.get());
  return std::unique_ptr<Listener>(new LifeListener(fabric_, life_, std::move(state)));
}

LifeNetwork::Attempt LifeNetwork::try_connect(const Address& address, NodeId target_id,
                                              std::shared_ptr<Connection>& connection) {
  const Fabric::Node* target = &fabric_.nodes_.at(target_id);
  Life* peer = target->current();
  if (fabric_.held(life_.node, target_id, &life_) || fabric_.held(target_id, life_.node, &life_)) {
    return Attempt::kLost;
  }
  if (peer == nullptr) return fabric_.random_.chance(500000) ? Attempt::kRefused : Attempt::kLost;
  const auto found = target->listeners.find(address.port);
  if (found == target->listeners.end()) return Attempt::kRefused;
  ListenerState& listener = *found->second;
  if (is_loopback(listener.address.host) && target_id != life_.node) return Attempt::kRefused;
  if (listener.waiting.size() >= life_.engine.plan.network.accept_queue) {
    life_.engine.fault(FaultKind::kAcceptQueueFull, &life_);
    return Attempt::kLost;
  }
  connection = std::make_shared<Connection>();
  connection->number = fabric_.next_connection_++;
  Side& client = connection->sides[0];
  client.node = life_.node;
  client.life = &life_;
  client.peer = address;
  Side& server = connection->sides[1];
  server.node = target_id;
  server.life = peer;
  server.peer = Address{life_.name, static_cast<uint16_t>(32768 + connection->number % 28000)};
  fabric_.connections_.emplace(connection->number, connection);
  listener.waiting.push_back(connection);
  if (listener.acceptor != nullptr) peer->scheduler->wake(listener.acceptor);
  return Attempt::kConnected;
}

Result<std::unique_ptr<Stream>> LifeNetwork::connect(const Address& address) {
  constexpr int kAttempts = 6;  // SYNs after 0, 1, 3, 7, 15 and 31 s
  const NodeId target_id = fabric_.find(address.host, life_.node);
  if (target_id == NodeId()) {
    return Status(Code::kUnavailable, "no host of that name").with_object(address.to_string());
  }
  struct Outcome {
    std::shared_ptr<Connection> connection;
    bool taken = false;
    // A connection whose caller left early is closed by its kernel.
    Fabric* fabric;
    ~Outcome() {
      if (connection != nullptr && !taken && connection->sides[0].life->alive)
        fabric->leave(connection, 0);
    }
  };
  Duration wait = Duration::seconds(1);
  for (int attempt = 0; attempt < kAttempts; ++attempt, wait = wait * 2) {
    using Answer = std::pair<Attempt, std::shared_ptr<Outcome>>;
    // There and back: the server sees the connection half way, the caller at the end.
    const Duration there = fabric_.delay(life_.node, target_id);
    VARVE_TRY_ASSIGN(const Answer answer,
                     perform<Answer>(life_, "a connection to be made", there + there,
                                     [this, address, target_id]() -> Result<Answer> {
                                       auto outcome = std::make_shared<Outcome>();
                                       outcome->fabric = &fabric_;
                                       const Attempt attempt =
                                           try_connect(address, target_id, outcome->connection);
                                       life_.engine.record(&life_, EventKind::kConnect,
                                                           static_cast<uint64_t>(attempt));
                                       return Answer(attempt, std::move(outcome));
                                     }));
    switch (answer.first) {
      case Attempt::kConnected:
        answer.second->taken = true;
        return std::unique_ptr<Stream>(
            new LifeStream(fabric_, life_, answer.second->connection, 0));
      case Attempt::kRefused:
        return Status(Code::kUnavailable, "connection refused").with_object(address.to_string());
      case Attempt::kLost:
        VARVE_TRY(sleep_for(wait));
        break;
    }
  }
  return Status(Code::kUnavailable, "no answer to a connection request")
      .with_object(address.to_string());
}

}  // namespace varve::sim
