// An RPC server with a handful of methods, a network in memory, and clients: for tests of both
// ends.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/status.pb.h"
#include "wire/rpc_client.h"
#include "wire/rpc_proto.h"
#include "wire/rpc_server.h"
#include "wire/testing/loopback.h"

namespace varve::testing {

class QuietLog : public Log {
 public:
  void write(Severity severity, std::string_view event, std::string_view,
             std::vector<Field>) override {
    EXPECT_NE(severity, Severity::kError) << event;
    events.emplace_back(event);
  }
  std::vector<std::string> events;
};

class DrawnRandom : public Random {
 public:
  explicit DrawnRandom(RandomStream stream) : stream_(stream) {}
  uint64_t below(uint64_t bound, std::string_view) override { return stream_.below(bound); }
  std::array<uint8_t, 16> unique_bytes(std::string_view) override {
    std::array<uint8_t, 16> bytes;
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(stream_.next());
    return bytes;
  }

 private:
  RandomStream stream_;
};

// Connections are made by hand-over of the other end.
class TestNetwork : public Network, public Listener {
 public:
  explicit TestNetwork(RandomStream* pieces) : accepted_(100), pieces_(pieces) {}
  Result<std::unique_ptr<Listener>> listen(const Address&) override {
    return Status(Code::kUnsupported, "the network is the listener");
  }
  Result<std::unique_ptr<Stream>> connect(const Address&) override {
    ++attempts;
    if (refusing) return Status(Code::kUnavailable, "connection refused");
    StreamPair pair = make_streams(pieces_);
    client_ends.push_back(pair.client.get());
    up = &pair.client->out();
    down = &pair.client->in();
    VARVE_TRY(accepted_.send(std::move(pair.server)));
    return std::unique_ptr<Stream>(std::move(pair.client));
  }
  Result<std::unique_ptr<Stream>> accept() override {
    VARVE_TRY_ASSIGN(std::unique_ptr<LoopbackStream> stream, accepted_.receive("a connection"));
    return std::unique_ptr<Stream>(std::move(stream));
  }
  const Address& address() const override { return address_; }

  int attempts = 0;
  bool refusing = false;
  std::vector<LoopbackStream*> client_ends;
  Pipe* up = nullptr;  // of the newest connection
  Pipe* down = nullptr;

 private:
  Channel<std::unique_ptr<LoopbackStream>> accepted_;
  RandomStream* pieces_;
  Address address_{"test", 1};
};

inline constexpr RpcMethod kEcho{1, "test.echo", TokenScope::kNode, Idempotence::kReadOnly,
                                 WorkClass::kRead};
inline constexpr RpcMethod kFail{2, "test.fail", TokenScope::kNode, Idempotence::kReadOnly,
                                 WorkClass::kRead};
inline constexpr RpcMethod kWait{3, "test.wait", TokenScope::kNode, Idempotence::kReadOnly,
                                 WorkClass::kRead};
inline constexpr RpcMethod kOwn{4, "test.own", TokenScope::kTimeline, Idempotence::kReadOnly,
                                WorkClass::kRead};
inline constexpr RpcMethod kCount{5, "test.count", TokenScope::kNode, Idempotence::kReadOnly,
                                  WorkClass::kRead};
inline constexpr RpcMethod kMirror{6, "test.mirror", TokenScope::kNode, Idempotence::kReadOnly,
                                   WorkClass::kRead};
inline constexpr RpcMethod kTyped{7, "test.typed", TokenScope::kNode, Idempotence::kReadOnly,
                                  WorkClass::kRead};
inline constexpr RpcMethod kUnknown{99, "test.unknown", TokenScope::kNode, Idempotence::kReadOnly,
                                    WorkClass::kRead};

inline std::string text(uint64_t number) {
  return std::to_string(number);
}
inline uint64_t number(std::string_view text) {
  return std::stoull(std::string(text));
}

// A server with the methods above, and what it saw.
struct TestServer {
  TestServer(FiberHarness& harness, RpcServerOptions options, uint64_t memory_limit)
      : signer(TokenSigner::from_seed({7})),
        verifier({signer.public_key()}),
        memory("rpc", memory_limit),
        server(harness.clock, log, metrics, {NodeId(3), Incarnation(1), "server"}, verifier, memory,
               options) {
    server.add(kEcho, [this](CallContext& context, RpcPayload request) -> Result<RpcPayload> {
      EXPECT_EQ(context.peer().name, "client");
      EXPECT_EQ(fiber_context().work_class, WorkClass::kRead);
      last_trace = fiber_context().trace;
      last_deadline = fiber_context().deadline;
      ++live;
      most_live = std::max(most_live, live);
      Status slept = sleep_for(Duration::micros(10));
      --live;
      VARVE_TRY(slept);
      return request;
    });
    server.add(kFail, [](CallContext&, RpcPayload) -> Result<RpcPayload> {
      return Status(Code::kCorrupt, "bad \xff layer")
          .with_object("o")
          .with_hint("h")
          .with_lsn(Lsn(9));
    });
    server.add(kWait, [this](CallContext&, RpcPayload) -> Result<RpcPayload> {
      ++waiting;
      Status status = sleep_for(Duration::seconds(1000));
      --waiting;
      last_wait = status;
      if (!status.ok()) return status;
      return RpcPayload();
    });
    server.add(kOwn, [](CallContext& context, RpcPayload request) -> Result<RpcPayload> {
      TenantId tenant;
      tenant.bytes.fill(request.head[0]);
      TimelineId timeline;
      timeline.bytes.fill(request.head[1]);
      VARVE_TRY(context.authorize(tenant, timeline));
      return RpcPayload();
    });
    server.add_stream(kCount, [this](CallContext&, RpcPayload request, RpcStream& stream) {
      for (uint64_t i = 0; i < number(request.head.view()); ++i) {
        ++sent_items;
        VARVE_TRY(
            stream.send(RpcPayload(Bytes::copy(text(i)), {Bytes::copy(std::string(1000, 'x'))})));
      }
      return Status();
    });
    server.add_stream(kMirror, [](CallContext&, RpcPayload, RpcStream& stream) {
      while (true) {
        VARVE_TRY_ASSIGN(std::optional<RpcPayload> item, stream.receive());
        if (!item) return Status();
        if (item->head.view() == "boom") return Status(Code::kFull, "no room");
        VARVE_TRY(stream.send(std::move(*item)));
      }
    });
    add_method<proto::Status, proto::Status>(
        server, kTyped, [](CallContext&, const proto::Status& request) -> Result<proto::Status> {
          proto::Status response = request;
          response.set_hint("typed");
          return response;
        });
  }
  std::string token(TokenScope scope = TokenScope::kNode, uint64_t expiry = 0) const {
    TokenClaims claims;
    claims.scope = scope;
    claims.expiry = expiry;
    if (scope == TokenScope::kTimeline) {
      claims.tenant.bytes.fill(1);
      claims.timeline.bytes.fill(2);
    }
    claims.issued_to = "test";
    return signer.sign(claims);
  }

  QuietLog log;
  Metrics metrics;
  TokenSigner signer;
  TokenVerifier verifier;
  Budget memory;
  RpcServer server;
  uint64_t last_trace = 0;
  Instant last_deadline;
  int live = 0;
  int most_live = 0;
  int waiting = 0;
  uint64_t sent_items = 0;
  Status last_wait;
};

struct RpcWorld {
  FiberHarness& harness;
  TestServer& server;
  TestNetwork& network;
  Scope& clients;
  DrawnRandom& random;
  std::unique_ptr<RpcClient> client(std::string token = "", RpcClientOptions options = {}) {
    if (token.empty()) token = server.token();
    return std::make_unique<RpcClient>(network, random, clients, Address{"test", 1}, token,
                                       RpcIdentity{NodeId(8), Incarnation(1), "client"}, options);
  }
};

template <class F>
void with_world(F body, RpcServerOptions options = {}, uint64_t memory_limit = 64 << 20,
                uint64_t seed = 1) {
  FiberHarness harness;
  RandomStream pieces(seed, "pieces");
  TestNetwork network(&pieces);
  harness.run([&] {
    DrawnRandom random{RandomStream(seed, "random")};
    TestServer server(harness, options, memory_limit);
    Scope servers("servers");
    servers.spawn("serve", [&] { EXPECT_TRUE(server.server.serve(network).is(Code::kCancelled)); });
    {
      Scope clients("clients");
      RpcWorld world{harness, server, network, clients, random};
      body(world);
    }
    servers.cancel();
    (void)servers.join();
    EXPECT_EQ(server.server.connections(), 0u);
    EXPECT_EQ(server.memory.used(), 0u);
  });
}

inline Bytes filled(size_t size, char c) {
  return Bytes::copy(std::string(size, c));
}

}  // namespace varve::testing
