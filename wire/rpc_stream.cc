#include "wire/rpc_stream.h"

#include <utility>

namespace varve {

using rpc::FrameHeader;
using rpc::FrameKind;

RpcStream::RpcStream(rpc::Connection& connection, uint64_t call, uint64_t send_window)
    : connection_(connection),
      call_(call),
      send_window_(send_window),
      credit_(send_window),
      receive_room_(connection.limits().stream_window_bytes) {}

Status RpcStream::send(RpcPayload item) {
  VARVE_CHECK_MSG(!send_closed_, "an item after close_send()");
  const uint64_t cost = item.size() + kItemOverhead;
  if (cost > send_window_) {
    return Status(Code::kInvalid, "an item of " + std::to_string(item.size()) +
                                      " bytes exceeds the stream's window of " +
                                      std::to_string(send_window_));
  }
  while (error_.ok() && credit_ < cost) VARVE_TRY(senders_.wait("credit of an RPC stream"));
  if (!error_.ok()) return error_;
  // Taken before the wait below: another sender of ours must not count on it.
  credit_ -= cost;
  FrameHeader header;
  header.kind = FrameKind::kStreamItem;
  header.call = call_;
  return connection_.send(header, std::move(item));
}

Status RpcStream::close_send() {
  if (!error_.ok()) return error_;
  if (std::exchange(send_closed_, true)) return Status();
  FrameHeader header;
  header.kind = FrameKind::kStreamEnd;
  header.call = call_;
  return connection_.send(header);
}

Result<std::optional<RpcPayload>> RpcStream::receive() {
  while (items_.empty()) {
    if (!error_.ok()) return error_;
    if (ended_) return std::optional<RpcPayload>();
    VARVE_TRY(receivers_.wait("an item of an RPC stream"));
  }
  RpcPayload item = std::move(items_.front());
  items_.pop_front();
  give_back(item.size() + kItemOverhead);
  return std::optional<RpcPayload>(std::move(item));
}

void RpcStream::give_back(uint64_t cost) {
  taken_ += cost;
  // Half a window at a time: fewer frames, and the sender never runs dry before the grant is under
  // way.
  if (ended_ || taken_ < connection_.limits().stream_window_bytes / 2) return;
  FrameHeader header;
  header.kind = FrameKind::kCredit;
  header.call = call_;
  header.value = std::exchange(taken_, 0);
  receive_room_ += header.value;
  connection_.post(header);
}

Status RpcStream::deliver(RpcPayload item) {
  const uint64_t cost = item.size() + kItemOverhead;
  if (ended_) return Status(Code::kInvalid, "an item came after the end of its stream");
  if (cost > receive_room_) return Status(Code::kInvalid, "a peer sent items without credit");
  receive_room_ -= cost;
  items_.push_back(std::move(item));
  receivers_.wake_one();
  return Status();
}

Status RpcStream::grant(uint64_t bytes) {
  if (bytes > send_window_ - credit_) {
    return Status(Code::kInvalid, "a peer granted more credit than its window");
  }
  credit_ += bytes;
  senders_.wake_all();
  return Status();
}

void RpcStream::end(Status why) {
  ended_ = true;
  if (!why.ok() && error_.ok()) error_ = std::move(why);
  receivers_.wake_all();
  if (!error_.ok()) senders_.wake_all();
}

}  // namespace varve
