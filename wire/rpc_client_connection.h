// One made connection and the calls that wait on it. Internal to wire/.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "wire/rpc_client.h"
#include "wire/rpc_connection.h"

namespace varve {

class RpcClientConnection : public rpc::FrameReceiver {
 public:
  RpcClientConnection(std::unique_ptr<Stream> stream, Scope& parent, const RpcLimits& limits);
  ~RpcClientConnection() override;

  // Says hello and waits for the answer: Refused, Unsupported or whatever the server says.
  // Suspends.
  Status greet(const std::string& token, const RpcIdentity& identity);
  Result<RpcPayload> call(const RpcMethod& method, RpcPayload request);
  // Waits until a request may be sent: a place among the calls that the server takes, and room in
  // the queue. After success the place is held; the caller goes on without suspending, because the
  // server wants calls in the order of their numbers.
  Status acquire(const RpcMethod& method, const RpcPayload& request);
  uint64_t next_id() { return ++last_call_; }
  // Makes a stream known and sends its request. `stream` hears of it until forget().
  void open(const RpcMethod& method, RpcPayload request, uint64_t id, RpcStream& stream);
  // A stream's owner has gone; tells the server, unless it has ended the call. Gives the place
  // back.
  void forget(uint64_t id);

  // Calls wait, and nothing at all has come from the server for that long.
  bool silent_for(Duration time) const;
  bool is_closed() const { return connection_.is_closed(); }
  const Status& why_closed() const { return connection_.why_closed(); }
  void close(Status why) { connection_.close(std::move(why)); }
  const RpcIdentity& peer() const { return peer_; }
  uint64_t peer_window() const { return peer_window_; }
  rpc::Connection& frames() { return connection_; }

  Result<Reservation> admit(const rpc::FrameHeader& header) override;
  Status refused(const rpc::FrameHeader& header, Status why) override;
  Status received(const rpc::FrameHeader& header, RpcPayload payload, Reservation memory) override;
  void closed(const Status& why) override;

 private:
  // A call that has not ended. Lives with its caller.
  struct Pending {
    RpcStream* stream = nullptr;  // null: a unary call
    bool answered = false;
    Status status;
    RpcPayload response;
    WaitQueue done;
  };

  Status hello_answered(const rpc::FrameHeader& header, const RpcPayload& payload);
  void post_request(const RpcMethod& method, RpcPayload request, uint64_t id, bool stream);
  void post_cancel(uint64_t id);
  Status lost() const;
  void finish(uint64_t id, Pending& pending, Status status, RpcPayload response);

  bool greeted_ = false;
  WaitQueue greeting_;
  RpcIdentity peer_;
  uint64_t peer_window_ = 0;
  uint64_t last_call_ = 0;
  Instant silent_since_ = Instant::never();  // never: no call waits
  Semaphore slots_{0};
  std::map<uint64_t, Pending*> pending_;
  std::map<uint64_t, std::unique_ptr<Pending>> streams_;  // those of open streams
  rpc::Connection connection_;                            // last: its fibers use the rest
};

}  // namespace varve
