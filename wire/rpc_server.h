// The serving end of our RPC.
//
//   RpcServer server(world.clock, world.log, world.metrics, identity, verifier, receive_budget);
//   server.add(kGetPages, [&](CallContext& context, RpcPayload request) -> Result<RpcPayload> { …
//   }); scope.spawn("rpc", [&] { return server.serve(*listener); });
//
// Each call is a fiber with the method's class, the caller's deadline and trace; it is cancelled
// when the caller loses interest or the connection ends. Idle connections are values in a table.
// What peers can make us hold is bounded: connections, calls a connection, bytes a frame, bytes of
// requests and stream windows by the budget; a request that doesn't fit is answered Full and never
// read into memory.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/options.h"
#include "base/status.h"
#include "runtime/budget.h"
#include "runtime/clock.h"
#include "runtime/network.h"
#include "runtime/scope.h"
#include "runtime/telemetry.h"
#include "wire/rpc.h"
#include "wire/rpc_stream.h"
#include "wire/token.h"

namespace varve {

// What a handler may know of its call.
class CallContext {
 public:
  CallContext(const RpcMethod& method, const TokenClaims& claims, const RpcIdentity& peer,
              const Address& address, const Clock& clock)
      : method_(method), claims_(claims), peer_(peer), address_(address), clock_(clock) {}

  const RpcMethod& method() const { return method_; }
  const TokenClaims& claims() const { return claims_; }
  // As the peer calls itself; proven by nothing but its token's scope.
  const RpcIdentity& peer() const { return peer_; }
  const Address& address() const { return address_; }

  // Whether the caller's token covers the method's scope for this tenant and timeline. **A handler
  // of a method with scope timeline or tenant must ask before it does anything**; one that succeeds
  // without having asked is a broken invariant.
  Status authorize(const TenantId& tenant, const TimelineId& timeline = {});
  bool authorized() const { return authorized_; }

 private:
  const RpcMethod& method_;
  const TokenClaims& claims_;
  const RpcIdentity& peer_;
  const Address& address_;
  const Clock& clock_;
  bool authorized_ = false;
};

using RpcHandler = std::function<Result<RpcPayload>(CallContext&, RpcPayload request)>;
// Success ends the stream in order, after the items that were sent; the request came with the
// opening.
using RpcStreamHandler = std::function<Status(CallContext&, RpcPayload request, RpcStream& stream)>;

struct RpcServerOptions {
  RpcLimits limits;
  uint64_t connections = 4096;

  template <class V>
  static void describe(V&& v) {
    v(&RpcServerOptions::connections, {"rpc_connections", "count", 1, 1 << 20,
                                       "connections held at once; further ones are dropped"});
  }
};

class RpcServer {
 public:
  // Everything must outlive this. `memory` is drawn from for requests in progress and stream
  // windows.
  RpcServer(const Clock& clock, Log& log, Metrics& metrics, RpcIdentity identity,
            const TokenVerifier& verifier, Budget& memory, RpcServerOptions options = {});
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // Before serve(). Invariant: a number is registered once. `method` must outlive this.
  void add(const RpcMethod& method, RpcHandler handler);
  void add_stream(const RpcMethod& method, RpcStreamHandler handler);

  // Accepts connections until the running fiber's scope is cancelled or the listener fails; then
  // ends all connections, waits for their calls and returns why. Suspends; once.
  Status serve(Listener& listener);

  size_t connections() const { return connections_.size(); }

 private:
  friend class RpcServerConnection;
  struct Entry {
    const RpcMethod* method;
    RpcHandler handler;
    RpcStreamHandler stream_handler;
  };
  Status accept_loop(Listener& listener);
  void admit(std::unique_ptr<Stream> stream);
  void connection_closed(uint64_t id, const Status& why);

  const Clock& clock_;
  Log& log_;
  Metrics& metrics_;
  RpcIdentity identity_;
  const TokenVerifier& verifier_;
  Budget& memory_;
  RpcServerOptions options_;
  std::map<uint16_t, Entry> methods_;
  Scope* scope_ = nullptr;  // while serve() runs
  uint64_t next_id_ = 0;
  std::map<uint64_t, std::unique_ptr<class RpcServerConnection>> connections_;
};

}  // namespace varve
