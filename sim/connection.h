// The parts of one connection. Internal to sim/network.
#pragma once

#include <deque>

#include "sim/network.h"

namespace varve::sim {

// What goes from one side to the other.
struct Pipe {
  std::deque<Bytes> unsent;
  uint64_t unsent_bytes = 0;
  std::deque<Bytes> flying;
  std::deque<Bytes> arrived;
  uint64_t outstanding = 0;  // sent, and not known to the sender to have been read
  uint64_t unreported = 0;   // read, and not yet reported to the sender
  int64_t last_arrival = 0;
  uint32_t held_segments = 0;  // arrivals that met a blocked link
  bool room_flying = false;    // a report of room is on its way
  bool held_room = false;      // it met a blocked link
  bool end_written = false;    // the writer has closed
  bool end_flying = false;
  bool end_arrived = false;
  bool end_read = false;
  bool severed = false;  // cut: what is written from now on goes nowhere
};

enum class SideState : uint8_t {
  kOpen,
  kReset,   // told by the other side or by a fault
  kLeft,    // this side's handle is gone, or it aborted
  kSilent,  // the machine went without a word
};

struct Side {
  NodeId node;
  Life* life = nullptr;
  SideState state = SideState::kOpen;
  const char* why = "";
  Address peer;
  Fiber* reader = nullptr;
  Fiber* writer = nullptr;
  Task on_readable;
  bool telling = false;  // a fiber is about to call it
};

// pipes[i] carries what sides[i] writes.
struct Connection : std::enable_shared_from_this<Connection> {
  uint64_t number = 0;
  Side sides[2];
  Pipe pipes[2];

  bool readable(int side) const {
    const Pipe& in = pipes[1 - side];
    return sides[side].state != SideState::kOpen || !in.arrived.empty() || in.end_arrived;
  }
};

struct ListenerState {
  Life* life;
  Address address;
  std::deque<std::shared_ptr<Connection>> waiting;
  Fiber* acceptor = nullptr;
};

class LifeStream : public Stream {
 public:
  LifeStream(Fabric& fabric, Life& life, std::shared_ptr<Connection> connection, int side)
      : fabric_(fabric), life_(life), connection_(std::move(connection)), side_(side) {}
  ~LifeStream() override;
  Result<Bytes> read() override;
  Status write(std::vector<Bytes> data) override;
  using Stream::write;
  Status close_write() override;
  void abort() override;
  void on_readable(Task spawn) override;
  const Address& peer() const override { return connection_->sides[side_].peer; }

 private:
  Side& mine() { return connection_->sides[side_]; }
  Pipe& out() { return connection_->pipes[side_]; }
  Pipe& in() { return connection_->pipes[1 - side_]; }
  Status broken() const;
  Result<Bytes> take_arrived();

  Fabric& fabric_;
  Life& life_;
  std::shared_ptr<Connection> connection_;
  int side_;
};

class LifeListener : public Listener {
 public:
  LifeListener(Fabric& fabric, Life& life, std::unique_ptr<ListenerState> state)
      : fabric_(fabric), life_(life), state_(std::move(state)) {}
  ~LifeListener() override;
  Result<std::unique_ptr<Stream>> accept() override;
  const Address& address() const override { return state_->address; }

 private:
  Fabric& fabric_;
  Life& life_;
  std::unique_ptr<ListenerState> state_;
};

class LifeNetwork : public Network {
 public:
  LifeNetwork(Fabric& fabric, Life& life) : fabric_(fabric), life_(life) {}
  Result<std::unique_ptr<Listener>> listen(const Address& address) override;
  Result<std::unique_ptr<Stream>> connect(const Address& address) override;

 private:
  enum class Attempt : uint8_t { kConnected, kRefused, kLost };
  Attempt try_connect(const Address& address, NodeId target_id,
                      std::shared_ptr<Connection>& connection);

  Fabric& fabric_;
  Life& life_;
};

// True for the names by which a node reaches itself.
bool is_loopback(const std::string& host);

}  // namespace varve::sim
