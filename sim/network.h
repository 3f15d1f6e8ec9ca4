// The network between nodes: connections as two pipes of bytes, links that may be cut in either
// direction.
//
// A pipe is a queue of unsent bytes at the sender, segments in flight with their time of arrival,
// and arrived bytes at the reader. A window bounds what is in flight and unread together; room
// comes back to the sender only over the reverse link. A segment that meets a blocked link waits
// and goes on when the link heals, as retransmission would have it; an RST that meets one is lost.
// A process that is killed leaves its sockets to its kernel, which sends what is unsent and then an
// end or a reset; a node without power says nothing, and answers with a reset when it is up again
// and hears of a connection that it doesn't know.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "runtime/network.h"
#include "sim/life.h"

namespace varve::sim {

struct Connection;
struct ListenerState;

class Fabric {
 public:
  explicit Fabric(Engine& engine);
  ~Fabric();

  // Nodes are reached by name. `current` answers the node's running life, or null.
  void add_node(NodeId node, const std::string& name, std::function<Life*()> current);
  // The view of one life. Life and Fabric must outlive it.
  std::unique_ptr<Network> open_for(Life& life);
  // The life is over; see above.
  void end_life(Life& life, bool power_cut);

  // Blocks what `from` sends to `to`; counted as `kind` when it first holds something back.
  // Links of one fault share `counted`.
  void block(NodeId from, NodeId to, FaultKind kind, std::shared_ptr<bool> counted);
  void unblock(NodeId from, NodeId to);
  void unblock_all();
  bool blocked(NodeId from, NodeId to) const { return links_.contains({from, to}); }

  // Breaks one open connection, chosen by `random`, in a chosen way: reset, cut after a byte, or
  // one side never told. No effect when there is none.
  void break_one(RandomStream& random);
  // Windows and limits in engine.plan are others now.
  void model_changed();
  size_t open_connections() const { return connections_.size(); }

 private:
  friend struct Connection;
  friend class LifeNetwork;
  friend class LifeStream;
  friend class LifeListener;
  struct Node {
    std::string name;
    std::function<Life*()> current;
    std::map<uint16_t, ListenerState*> listeners;
    uint16_t next_port = 20000;
  };
  struct Block {
    FaultKind kind;
    std::shared_ptr<bool> counted;
  };

  // True if the link is blocked; counts the fault at its first effect.
  bool held(NodeId from, NodeId to, Life* victim);
  Duration delay(NodeId from, NodeId to);
  // Node 0 when there is none of that name.
  NodeId find(const std::string& host, NodeId asking) const;

  void pump(const std::shared_ptr<Connection>& connection, int from);
  void arrive(const std::shared_ptr<Connection>& connection, int from);
  void deliver(const std::shared_ptr<Connection>& connection, int from);
  void give_room(const std::shared_ptr<Connection>& connection, int from);
  void send_reset(const std::shared_ptr<Connection>& connection, int from, const char* why);
  void reset_side(Connection& connection, int side, const char* why);
  void cut(const std::shared_ptr<Connection>& connection, int from);
  void leave(const std::shared_ptr<Connection>& connection, int side);
  void forget_if_over(const std::shared_ptr<Connection>& connection);
  void wake_reader(Connection& connection, int side);
  void wake_writer(Connection& connection, int side);

  Engine& engine_;
  RandomStream random_;
  std::map<NodeId, Node> nodes_;
  std::map<std::pair<NodeId, NodeId>, Block> links_;
  std::map<uint64_t, std::shared_ptr<Connection>> connections_;  // by number: order is data
  uint64_t next_connection_ = 1;
};

}  // namespace varve::sim
