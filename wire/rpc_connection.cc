#include "wire/rpc_connection.h"

#include <algorithm>
#include <utility>

#include "base/crc32c.h"
#include "runtime/scheduler.h"

namespace varve::rpc {
namespace {

// Readers and writers only hand over; they go first whatever woke them.
FiberContext handover_context() {
  FiberContext context;
  context.work_class = WorkClass::kCommit;
  return context;
}

}  // namespace

Connection::Connection(std::unique_ptr<Stream> stream, Scope& parent, FrameReceiver& receiver,
                       const RpcLimits& limits)
    : stream_(std::move(stream)),
      receiver_(receiver),
      limits_(limits),
      peer_frame_bytes_(limits.frame_bytes),
      reader_(*stream_),
      scope_("rpc connection", parent) {}

Connection::~Connection() {
  close(Status(Code::kCancelled, "the connection's owner has gone"));
  scope_.cancel();
}

void Connection::start() {
  scope_.spawn("rpc reader", [this] { read_frames(true); });
}

void Connection::wait_for_bytes() {
  stream_->on_readable([this] { scope_.spawn("rpc reader", [this] { read_frames(false); }); });
}

void Connection::read_frames(bool first) {
  ContextGuard context(handover_context());
  // Bytes are there, or this is the first frame, which is waited for.
  do {
    DeadlineGuard deadline(std::exchange(first, false) ? limits_.handshake_timeout
                                                       : limits_.frame_timeout);
    Status status = read_frame();
    if (!status.ok()) return close(std::move(status));
    if (finishing_) return drain();
  } while (!is_closed() && reader_.buffered() != 0);
  if (!is_closed()) wait_for_bytes();
}

Status Connection::read_frame() {
  Result<Bytes> bytes = reader_.read_exactly(kFrameHeaderSize);
  if (bytes.is(Code::kNotFound)) {
    return Status(Code::kUnavailable, "the other side closed the connection");
  }
  if (!bytes.ok()) return bytes.status();
  VARVE_TRY_ASSIGN(const FrameHeader header, parse_frame_header(*bytes, limits_.frame_bytes));
  Result<Reservation> memory = receiver_.admit(header);
  if (!memory.ok()) {
    VARVE_TRY(drop_body(header.body_size));
    return receiver_.refused(header, memory.status());
  }
  VARVE_TRY_ASSIGN(RpcPayload payload, read_body(header));
  return receiver_.received(header, std::move(payload), std::move(memory).value());
}

Result<RpcPayload> Connection::read_body(const FrameHeader& header) {
  VARVE_TRY_ASSIGN(const Bytes sizes_field, reader_.read_exactly(size_t{header.attachments} * 4));
  VARVE_TRY_ASSIGN(const std::vector<uint32_t> sizes, parse_attachment_sizes(header, sizes_field));
  uint32_t crc = crc32c(sizes_field);
  RpcPayload payload;
  VARVE_TRY_ASSIGN(payload.head, reader_.read_exactly(header.head_size));
  crc = crc32c(payload.head, crc);
  payload.attachments.reserve(sizes.size());
  for (const uint32_t size : sizes) {
    VARVE_TRY_ASSIGN(Bytes attachment, reader_.read_exactly(size));
    crc = crc32c(attachment, crc);
    payload.attachments.push_back(std::move(attachment));
  }
  if (crc != header.body_crc) {
    return Status(Code::kCorrupt, "the checksum of an RPC frame's body doesn't match");
  }
  return payload;
}

Status Connection::drop_body(uint64_t count) {
  while (count > 0) {
    const size_t step = static_cast<size_t>(std::min<uint64_t>(count, 64 << 10));
    VARVE_TRY_ASSIGN(const Bytes dropped, reader_.read_exactly(step));
    count -= dropped.size();
  }
  return Status();
}

void Connection::post(FrameHeader header, RpcPayload payload) {
  if (is_closed() || finishing_) return;
  std::vector<Bytes> pieces = encode_frame(header, std::move(payload));
  queued_bytes_ += total_size(pieces);
  if (queue_.empty()) {
    queue_ = std::move(pieces);
  } else {
    queue_.insert(queue_.end(), std::make_move_iterator(pieces.begin()),
                  std::make_move_iterator(pieces.end()));
  }
  if (writing_) return;
  writing_ = true;
  scope_.spawn("rpc writer", [this] { write_frames(); });
}

Status Connection::wait_for_room(const RpcPayload& payload) {
  const uint64_t size = payload.size() + payload.attachments.size() * 4;
  if (payload.attachments.size() > kMaxAttachments || size > peer_frame_bytes_) {
    return Status(Code::kInvalid, "a message of " + std::to_string(size) + " bytes with " +
                                      std::to_string(payload.attachments.size()) +
                                      " attachments exceeds what the other side takes (" +
                                      std::to_string(peer_frame_bytes_) + " bytes)");
  }
  while (!is_closed() && queued_bytes_ >= limits_.send_queue_bytes) {
    VARVE_TRY(room_.wait("room in an RPC send queue"));
  }
  return why_closed_;
}

Status Connection::send(FrameHeader header, RpcPayload payload) {
  VARVE_TRY(wait_for_room(payload));
  post(header, std::move(payload));
  return Status();
}

void Connection::write_frames() {
  ContextGuard context(handover_context());
  while (!queue_.empty() && !is_closed()) {
    std::vector<Bytes> pieces = std::exchange(queue_, {});
    const uint64_t size = total_size(pieces);
    // A peer that takes nothing for so long is gone, or keeps us from giving memory back.
    DeadlineGuard deadline(limits_.frame_timeout);
    Status status = stream_->write(std::move(pieces));
    queued_bytes_ -= size;
    room_.wake_all();
    if (!status.ok()) close(std::move(status));
  }
  if (finishing_ && !is_closed()) stream_->close_write().ignore("the connection ends anyway");
  writing_ = false;
}

void Connection::close(Status why) {
  if (is_closed()) return;
  // A refused peer is refused, even if it then hung up.
  why_closed_ = finishing_ ? why_finished_ : std::move(why);
  stream_->abort();
  room_.wake_all();
  receiver_.closed(why_closed_);
}

void Connection::finish(Status why) {
  if (is_closed() || finishing_) return;
  finishing_ = true;
  why_finished_ = std::move(why);
  // Without a frame in the queue there is still the end of the stream to write.
  if (writing_) return;
  writing_ = true;
  scope_.spawn("rpc writer", [this] { write_frames(); });
}

// The reader's last act in a connection that finishes.
void Connection::drain() {
  DeadlineGuard deadline(limits_.linger);
  while (!is_closed()) {
    const Result<Bytes> dropped = reader_.read_some();
    if (!dropped.ok() || dropped->empty()) return close(why_finished_);
  }
}

}  // namespace varve::rpc
