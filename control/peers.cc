#include "control/peers.h"

namespace varve::control {

std::set<NodeId> Fleet::safekeeper_nodes() const {
  std::set<NodeId> nodes;
  for (const SafekeeperPlace& place : safekeepers) nodes.insert(place.node);
  return nodes;
}

std::set<NodeId> Fleet::keepers() const {
  std::set<NodeId> nodes = safekeeper_nodes();
  nodes.insert(pageserver);
  return nodes;
}

consensus::Membership Fleet::membership() const {
  consensus::Membership membership;
  membership.generation = Configuration(1);
  for (const SafekeeperPlace& place : safekeepers) {
    membership.members.push_back({place.node, place.wal.host, place.wal.port});
  }
  return membership;
}

Peers::Peers(World& world, const Fleet& fleet, std::string token, RpcIdentity identity,
             Scope& scope)
    : world_(world),
      fleet_(fleet),
      token_(std::move(token)),
      identity_(std::move(identity)),
      scope_(scope) {
  for (const SafekeeperPlace& place : fleet.safekeepers) {
    safekeepers_.emplace(place.node, connect(place.rpc, place.node));
  }
  pageserver_ = connect(fleet.pageserver_rpc, fleet.pageserver);
  supervisor_ = connect(fleet.supervisor_rpc, fleet.supervisor);
}

std::unique_ptr<RpcClient> Peers::connect(const Address& address, NodeId expected) {
  RpcClientOptions options;
  options.expected_node = expected;
  // A local process that is away comes back within moments; a start waits for it.
  options.backoff_maximum = Duration::millis(500);
  return std::make_unique<RpcClient>(world_.network, world_.random, scope_, address, token_,
                                     identity_, options);
}

RpcClient& Peers::safekeeper(NodeId node) {
  const auto found = safekeepers_.find(node);
  VARVE_CHECK_MSG(found != safekeepers_.end(), "no such safekeeper");
  return *found->second;
}

std::shared_ptr<RpcClient> Peers::compute(const EndpointKey& key, const Address& address) {
  std::shared_ptr<RpcClient>& client = computes_[key];
  if (client == nullptr || client->address() != address) client = connect(address, NodeId());
  return client;
}

}  // namespace varve::control
