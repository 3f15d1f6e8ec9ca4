#include "wire/rpc_client_connection.h"

#include <algorithm>
#include <utility>

#include "runtime/scheduler.h"

namespace varve {

using rpc::FrameHeader;
using rpc::FrameKind;

namespace {

constexpr uint64_t kMaxHelloBytes = 16384;  // of somebody of whom nothing is known yet

}  // namespace

RpcClientConnection::RpcClientConnection(std::unique_ptr<Stream> stream, Scope& parent,
                                         const RpcLimits& limits)
    : connection_(std::move(stream), parent, *this, limits) {}

RpcClientConnection::~RpcClientConnection() {
  close(Status(Code::kCancelled, "the client has gone"));
  VARVE_CHECK_MSG(pending_.empty(), "a connection is destroyed under its callers");
}

// --- Hello ---

Status RpcClientConnection::greet(const std::string& token, const RpcIdentity& identity) {
  rpc::Hello hello;
  hello.identity = identity;
  hello.token = token;
  hello.frame_bytes = connection_.limits().frame_bytes;
  hello.window_bytes = connection_.limits().stream_window_bytes;
  connection_.post(FrameHeader{}, RpcPayload(rpc::encode_hello(hello)));
  connection_.start();
  while (!greeted_ && !is_closed()) VARVE_TRY(greeting_.wait("the answer to an RPC hello"));
  return is_closed() ? why_closed() : Status();
}

Status RpcClientConnection::hello_answered(const FrameHeader& header, const RpcPayload& payload) {
  if (header.kind == FrameKind::kError) {
    return rpc::parse_status(payload.head);
  }
  if (header.kind != FrameKind::kHelloAck) {
    return Status(Code::kInvalid, "the server's first frame is no answer to a hello");
  }
  VARVE_TRY_ASSIGN(rpc::HelloAck ack, rpc::parse_hello_ack(payload.head));
  peer_ = std::move(ack.identity);
  peer_window_ = ack.window_bytes;
  connection_.set_peer_frame_bytes(ack.frame_bytes);
  slots_.release(std::min(ack.calls, connection_.limits().calls));
  greeted_ = true;
  greeting_.wake_all();
  return Status();
}

// --- Calls ---

// What a caller gets to hear of the connection's end, whatever ended it.
Status RpcClientConnection::lost() const {
  const Status& why = why_closed();
  const bool passes = why.is(Code::kUnavailable) || why.is(Code::kRefused);
  Status status = passes ? why : Status(Code::kUnavailable, why.to_string());
  return std::move(status).with_context("connection lost");
}

Status RpcClientConnection::acquire(const RpcMethod& method, const RpcPayload& request) {
  VARVE_TRY(slots_.acquire(1, "a place among an RPC connection's calls"));
  Status status = connection_.wait_for_room(request);
  if (status.ok()) status = check_cancelled();  // not a byte for a caller who is late already
  if (status.ok()) return status;
  slots_.release();
  if (is_closed()) status = lost();
  return std::move(status).with_context(method.name);
}

void RpcClientConnection::post_request(const RpcMethod& method, RpcPayload request, uint64_t id,
                                       bool stream) {
  FrameHeader header;
  header.kind = FrameKind::kRequest;
  header.method = method.number;
  header.call = id;
  header.stream = stream;
  header.trace = fiber_context().trace;
  const Instant deadline = fiber_context().deadline;
  if (deadline != Instant::never()) {
    const int64_t left = (deadline - now()).to_micros();
    header.value = static_cast<uint64_t>(std::max<int64_t>(left, 1));
  }
  if (silent_since_ == Instant::never()) silent_since_ = now();
  connection_.post(header, std::move(request));
}

bool RpcClientConnection::silent_for(Duration time) const {
  return silent_since_ != Instant::never() && now() - silent_since_ >= time;
}

void RpcClientConnection::post_cancel(uint64_t id) {
  FrameHeader header;
  header.kind = FrameKind::kCancel;
  header.call = id;
  connection_.post(header);
}

// Whoever waits is told; the place is given back by forget(), which every caller comes to.
void RpcClientConnection::finish(uint64_t id, Pending& pending, Status status,
                                 RpcPayload response) {
  pending.answered = true;
  if (pending.stream != nullptr) {
    pending.stream->end(std::move(status));
  } else {
    pending.status = std::move(status);
    pending.response = std::move(response);
    pending.done.wake_all();
  }
  pending_.erase(id);
}

Result<RpcPayload> RpcClientConnection::call(const RpcMethod& method, RpcPayload request) {
  VARVE_TRY(acquire(method, request));
  const uint64_t id = next_id();
  Pending pending;
  pending_.emplace(id, &pending);
  post_request(method, std::move(request), id, false);
  Status status;
  while (status.ok() && !pending.answered) status = pending.done.wait(method.name);
  slots_.release();
  if (pending.answered) {
    if (!pending.status.ok()) return std::move(pending.status).with_context(method.name);
    return std::move(pending.response);
  }
  pending_.erase(id);
  post_cancel(id);
  return std::move(status).with_context(method.name);
}

void RpcClientConnection::open(const RpcMethod& method, RpcPayload request, uint64_t id,
                               RpcStream& stream) {
  auto pending = std::make_unique<Pending>();
  pending->stream = &stream;
  pending_.emplace(id, pending.get());
  streams_.emplace(id, std::move(pending));
  post_request(method, std::move(request), id, true);
}

void RpcClientConnection::forget(uint64_t id) {
  slots_.release();
  const auto found = streams_.find(id);
  VARVE_CHECK(found != streams_.end());
  const bool answered = found->second->answered;
  streams_.erase(found);
  pending_.erase(id);
  if (!answered) post_cancel(id);
}

// --- Frames ---

Result<Reservation> RpcClientConnection::admit(const FrameHeader&) {
  return Reservation();
}

Status RpcClientConnection::refused(const FrameHeader&, Status why) {
  return why;
}

Status RpcClientConnection::received(const FrameHeader& header, RpcPayload payload, Reservation) {
  if (!greeted_) return hello_answered(header, payload);
  // What is answered here has left `pending_` only below; one call too many is on the safe side.
  silent_since_ = pending_.size() > 1 ? now() : Instant::never();
  if (header.kind == FrameKind::kError && header.call == 0) return rpc::parse_status(payload.head);
  if (header.call == 0 || header.call > last_call_) {
    return Status(Code::kInvalid, "the server answers a call that was never made");
  }
  const auto found = pending_.find(header.call);
  if (found == pending_.end()) return Status();  // its caller has left
  Pending& pending = *found->second;
  switch (header.kind) {
    case FrameKind::kResponse:
      if (pending.stream != nullptr) return Status(Code::kInvalid, "a response ends a stream");
      finish(header.call, pending, Status(), std::move(payload));
      return Status();
    case FrameKind::kError:
      finish(header.call, pending, rpc::parse_status(payload.head), {});
      return Status();
    case FrameKind::kStreamItem:
    case FrameKind::kStreamEnd:
    case FrameKind::kCredit:
      if (pending.stream == nullptr) return Status(Code::kInvalid, "items for a call without any");
      if (header.kind == FrameKind::kStreamItem) return pending.stream->deliver(std::move(payload));
      if (header.kind == FrameKind::kCredit) return pending.stream->grant(header.value);
      finish(header.call, pending, Status(), {});
      return Status();
    case FrameKind::kHello:
    case FrameKind::kHelloAck:
    case FrameKind::kRequest:
    case FrameKind::kCancel:
      return Status(Code::kInvalid, "a server sent a frame that only clients send");
  }
  VARVE_UNREACHABLE("the codec lets no other kind pass");
}

void RpcClientConnection::closed(const Status& why) {
  (void)why;
  for (auto& [id, pending] : std::exchange(pending_, {})) finish(id, *pending, lost(), {});
  greeting_.wake_all();
}

}  // namespace varve
