// Items in both directions within one call. Each side may send while the other has granted it
// credit, which is given back as items are taken; so a slow consumer holds its producer up, and
// nobody else.
//
// An item costs its bytes plus kItemOverhead, so that empty ones are bounded too; one that costs
// more than the whole window can never be sent.
#pragma once

#include <deque>
#include <optional>

#include "base/status.h"
#include "runtime/sync.h"
#include "wire/rpc.h"
#include "wire/rpc_connection.h"

namespace varve {

class RpcStream {
 public:
  static constexpr uint64_t kItemOverhead = 64;

  // Internal to wire/: `send_window` is what the peer granted in its hello.
  RpcStream(rpc::Connection& connection, uint64_t call, uint64_t send_window);
  virtual ~RpcStream() = default;
  RpcStream(const RpcStream&) = delete;
  RpcStream& operator=(const RpcStream&) = delete;

  // Sends an item; waits for credit and for room in the connection. Invalid if the item exceeds the
  // window or a frame; the peer's error if it has ended the call. One fiber at a time.
  Status send(RpcPayload item);
  // Tells the peer that no more items follow from this side. Receiving goes on. Idempotent.
  Status close_send();
  // The next item; nothing when the peer has ended its side in order; the peer's error otherwise,
  // after the items that came before it. One fiber at a time.
  Result<std::optional<RpcPayload>> receive();

  // --- Internal to wire/: what the connection delivers. None suspends. ---

  // Invalid if the peer sent more than it may.
  Status deliver(RpcPayload item);
  Status grant(uint64_t bytes);
  // No more items; an error ends both directions.
  void end(Status why);

 protected:
  bool peer_ended() const { return ended_; }

 private:
  void give_back(uint64_t cost);

  rpc::Connection& connection_;
  uint64_t call_;
  uint64_t send_window_;
  uint64_t credit_;  // that we may still send
  bool send_closed_ = false;
  uint64_t receive_room_;  // that the peer may still send
  uint64_t taken_ = 0;     // taken by our consumer, not yet granted back
  std::deque<RpcPayload> items_;
  bool ended_ = false;
  Status error_;
  WaitQueue senders_;
  WaitQueue receivers_;
};

}  // namespace varve
