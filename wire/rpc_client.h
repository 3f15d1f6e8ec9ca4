// The calling end of our RPC: one address, one token, one connection at a time, many calls on it.
//
//   RpcClient client(world.network, world.random, scope, address, token, identity);
//   VARVE_TRY_ASSIGN(RpcPayload response, client.call(kGetPages, RpcPayload(request)));
//
// Connects when first called and again after a loss, not faster than its back-off allows; a call
// makes at most one attempt and then fails as Unavailable. It never repeats a call: whether that
// makes sense is known to the caller (RpcMethod::idempotence says that it is safe). The fiber's
// deadline travels with the call; a caller that is cancelled or late leaves at once and the server
// is told.
//
// A peer that lost its power tells nobody. A connection on which a call ran out of time while
// nothing at all was heard for a while is used for no further call; those under way keep it until
// they end.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/backoff.h"
#include "base/options.h"
#include "base/status.h"
#include "runtime/network.h"
#include "runtime/random.h"
#include "runtime/scope.h"
#include "runtime/sync.h"
#include "wire/rpc.h"
#include "wire/rpc_stream.h"

namespace varve {

struct RpcClientOptions {
  RpcLimits limits;
  Duration connect_timeout = Duration::seconds(5);
  Duration silence = Duration::seconds(1);
  Duration backoff_first = Duration::millis(20);
  Duration backoff_maximum = Duration::seconds(3);
  // The node that must answer; 0 takes any. An address may have been inherited by another process.
  NodeId expected_node;

  template <class V>
  static void describe(V&& v) {
    v(&RpcClientOptions::connect_timeout,
      {"rpc_connect_timeout", "ms", 10, 60000, "a host that swallows packets is given up"});
    v(&RpcClientOptions::silence,
      {"rpc_silence", "ms", 10, 600000,
       "a call that runs out of time after so long a silence takes its connection for dead"});
    v(&RpcClientOptions::backoff_first,
      {"rpc_backoff_first", "ms", 1, 60000, "longest wait after the first failure to connect"});
    v(&RpcClientOptions::backoff_maximum,
      {"rpc_backoff_maximum", "ms", 1, 600000, "longest wait after many failures to connect"});
  }
};

class RpcClientConnection;

// A stream that this side opened. Leaving it before its end cancels the call.
class RpcClientStream : public RpcStream {
 public:
  RpcClientStream(std::shared_ptr<RpcClientConnection> connection, uint64_t call);
  ~RpcClientStream() override;

 private:
  std::shared_ptr<RpcClientConnection> owner_;
  uint64_t id_;
};

class RpcClient {
 public:
  // `network`, `random` and `parent` must outlive this. Its fibers run in a scope below `parent`.
  RpcClient(Network& network, Random& random, Scope& parent, Address address, std::string token,
            RpcIdentity identity, RpcClientOptions options = {});
  // Invariant: no call is in progress and no stream is held. Suspends until its fibers have ended.
  ~RpcClient();
  RpcClient(const RpcClient&) = delete;
  RpcClient& operator=(const RpcClient&) = delete;

  // One request, one response. Suspends. Errors are the server's own, or: Unavailable when there is
  // no connection or it is lost (then the call may have taken effect), DeadlineExceeded and
  // Cancelled as of any wait, Refused when the token is, Invalid when the request exceeds what the
  // server takes.
  Result<RpcPayload> call(const RpcMethod& method, RpcPayload request);
  // Opens a stream; the server may not have seen it yet when this returns. Errors as call(), the
  // server's through the stream. The call's deadline is the opening fiber's.
  Result<std::unique_ptr<RpcClientStream>> open_stream(const RpcMethod& method, RpcPayload request);

  // Connects, if not connected, and says who answers.
  Result<RpcIdentity> peer();
  const Address& address() const { return address_; }
  // Ends the current connection; the next call makes a new one.
  void disconnect();

 private:
  Result<std::shared_ptr<RpcClientConnection>> connection();
  Result<std::shared_ptr<RpcClientConnection>> connect();

  Network& network_;
  Random& random_;
  Address address_;
  std::string token_;
  RpcIdentity identity_;
  RpcClientOptions options_;
  Backoff backoff_;
  Mutex connecting_;
  Scope scope_;
  std::shared_ptr<RpcClientConnection> current_;
};

}  // namespace varve
