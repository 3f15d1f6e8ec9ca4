// Connections to the processes that control works with: one for each, kept open, made again when it
// is lost.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "control/fleet.h"
#include "control/plan/state.h"
#include "runtime/world.h"
#include "wire/rpc_client.h"

namespace varve::control {

class Peers {
 public:
  // `token` has node scope. `world`, `fleet` and `scope` must outlive it.
  Peers(World& world, const Fleet& fleet, std::string token, RpcIdentity identity, Scope& scope);

  RpcClient& safekeeper(NodeId node);
  RpcClient& pageserver() { return *pageserver_; }
  RpcClient& supervisor() { return *supervisor_; }
  // The compute of an endpoint at this address. The caller holds it during its call, because
  // another address may replace it meanwhile.
  std::shared_ptr<RpcClient> compute(const EndpointKey& key, const Address& address);

  const Fleet& fleet() const { return fleet_; }
  const std::string& token() const { return token_; }

 private:
  std::unique_ptr<RpcClient> connect(const Address& address, NodeId expected);

  World& world_;
  const Fleet& fleet_;
  std::string token_;
  RpcIdentity identity_;
  Scope& scope_;
  std::map<NodeId, std::unique_ptr<RpcClient>> safekeepers_;
  std::unique_ptr<RpcClient> pageserver_;
  std::unique_ptr<RpcClient> supervisor_;
  std::map<EndpointKey, std::shared_ptr<RpcClient>> computes_;
};

// Runs `question(client)`, a call that should be answered within `timeout`. When it isn't, the
// connection goes too: its other end may have gone without a word, and would swallow every later
// call as well. (Not for calls that wait for something by their nature.)
template <class F>
auto ask_peer(RpcClient& client, Duration timeout, F question) {
  const DeadlineGuard limit(timeout);
  auto answer = question(client);
  if (answer.is(Code::kDeadlineExceeded)) client.disconnect();
  return answer;
}

}  // namespace varve::control
