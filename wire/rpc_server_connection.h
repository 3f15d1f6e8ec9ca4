// One accepted connection and its calls. Internal to wire/.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "wire/rpc_connection.h"
#include "wire/rpc_server.h"

namespace varve {

class RpcServerConnection : public rpc::FrameReceiver {
 public:
  RpcServerConnection(RpcServer& server, uint64_t id, std::unique_ptr<Stream> stream);
  // Waits for the calls, which close() has cancelled; suspends.
  ~RpcServerConnection() override;

  void start() { connection_->start(); }
  void close(Status why) { connection_->close(std::move(why)); }

  Result<Reservation> admit(const rpc::FrameHeader& header) override;
  Status refused(const rpc::FrameHeader& header, Status why) override;
  Status received(const rpc::FrameHeader& header, RpcPayload payload, Reservation memory) override;
  void closed(const Status& why) override;

 private:
  struct Call {
    Call(RpcServerConnection& connection, const RpcServer::Entry& entry);
    const RpcServer::Entry& entry;
    CallContext context;
    Reservation memory;
    std::unique_ptr<RpcStream> stream;
    bool cancelled = false;  // by the caller
    bool done = false;       // answered; waits to be reaped
    Scope scope;             // last: its fiber uses the rest
  };

  Status hello(const rpc::FrameHeader& header, const RpcPayload& payload);
  Status refuse_hello(Status why);
  Status request(const rpc::FrameHeader& header, RpcPayload payload, Reservation memory);
  Status check_request(const rpc::FrameHeader& header, const RpcServer::Entry* entry) const;
  void run(uint64_t id, Call& call, RpcPayload payload, FiberContext context);
  Status answer(uint64_t id, Call& call, Result<RpcPayload> result);
  Result<RpcPayload> handle(Call& call, RpcPayload payload);
  Call* find(uint64_t id);
  void reap();

  RpcServer& server_;
  uint64_t id_;
  bool greeted_ = false;
  TokenClaims claims_;
  RpcIdentity peer_;
  uint64_t peer_window_ = 0;
  uint64_t last_call_ = 0;
  std::unique_ptr<rpc::Connection> connection_;
  std::map<uint64_t, std::unique_ptr<Call>> calls_;
  std::vector<uint64_t> finished_;  // ids in calls_ whose fiber is at its end
};

}  // namespace varve
