// One connection of our RPC, the part that both sides share: frames in, frames out. Internal to
// wire/.
//
// Nothing of an idle connection is a fiber. Readable bytes spawn a reader, which ends when it has
// used them up; a frame to send spawns a writer, which ends when the queue is empty and merges what
// queues up meanwhile. So no call's cancellation can leave half a frame in the stream.
//
// A frame's attachments are slices of what the stream delivered; only one that straddles two pieces
// is copied.
#pragma once

#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "runtime/budget.h"
#include "runtime/network.h"
#include "runtime/scope.h"
#include "runtime/sync.h"
#include "wire/rpc.h"
#include "wire/rpc_frame.h"

namespace varve::rpc {

class FrameReceiver {
 public:
  virtual ~FrameReceiver() = default;
  // Before a frame's body is read: whether it is wanted. An error makes the connection drop the
  // body and call refused(). The reservation is handed to received(). Never suspends.
  virtual Result<Reservation> admit(const FrameHeader& header) = 0;
  // An error of these two ends the connection. They may suspend, which stops reading.
  virtual Status refused(const FrameHeader& header, Status why) = 0;
  virtual Status received(const FrameHeader& header, RpcPayload payload, Reservation memory) = 0;
  // Once, when the connection has ended, whatever the reason. Never suspends.
  virtual void closed(const Status& why) = 0;
};

class Connection {
 public:
  // Fibers run in a scope below `parent`. `receiver` must outlive this.
  Connection(std::unique_ptr<Stream> stream, Scope& parent, FrameReceiver& receiver,
             const RpcLimits& limits);
  // Closes and waits for the fibers; may suspend. Never from one of the connection's own fibers.
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Reads the first frame, with the handshake's deadline. Once.
  void start();
  // Queues a frame; nothing happens after the end. Never suspends. For frames whose number is
  // bounded otherwise.
  void post(FrameHeader header, RpcPayload payload = {});
  // Waits until a frame with this payload may be queued. Invalid if the peer doesn't take so much;
  // the reason of the end when there is no connection. After success post() queues it, unless the
  // fiber suspends in between.
  Status wait_for_room(const RpcPayload& payload);
  // Both in one.
  Status send(FrameHeader header, RpcPayload payload = {});
  // Ends both directions now. Idempotent, never suspends.
  void close(Status why);
  // Sends what is queued, then the end; what still comes is dropped; closes when the peer has left
  // or after the linger time. Never suspends. From inside received() only: the reader does the
  // waiting.
  void finish(Status why);

  bool is_closed() const { return !why_closed_.ok(); }
  const Status& why_closed() const { return why_closed_; }
  Scope& scope() { return scope_; }
  const Address& peer() const { return stream_->peer(); }
  const RpcLimits& limits() const { return limits_; }
  // The peer's limit for what we send, from its hello.
  void set_peer_frame_bytes(uint64_t bytes) { peer_frame_bytes_ = bytes; }
  uint64_t peer_frame_bytes() const { return peer_frame_bytes_; }

 private:
  void wait_for_bytes();
  void read_frames(bool first);
  Status read_frame();
  Result<RpcPayload> read_body(const FrameHeader& header);
  Status drop_body(uint64_t count);
  void write_frames();
  void drain();

  std::unique_ptr<Stream> stream_;
  FrameReceiver& receiver_;
  RpcLimits limits_;
  uint64_t peer_frame_bytes_;
  BufferedReader reader_;
  std::vector<Bytes> queue_;
  uint64_t queued_bytes_ = 0;  // in queue_ or in the writer's hands
  bool writing_ = false;
  bool finishing_ = false;
  Status why_finished_;
  Status why_closed_;
  WaitQueue room_;
  Scope scope_;
};

}  // namespace varve::rpc
