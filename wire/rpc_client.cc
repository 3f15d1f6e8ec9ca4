#include "wire/rpc_client.h"

#include <utility>

#include "runtime/scheduler.h"
#include "wire/rpc_client_connection.h"

namespace varve {

RpcClientStream::RpcClientStream(std::shared_ptr<RpcClientConnection> connection, uint64_t call)
    : RpcStream(connection->frames(), call, connection->peer_window()),
      owner_(std::move(connection)),
      id_(call) {}

RpcClientStream::~RpcClientStream() {
  owner_->forget(id_);
}

RpcClient::RpcClient(Network& network, Random& random, Scope& parent, Address address,
                     std::string token, RpcIdentity identity, RpcClientOptions options)
    : network_(network),
      random_(random),
      address_(std::move(address)),
      token_(std::move(token)),
      identity_(std::move(identity)),
      options_(options),
      backoff_({options.backoff_first, std::max(options.backoff_first, options.backoff_maximum),
                Duration::seconds(10)}),
      scope_("rpc client", parent) {}

RpcClient::~RpcClient() {
  VARVE_CHECK_MSG(current_.use_count() <= 1, "a client is destroyed under its callers");
  disconnect();
}

void RpcClient::disconnect() {
  const std::shared_ptr<RpcClientConnection> old = std::exchange(current_, nullptr);
  if (old != nullptr) old->close(Status(Code::kUnavailable, "disconnected"));
}

Result<std::shared_ptr<RpcClientConnection>> RpcClient::connection() {
  if (current_ != nullptr && !current_->is_closed()) return current_;
  MutexGuard guard(connecting_, "an RPC connection being made");
  VARVE_TRY(guard.status());
  // Whoever was first has made it for all.
  if (current_ != nullptr && !current_->is_closed()) return current_;
  if (current_ != nullptr) {
    backoff_.failed(now(), random_.below(~uint64_t{0}, "rpc back-off"));
    current_.reset();
  }
  VARVE_TRY(check_cancelled());
  const Duration wait = backoff_.wait(now());
  if (wait.nanoseconds > 0) VARVE_TRY(sleep_for(wait));
  Result<std::shared_ptr<RpcClientConnection>> made = connect();
  if (made.ok()) {
    backoff_.succeeded(now());
    current_ = *made;
    return made;
  }
  // A caller that left or was late says nothing of the server.
  VARVE_TRY(check_cancelled());
  backoff_.failed(now(), random_.below(~uint64_t{0}, "rpc back-off"));
  Status why = made.status();
  if (why.is(Code::kDeadlineExceeded)) why = Status(Code::kUnavailable, why.message());
  return std::move(why).with_context("connecting to " + address_.to_string());
}

Result<std::shared_ptr<RpcClientConnection>> RpcClient::connect() {
  DeadlineGuard deadline(options_.connect_timeout);
  VARVE_TRY_ASSIGN(std::unique_ptr<Stream> stream, network_.connect(address_));
  auto connection =
      std::make_shared<RpcClientConnection>(std::move(stream), scope_, options_.limits);
  VARVE_TRY(connection->greet(token_, identity_));
  const NodeId node = connection->peer().node;
  if (options_.expected_node.value != 0 && node != options_.expected_node) {
    return Status(Code::kRefused, "node " + node.to_string() + " answers in place of node " +
                                      options_.expected_node.to_string());
  }
  return connection;
}

Result<RpcPayload> RpcClient::call(const RpcMethod& method, RpcPayload request) {
  VARVE_TRY_ASSIGN(const std::shared_ptr<RpcClientConnection> connection, connection());
  Result<RpcPayload> response = connection->call(method, std::move(request));
  const bool dead =
      response.is(Code::kDeadlineExceeded) && connection->silent_for(options_.silence);
  if (dead && current_ == connection) current_.reset();
  return response;
}

Result<std::unique_ptr<RpcClientStream>> RpcClient::open_stream(const RpcMethod& method,
                                                                RpcPayload request) {
  VARVE_TRY_ASSIGN(std::shared_ptr<RpcClientConnection> connection, connection());
  VARVE_TRY(connection->acquire(method, request));
  const uint64_t id = connection->next_id();
  auto stream = std::make_unique<RpcClientStream>(connection, id);
  connection->open(method, std::move(request), id, *stream);
  return stream;
}

Result<RpcIdentity> RpcClient::peer() {
  VARVE_TRY_ASSIGN(const std::shared_ptr<RpcClientConnection> connection, connection());
  return connection->peer();
}

}  // namespace varve
