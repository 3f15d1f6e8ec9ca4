#include "wire/rpc_server.h"

#include <utility>

#include "runtime/scheduler.h"
#include "wire/rpc_metrics.h"
#include "wire/rpc_server_connection.h"

namespace varve {

RpcServer::RpcServer(const Clock& clock, Log& log, Metrics& metrics, RpcIdentity identity,
                     const TokenVerifier& verifier, Budget& memory, RpcServerOptions options)
    : clock_(clock),
      log_(log),
      metrics_(metrics),
      identity_(std::move(identity)),
      verifier_(verifier),
      memory_(memory),
      options_(options) {}

RpcServer::~RpcServer() {
  VARVE_CHECK_MSG(scope_ == nullptr, "serve() still runs");
}

void RpcServer::add(const RpcMethod& method, RpcHandler handler) {
  const bool added = methods_.emplace(method.number, Entry{&method, std::move(handler), {}}).second;
  VARVE_CHECK_MSG(added, "a method's number is registered twice");
}

void RpcServer::add_stream(const RpcMethod& method, RpcStreamHandler handler) {
  const bool added = methods_.emplace(method.number, Entry{&method, {}, std::move(handler)}).second;
  VARVE_CHECK_MSG(added, "a method's number is registered twice");
}

Status RpcServer::serve(Listener& listener) {
  VARVE_CHECK_MSG(scope_ == nullptr, "serve() runs already");
  Scope scope("rpc server");
  scope_ = &scope;
  Status why = accept_loop(listener);
  // Closing a connection spawns the fiber that takes it out of the table.
  std::vector<uint64_t> ids;
  for (const auto& [id, connection] : connections_) ids.push_back(id);
  for (const uint64_t id : ids) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) continue;
    found->second->close(Status(Code::kUnavailable, identity_.name + " is stopping"));
  }
  {
    Shield shield;
    scope.join().ignore("connections have no verdict");
  }
  VARVE_CHECK(connections_.empty());
  scope_ = nullptr;
  return why;
}

Status RpcServer::accept_loop(Listener& listener) {
  while (true) {
    Result<std::unique_ptr<Stream>> stream = listener.accept();
    if (stream.ok()) {
      admit(std::move(stream).value());
      continue;
    }
    // Too many open files passes; anything else does not.
    if (!stream.is(Code::kFull)) return stream.status();
    log_.warning("rpc_accept_failed", "a connection could not be accepted",
                 {{"why", stream.status()}});
    VARVE_TRY(sleep_for(Duration::millis(100)));
  }
}

void RpcServer::admit(std::unique_ptr<Stream> stream) {
  if (connections_.size() >= options_.connections) {
    log_.warning("rpc_connection_dropped", "there are too many connections",
                 {{"peer", stream->peer().to_string()}});
    return;  // its destructor aborts it
  }
  const uint64_t id = ++next_id_;
  auto connection = std::make_unique<RpcServerConnection>(*this, id, std::move(stream));
  RpcServerConnection& added = *connection;
  connections_.emplace(id, std::move(connection));
  metrics_.set(rpc::kConnections, static_cast<int64_t>(connections_.size()));
  added.start();
}

// From a fiber of the connection itself, which therefore can't destroy it.
void RpcServer::connection_closed(uint64_t id, const Status& why) {
  log_.debug("rpc_connection_closed", "a connection has ended", {{"why", why}});
  scope_->spawn("rpc connection end", [this, id] {
    Shield shield;
    const auto found = connections_.find(id);
    VARVE_CHECK(found != connections_.end());
    const std::unique_ptr<RpcServerConnection> connection = std::move(found->second);
    connections_.erase(found);
    metrics_.set(rpc::kConnections, static_cast<int64_t>(connections_.size()));
  });
}

}  // namespace varve
