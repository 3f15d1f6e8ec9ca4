#include "wire/rpc_server_connection.h"

#include <algorithm>
#include <utility>

#include "wire/rpc_metrics.h"

namespace varve {

using rpc::FrameHeader;
using rpc::FrameKind;

namespace {

constexpr uint64_t kMaxHelloBytes = 8192;  // of somebody who has shown no token yet
// Beyond any sensible wait; a deadline further away is none. Keeps the arithmetic in range.
constexpr uint64_t kLongestDeadlineMicros = uint64_t{365} * 86400 * 1000000;

FrameHeader frame_of(FrameKind kind, uint64_t call) {
  FrameHeader header;
  header.kind = kind;
  header.call = call;
  return header;
}

}  // namespace

Status CallContext::authorize(const TenantId& tenant, const TimelineId& timeline) {
  VARVE_TRY(varve::authorize(claims_, method_.scope, tenant, timeline, clock_.wall()));
  authorized_ = true;
  return Status();
}

RpcServerConnection::Call::Call(RpcServerConnection& connection, const RpcServer::Entry& e)
    : entry(e),
      context(*e.method, connection.claims_, connection.peer_, connection.connection_->peer(),
              connection.server_.clock_),
      scope("rpc call", connection.connection_->scope()) {}

RpcServerConnection::RpcServerConnection(RpcServer& server, uint64_t id,
                                         std::unique_ptr<Stream> stream)
    : server_(server),
      id_(id),
      connection_(
          new rpc::Connection(std::move(stream), *server.scope_, *this, server.options_.limits)) {}

RpcServerConnection::~RpcServerConnection() {
  VARVE_CHECK(connection_->is_closed());
  // Each waits for its fiber; one at a time, so that the map is whole whenever others run.
  while (!calls_.empty()) (void)calls_.extract(calls_.begin());
  connection_.reset();
}

// --- Frames ---

Result<Reservation> RpcServerConnection::admit(const FrameHeader& header) {
  if (!greeted_) {
    if (header.kind == FrameKind::kHello && header.body_size <= kMaxHelloBytes)
      return Reservation();
    return Status(Code::kInvalid, "the first frame is no hello");
  }
  const uint64_t item_limit = server_.options_.limits.stream_window_bytes + kMaxAttachments * 4;
  // Items are within the window that was reserved when the stream was opened; the rest is small.
  if (header.kind == FrameKind::kStreamItem && header.body_size <= item_limit) return Reservation();
  if (header.kind != FrameKind::kRequest) {
    if (header.body_size == 0) return Reservation();
    return Status(Code::kInvalid, "a frame without content has some");
  }
  const uint64_t window = header.stream ? server_.options_.limits.stream_window_bytes : 0;
  return server_.memory_.try_reserve(header.body_size + window);
}

Status RpcServerConnection::refused(const FrameHeader& header, Status why) {
  if (!greeted_ || header.kind != FrameKind::kRequest) return why;
  if (header.call <= last_call_) return Status(Code::kInvalid, "a call's number was used again");
  last_call_ = header.call;
  return connection_->send(frame_of(FrameKind::kError, header.call),
                           RpcPayload(rpc::encode_status(why)));
}

Status RpcServerConnection::received(const FrameHeader& header, RpcPayload payload,
                                     Reservation memory) {
  // Closed while this frame was being read: no call may begin behind closed()'s back.
  if (connection_->is_closed()) return connection_->why_closed();
  reap();
  switch (header.kind) {
    case FrameKind::kHello:
      return hello(header, payload);
    case FrameKind::kRequest:
      return request(header, std::move(payload), std::move(memory));
    case FrameKind::kCancel:
      if (Call* call = find(header.call)) {
        call->cancelled = true;
        call->scope.cancel();
      }
      return Status();
    case FrameKind::kStreamItem:
    case FrameKind::kStreamEnd:
    case FrameKind::kCredit: {
      // A call that has ended may still be sent to; its end is on the way.
      if (header.call > last_call_) return Status(Code::kInvalid, "a frame of a call to come");
      Call* call = find(header.call);
      if (call == nullptr || call->done) return Status();
      if (call->stream == nullptr) return Status(Code::kInvalid, "an item for a call without any");
      if (header.kind == FrameKind::kStreamItem) return call->stream->deliver(std::move(payload));
      if (header.kind == FrameKind::kCredit) return call->stream->grant(header.value);
      call->stream->end(Status());
      return Status();
    }
    case FrameKind::kHelloAck:
    case FrameKind::kResponse:
    case FrameKind::kError:
      return Status(Code::kInvalid, "a client sent a frame that only servers send");
  }
  VARVE_UNREACHABLE("the codec lets no other kind pass");
}

void RpcServerConnection::closed(const Status& why) {
  for (auto& [id, call] : calls_) {
    if (call->stream != nullptr) call->stream->end(why);
    call->scope.cancel();
  }
  server_.connection_closed(id_, why);
}

// --- Hello ---

Status RpcServerConnection::refuse_hello(Status why) {
  server_.metrics_.add(rpc::kRefusedHellos, 1);
  server_.log_.info("rpc_hello_refused", "a connection was refused",
                    {{"peer", connection_->peer().to_string()}, {"why", why}});
  connection_->post(frame_of(FrameKind::kError, 0), RpcPayload(rpc::encode_status(why)));
  connection_->finish(std::move(why));
  return Status();
}

Status RpcServerConnection::hello(const FrameHeader& header, const RpcPayload& payload) {
  if (greeted_) return Status(Code::kInvalid, "a second hello");
  if (header.call != 0) return Status(Code::kInvalid, "a hello with a call's number");
  Result<rpc::Hello> hello = rpc::parse_hello(payload.head);
  if (!hello.ok()) return hello.status();
  if (hello->oldest_version > rpc::kVersion || hello->newest_version < rpc::kVersion) {
    return refuse_hello(Status(Code::kUnsupported,
                               "RPC versions " + std::to_string(hello->oldest_version) + " to " +
                                   std::to_string(hello->newest_version) +
                                   " are not spoken here, only " + std::to_string(rpc::kVersion)));
  }
  Result<TokenClaims> claims = server_.verifier_.verify(hello->token, server_.clock_.wall());
  if (!claims.ok()) return refuse_hello(claims.status());
  claims_ = std::move(claims).value();
  peer_ = hello->identity;
  peer_window_ = hello->window_bytes;
  connection_->set_peer_frame_bytes(hello->frame_bytes);
  greeted_ = true;

  rpc::HelloAck ack;
  ack.identity = server_.identity_;
  ack.frame_bytes = server_.options_.limits.frame_bytes;
  ack.window_bytes = server_.options_.limits.stream_window_bytes;
  ack.calls = server_.options_.limits.calls;
  connection_->post(frame_of(FrameKind::kHelloAck, 0), RpcPayload(rpc::encode_hello_ack(ack)));
  return Status();
}

// --- Calls ---

RpcServerConnection::Call* RpcServerConnection::find(uint64_t id) {
  const auto found = calls_.find(id);
  return found == calls_.end() ? nullptr : found->second.get();
}

// Ends what has ended: a call can't destroy its own scope.
void RpcServerConnection::reap() {
  for (const uint64_t id : std::exchange(finished_, {})) {
    const auto found = calls_.find(id);
    VARVE_CHECK(found != calls_.end());
    if (found->second->scope.live() != 0) {
      finished_.push_back(id);  // its last destructors still run
      continue;
    }
    calls_.erase(found);
  }
}

Status RpcServerConnection::check_request(const FrameHeader& header,
                                          const RpcServer::Entry* entry) const {
  if (entry == nullptr) {
    return Status(Code::kUnsupported, "method " + std::to_string(header.method) +
                                          " is not known to " + server_.identity_.name);
  }
  const RpcMethod& method = *entry->method;
  if (header.stream != (entry->stream_handler != nullptr)) {
    return Status(Code::kInvalid,
                  std::string(method.name) + (header.stream ? " has no" : " needs a") + " stream");
  }
  // A cancelled call may run on for a moment while its caller has begun the next.
  if (calls_.size() - finished_.size() >= 2 * server_.options_.limits.calls) {
    return Status(Code::kFull, "too many calls in progress on one connection");
  }
  // The tenant is the handler's to check; scope and expiry are known here.
  if (method.scope == TokenScope::kNode || method.scope == TokenScope::kAdmin) {
    return authorize(claims_, method.scope, {}, {}, server_.clock_.wall());
  }
  return Status();
}

Status RpcServerConnection::request(const FrameHeader& header, RpcPayload payload,
                                    Reservation memory) {
  if (header.call <= last_call_) return Status(Code::kInvalid, "a call's number was used again");
  last_call_ = header.call;
  const auto found = server_.methods_.find(header.method);
  const RpcServer::Entry* entry = found == server_.methods_.end() ? nullptr : &found->second;
  Status refusal = check_request(header, entry);
  if (!refusal.ok()) {
    return connection_->send(frame_of(FrameKind::kError, header.call),
                             RpcPayload(rpc::encode_status(refusal)));
  }

  FiberContext context;
  context.work_class = entry->method->work_class;
  context.trace = header.trace;
  if (header.value != 0 && header.value <= kLongestDeadlineMicros) {
    context.deadline = now() + Duration::micros(static_cast<int64_t>(header.value));
  }
  auto owned = std::make_unique<Call>(*this, *entry);
  Call& call = *owned;
  call.memory = std::move(memory);
  if (header.stream) {
    call.stream = std::make_unique<RpcStream>(*connection_, header.call, peer_window_);
  }
  calls_.emplace(header.call, std::move(owned));
  call.scope.spawn(entry->method->name, [this, &call, id = header.call, context,
                                         request = std::move(payload)]() mutable {
    run(id, call, std::move(request), context);
  });
  return Status();
}

Result<RpcPayload> RpcServerConnection::handle(Call& call, RpcPayload payload) {
  Result<RpcPayload> result = RpcPayload();
  if (call.stream != nullptr) {
    Status status = call.entry.stream_handler(call.context, std::move(payload), *call.stream);
    if (!status.ok()) result = std::move(status);
  } else {
    result = call.entry.handler(call.context, std::move(payload));
  }
  const TokenScope scope = call.entry.method->scope;
  const bool bound = scope == TokenScope::kTenant || scope == TokenScope::kTimeline;
  VARVE_CHECK_MSG(!result.ok() || !bound || call.context.authorized(),
                  "a handler served a tenant without asking whether it may");
  return result;
}

void RpcServerConnection::run(uint64_t id, Call& call, RpcPayload payload, FiberContext context) {
  ContextGuard guard(context);
  const Instant begun = now();
  Result<RpcPayload> result = handle(call, std::move(payload));
  call.memory = Reservation();
  server_.metrics_.add(rpc::kCallsServed, 1);
  if (!result.ok()) server_.metrics_.add(rpc::kCallsFailed, 1);
  // Nobody waits for the answer of a cancelled call.
  if (!call.cancelled && !connection_->is_closed()) {
    answer(id, call, std::move(result)).ignore("the connection's end tells the caller");
  }
  server_.metrics_.observe(rpc::kCallTime, static_cast<uint64_t>((now() - begun).to_micros()));
  call.stream.reset();
  call.done = true;
  finished_.push_back(id);
}

Status RpcServerConnection::answer(uint64_t id, Call& call, Result<RpcPayload> result) {
  // The answer must go out although the call's deadline has passed or its scope is cancelled: the
  // caller decides what it is worth.
  Shield shield;
  Status sent;
  if (result.ok()) {
    const FrameKind kind = call.stream != nullptr ? FrameKind::kStreamEnd : FrameKind::kResponse;
    sent = connection_->send(frame_of(kind, id), std::move(result).value());
    if (!sent.is(Code::kInvalid)) return sent;
  } else {
    sent = result.status();
  }
  // Too large an answer is an error that fits.
  return connection_->send(frame_of(FrameKind::kError, id), RpcPayload(rpc::encode_status(sent)));
}

}  // namespace varve
