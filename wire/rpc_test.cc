// Our RPC: both ends against each other over streams in memory, and each against hostile frames.
#include <gtest/gtest.h>
// gtest must come before this one, or FAIL does not compile.
#include <rapidcheck/gtest.h>

#include <set>

#include "base/codec.h"
#include "proto/status.pb.h"
#include "wire/rpc_client.h"
#include "wire/rpc_frame.h"
#include "wire/rpc_proto.h"
#include "wire/rpc_server.h"
#include "wire/testing/loopback.h"

namespace varve {
namespace {

using testing::FiberHarness;
using testing::LoopbackStream;
using testing::make_streams;
using testing::StreamPair;

class QuietLog : public Log {
 public:
  void write(Severity severity, std::string_view event, std::string_view,
             std::vector<Field>) override {
    EXPECT_NE(severity, Severity::kError) << event;
    events.emplace_back(event);
  }
  std::vector<std::string> events;
};

class TestRandom : public Random {
 public:
  explicit TestRandom(RandomStream stream) : stream_(stream) {}
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
  testing::Pipe* up = nullptr;  // of the newest connection
  testing::Pipe* down = nullptr;

 private:
  Channel<std::unique_ptr<LoopbackStream>> accepted_;
  RandomStream* pieces_;
  Address address_{"test", 1};
};

constexpr RpcMethod kEcho{1, "test.echo", TokenScope::kNode, Idempotence::kReadOnly,
                          WorkClass::kRead};
constexpr RpcMethod kFail{2, "test.fail", TokenScope::kNode, Idempotence::kReadOnly,
                          WorkClass::kRead};
constexpr RpcMethod kWait{3, "test.wait", TokenScope::kNode, Idempotence::kReadOnly,
                          WorkClass::kRead};
constexpr RpcMethod kOwn{4, "test.own", TokenScope::kTimeline, Idempotence::kReadOnly,
                         WorkClass::kRead};
constexpr RpcMethod kCount{5, "test.count", TokenScope::kNode, Idempotence::kReadOnly,
                           WorkClass::kRead};
constexpr RpcMethod kMirror{6, "test.mirror", TokenScope::kNode, Idempotence::kReadOnly,
                            WorkClass::kRead};
constexpr RpcMethod kTyped{7, "test.typed", TokenScope::kNode, Idempotence::kReadOnly,
                           WorkClass::kRead};
constexpr RpcMethod kUnknown{99, "test.unknown", TokenScope::kNode, Idempotence::kReadOnly,
                             WorkClass::kRead};

std::string text(uint64_t number) {
  return std::to_string(number);
}
uint64_t number(std::string_view text) {
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

struct World {
  FiberHarness& harness;
  TestServer& server;
  TestNetwork& network;
  Scope& clients;
  TestRandom& random;
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
    TestRandom random{RandomStream(seed, "random")};
    TestServer server(harness, options, memory_limit);
    Scope servers("servers");
    servers.spawn("serve", [&] { EXPECT_TRUE(server.server.serve(network).is(Code::kCancelled)); });
    {
      Scope clients("clients");
      World world{harness, server, network, clients, random};
      body(world);
    }
    servers.cancel();
    (void)servers.join();
    EXPECT_EQ(server.server.connections(), 0u);
    EXPECT_EQ(server.memory.used(), 0u);
  });
}

Bytes filled(size_t size, char c) {
  return Bytes::copy(std::string(size, c));
}

// --- Calls ---

TEST(Rpc, CallsCarryPayloadsErrorsDeadlinesAndTraces) {
  with_world([](World& world) {
    auto client = world.client();
    FiberContext context = fiber_context();
    context.trace = 77;
    context.work_class = WorkClass::kIngest;
    ContextGuard guard(context);
    const auto echo = client->call(
        kEcho, RpcPayload(Bytes::copy("head"), {filled(8192, 'a'), Bytes(), filled(100000, 'b')}));
    ASSERT_TRUE(echo.ok()) << echo.status().to_string();
    EXPECT_EQ(echo->head.view(), "head");
    ASSERT_EQ(echo->attachments.size(), 3u);
    EXPECT_EQ(echo->attachments[2].view(), std::string(100000, 'b'));
    EXPECT_EQ(world.server.last_trace, 77u);
    EXPECT_EQ(world.server.last_deadline, Instant::never());
    EXPECT_EQ(client->peer()->node, NodeId(3));
    {
      DeadlineGuard deadline(Duration::seconds(2));
      const Instant own = fiber_context().deadline;
      EXPECT_TRUE(client->call(kEcho, RpcPayload()).ok());
      EXPECT_LE(world.server.last_deadline, own);
      EXPECT_GT(world.server.last_deadline, own + Duration::millis(-1));
    }
    const auto failed = client->call(kFail, RpcPayload());
    EXPECT_TRUE(failed.is(Code::kCorrupt));
    EXPECT_EQ(failed.status().message(), "test.fail: bad ? layer");
    EXPECT_EQ(failed.status().detail().object, "o");
    EXPECT_EQ(failed.status().detail().hint, "h");
    EXPECT_EQ(failed.status().detail().lsn, Lsn(9));
    EXPECT_TRUE(client->call(kUnknown, RpcPayload()).is(Code::kUnsupported));
    EXPECT_TRUE(client->call(kCount, RpcPayload()).is(Code::kInvalid));
    EXPECT_TRUE(client->call(kEcho, RpcPayload(filled(17 << 20, 'x'))).is(Code::kInvalid));
    proto::Status request;
    request.set_message("m");
    const auto typed = call<proto::Status>(*client, kTyped, request);
    ASSERT_TRUE(typed.ok());
    EXPECT_EQ(typed->hint(), "typed");
    EXPECT_TRUE(client->call(kTyped, RpcPayload(Bytes::copy("\xff"))).is(Code::kInvalid));
    EXPECT_EQ(world.network.attempts, 1);
    EXPECT_EQ(world.server.metrics.value({"varve_rpc_calls_served", MetricKind::kCounter, "", ""}),
              5);
  });
}

TEST(Rpc, ManyCallsShareAConnectionUpToItsLimit) {
  RpcServerOptions options;
  options.limits.calls = 8;
  options.limits.send_queue_bytes = 3000;
  with_world(
      [](World& world) {
        auto client = world.client();
        Scope scope("callers");
        int good = 0;
        for (int i = 0; i < 300; ++i) {
          scope.spawn("caller", [&, i] {
            const auto echo =
                client->call(kEcho, RpcPayload(Bytes::copy(text(i)), {filled(2000, 'z')}));
            ASSERT_TRUE(echo.ok()) << echo.status().to_string();
            EXPECT_EQ(echo->head.view(), text(i));
            ++good;
          });
        }
        EXPECT_TRUE(scope.join().ok());
        EXPECT_EQ(good, 300);
        EXPECT_LE(world.server.most_live, 8);
        EXPECT_GT(world.server.most_live, 4);
        EXPECT_EQ(world.network.attempts, 1);
        // Frames that queue up together go out together.
        EXPECT_LT(world.network.up->writes, 250u);
      },
      options);
}

TEST(Rpc, ACallerThatLeavesCancelsItsCall) {
  with_world([](World& world) {
    auto client = world.client();
    ASSERT_TRUE(client->peer().ok());
    {
      DeadlineGuard deadline(Duration::millis(50));
      const Instant before = now();
      EXPECT_TRUE(client->call(kWait, RpcPayload()).is(Code::kDeadlineExceeded));
      EXPECT_LE(now() - before, Duration::millis(51));
    }
    EXPECT_TRUE(sleep_for(Duration::millis(1)).ok());
    EXPECT_EQ(world.server.waiting, 0);
    Scope scope("leaver");
    scope.spawn("caller",
                [&] { EXPECT_TRUE(client->call(kWait, RpcPayload()).is(Code::kCancelled)); });
    EXPECT_TRUE(sleep_for(Duration::millis(1)).ok());
    EXPECT_EQ(world.server.waiting, 1);
    scope.cancel();
    (void)scope.join();
    EXPECT_TRUE(sleep_for(Duration::millis(1)).ok());
    EXPECT_EQ(world.server.waiting, 0);
    EXPECT_TRUE(world.server.last_wait.is(Code::kCancelled));
    EXPECT_TRUE(client->call(kEcho, RpcPayload()).ok());
    EXPECT_EQ(world.network.attempts, 1);
  });
}

TEST(Rpc, ALostConnectionFailsItsCallsAndIsMadeAgainNotTooFast) {
  with_world([](World& world) {
    auto client = world.client();
    ASSERT_TRUE(client->peer().ok());
    Scope scope("callers");
    scope.spawn("caller",
                [&] { EXPECT_TRUE(client->call(kWait, RpcPayload()).is(Code::kUnavailable)); });
    EXPECT_TRUE(sleep_for(Duration::millis(1)).ok());
    world.network.refusing = true;
    world.network.client_ends.back()->abort();
    EXPECT_TRUE(scope.join().ok());
    EXPECT_EQ(world.server.waiting, 0);
    const Instant begun = now();
    const int before = world.network.attempts;
    for (int i = 0; i < 12; ++i)
      EXPECT_TRUE(client->call(kEcho, RpcPayload()).is(Code::kUnavailable));
    EXPECT_EQ(world.network.attempts - before, 12);
    EXPECT_GT(now() - begun, Duration::seconds(5));
    world.network.refusing = false;
    EXPECT_TRUE(client->call(kEcho, RpcPayload()).ok());
  });
}

TEST(Rpc, ASilentServerIsGivenUpByDeadline) {
  with_world([](World& world) {
    auto client = world.client();
    ASSERT_TRUE(client->peer().ok());
    world.network.up->stalled = true;
    DeadlineGuard deadline(Duration::seconds(1));
    EXPECT_TRUE(client->call(kEcho, RpcPayload()).is(Code::kDeadlineExceeded));
    client->disconnect();
    DeadlineGuard later(Duration::seconds(1));
  });
}

// --- Tokens ---

TEST(Rpc, TokensAreCheckedAtTheHelloAndAtTheCall) {
  with_world([](World& world) {
    EXPECT_TRUE(world.client("nonsense")->call(kEcho, RpcPayload()).is(Code::kRefused));
    world.harness.clock.wall_time = WallTime::from_unix_micros(1000000000);  // 1,000 s
    const auto expired = world.client(world.server.token(TokenScope::kNode, 1000));
    const auto refused = expired->call(kEcho, RpcPayload());
    EXPECT_TRUE(refused.is(Code::kRefused));
    EXPECT_NE(refused.status().message().find("expired"), std::string::npos);

    auto timeline = world.client(world.server.token(TokenScope::kTimeline));
    EXPECT_TRUE(timeline->call(kEcho, RpcPayload()).is(Code::kRefused));
    EXPECT_TRUE(timeline->call(kOwn, RpcPayload(Bytes::copy("\x01\x02"))).ok());
    EXPECT_TRUE(timeline->call(kOwn, RpcPayload(Bytes::copy("\x01\x03"))).is(Code::kRefused));
    EXPECT_TRUE(timeline->call(kOwn, RpcPayload(Bytes::copy("\x02\x02"))).is(Code::kRefused));

    auto soon = world.client(world.server.token(TokenScope::kNode, 1001));
    EXPECT_TRUE(soon->call(kEcho, RpcPayload()).ok());
    world.harness.clock.wall_time = WallTime::from_unix_micros(1001000000);
    EXPECT_TRUE(soon->call(kEcho, RpcPayload()).is(Code::kRefused));

    RpcClientOptions options;
    options.expected_node = NodeId(4);
    EXPECT_TRUE(world.client("", options)->call(kEcho, RpcPayload()).is(Code::kRefused));
  });
}

// --- Streams ---

TEST(Rpc, StreamsAreHeldUpByTheirConsumerOnly) {
  RpcServerOptions options;
  with_world(
      [](World& world) {
        RpcClientOptions small;
        small.limits.stream_window_bytes = 16 << 10;
        auto client = world.client("", small);
        auto stream = client->open_stream(kCount, RpcPayload(Bytes::copy("500")));
        ASSERT_TRUE(stream.ok());
        EXPECT_TRUE(sleep_for(Duration::seconds(1)).ok());
        EXPECT_LE(world.server.sent_items, 17u);  // a window full
        EXPECT_TRUE(client->call(kEcho, RpcPayload()).ok());
        for (uint64_t i = 0; i < 500; ++i) {
          const auto item = (*stream)->receive();
          ASSERT_TRUE(item.ok() && *item) << i;
          EXPECT_EQ((*item)->head.view(), text(i));
          EXPECT_LE(world.server.sent_items, i + 19);
        }
        const auto end = (*stream)->receive();
        ASSERT_TRUE(end.ok());
        EXPECT_FALSE(end->has_value());
      },
      options);
}

TEST(Rpc, StreamsInBothDirections) {
  RpcServerOptions options;
  options.limits.stream_window_bytes = 20000;
  with_world(
      [](World& world) {
        auto client = world.client();
        auto stream = std::move(client->open_stream(kMirror, RpcPayload())).value();
        Scope scope("both");
        scope.spawn("sender", [&] {
          for (uint64_t i = 0; i < 300; ++i) {
            VARVE_TRY(stream->send(RpcPayload(Bytes::copy(text(i)), {filled(i * 7, 'y')})));
          }
          return stream->close_send();
        });
        for (uint64_t i = 0; i < 300; ++i) {
          const auto item = stream->receive();
          ASSERT_TRUE(item.ok() && *item);
          EXPECT_EQ((*item)->head.view(), text(i));
          EXPECT_EQ((*item)->attachments[0].size(), i * 7);
        }
        EXPECT_FALSE(stream->receive()->has_value());
        EXPECT_TRUE(scope.join().ok());

        stream = std::move(client->open_stream(kMirror, RpcPayload())).value();
        EXPECT_TRUE(stream->send(RpcPayload(filled(20000, 'y'))).is(Code::kInvalid));
        EXPECT_TRUE(stream->send(RpcPayload(Bytes::copy("boom"))).ok());
        EXPECT_TRUE(stream->receive().is(Code::kFull));
        EXPECT_TRUE(stream->send(RpcPayload()).is(Code::kFull));
        // One that is left open is cancelled when it goes.
        stream = std::move(client->open_stream(kMirror, RpcPayload())).value();
        stream.reset();
        EXPECT_TRUE(client->call(kEcho, RpcPayload()).ok());
        EXPECT_TRUE(sleep_for(Duration::millis(1)).ok());
        EXPECT_EQ(world.server.memory.used(), 0u);
      },
      options);
}

// --- Limits ---

TEST(Rpc, WhatDoesNotFitTheBudgetIsAnsweredFull) {
  with_world(
      [](World& world) {
        auto client = world.client();
        EXPECT_TRUE(client->call(kEcho, RpcPayload(filled(200000, 'x'))).is(Code::kFull));
        EXPECT_TRUE(client->call(kEcho, RpcPayload(filled(50000, 'x'))).ok());
        EXPECT_TRUE(
            client->open_stream(kMirror, RpcPayload()).ok());  // the window alone exceeds it
        EXPECT_EQ(world.network.attempts, 1);
      },
      {}, 100000);
}

TEST(Rpc, ConnectionsAreCounted) {
  RpcServerOptions options;
  options.connections = 2;
  with_world(
      [](World& world) {
        auto first = world.client();
        auto second = world.client();
        auto third = world.client();
        EXPECT_TRUE(first->peer().ok());
        EXPECT_TRUE(second->peer().ok());
        EXPECT_TRUE(third->peer().is(Code::kUnavailable));
        first.reset();
        EXPECT_TRUE(sleep_for(Duration::millis(1)).ok());
        EXPECT_TRUE(third->peer().ok());
        // Nothing of an idle connection is a fiber: serve() and this one remain.
        EXPECT_EQ(Scheduler::current().statistics().fibers_live, 2u);
      },
      options);
}

TEST(Rpc, APeerWithoutHelloIsDropped) {
  with_world([](World& world) {
    auto stream = std::move(world.network.connect({})).value();
    EXPECT_TRUE(stream->write(Bytes::copy("VAR")).ok());
    const Instant begun = now();
    EXPECT_TRUE(stream->read().is(Code::kUnavailable));
    EXPECT_EQ(now() - begun, RpcLimits().handshake_timeout);
  });
}

// --- Hostile frames ---

rpc::FrameHeader frame(rpc::FrameKind kind, uint64_t call, uint16_t method = 0) {
  rpc::FrameHeader header;
  header.kind = kind;
  header.call = call;
  header.method = method;
  return header;
}

void append(std::vector<uint8_t>& bytes, rpc::FrameHeader header, RpcPayload payload) {
  for (const Bytes& piece : rpc::encode_frame(header, std::move(payload))) {
    bytes.insert(bytes.end(), piece.data(), piece.data() + piece.size());
  }
}

void flip(std::vector<uint8_t>& bytes, RandomStream& random) {
  const size_t at = random.below(bytes.size());
  bytes[at] ^= static_cast<uint8_t>(1 << random.below(8));
}

// Sane frames in a senseless order, now and then with a flipped bit.
TEST(RpcHostile, AServerSurvivesDrawnFrames) {
  size_t answered = 0;
  for (uint64_t seed = 0; seed < 1500; ++seed) {
    with_world(
        [&](World& world) {
          RandomStream random(seed, "hostile frames");
          std::vector<uint8_t> bytes;
          rpc::Hello hello;
          hello.identity.name = "client";
          hello.token = random.chance(950000) ? world.server.token() : "bad";
          hello.frame_bytes = random.chance(900000) ? 1 << 20 : random.below(200);
          hello.window_bytes = random.chance(900000) ? 10000 : random.next();
          append(bytes, frame(rpc::FrameKind::kHello, 0), RpcPayload(rpc::encode_hello(hello)));
          uint64_t call = 0;
          for (int i = 0; i < 20; ++i) {
            const bool sane = random.chance(985000);
            const auto kinds = random.between(3, 9);
            rpc::FrameHeader header = frame(static_cast<rpc::FrameKind>(sane ? 3 : kinds), 0);
            if (header.kind == rpc::FrameKind::kRequest) ++call;
            header.call = random.chance(990000) ? call : random.below(call + 2);
            header.method = static_cast<uint16_t>(random.between(1, 8));
            header.stream = header.method == kCount.number || header.method == kMirror.number;
            if (random.chance(10000)) header.stream = !header.stream;
            const uint64_t shift = random.below(64);
            header.value = random.chance(500000) ? 0 : random.next() >> shift;
            if (header.method == kCount.number) {
              append(bytes, header, RpcPayload(Bytes::copy(text(random.below(30)))));
            } else {
              append(bytes, header, RpcPayload(filled(2, static_cast<char>(random.below(4)))));
            }
          }
          if (random.chance(300000)) flip(bytes, random);
          if (random.chance(300000)) bytes.resize(random.below(bytes.size()));
          auto stream = std::move(world.network.connect({})).value();
          testing::Pipe* down = world.network.down;
          EXPECT_TRUE(stream->write(Bytes::copy(bytes)).ok());
          (void)sleep_for(Duration::seconds(2));
          if (down->carried > 200) ++answered;
          EXPECT_LT(down->carried, 1u << 20);
        },
        {}, 64 << 20, seed);
  }
  EXPECT_GT(answered, 500u);  // or the mutations say nothing
}

TEST(RpcHostile, EveryFlippedBitIsNoticed) {
  std::vector<uint8_t> bytes;
  append(bytes, frame(rpc::FrameKind::kRequest, 1, 1),
         RpcPayload(Bytes::copy("head"), {filled(20, 'a')}));
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::vector<uint8_t> flipped = bytes;
    flipped[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    StreamPair pair = make_streams();
    const auto header =
        rpc::parse_frame_header(std::span(flipped).first(rpc::kFrameHeaderSize), 1000);
    if (bit < rpc::kFrameHeaderSize * 8) {
      EXPECT_TRUE(header.is(Code::kCorrupt)) << bit;
    } else {
      ASSERT_TRUE(header.ok());
    }
  }
  const auto header = rpc::parse_frame_header(std::span(bytes).first(rpc::kFrameHeaderSize), 1000);
  EXPECT_EQ(header->attachments, 1u);
  EXPECT_TRUE(rpc::parse_frame_header(std::span(bytes).first(rpc::kFrameHeaderSize), 10)
                  .is(Code::kInvalid));
}

TEST(RpcHostile, ABodyThatRotIsRefused) {
  with_world([](World& world) {
    auto stream = std::move(world.network.connect({})).value();
    std::vector<uint8_t> bytes;
    rpc::Hello hello;
    hello.token = world.server.token();
    append(bytes, frame(rpc::FrameKind::kHello, 0), RpcPayload(rpc::encode_hello(hello)));
    append(bytes, frame(rpc::FrameKind::kRequest, 1, 2), RpcPayload(Bytes::copy("head")));
    bytes.back() ^= 1;
    EXPECT_TRUE(stream->write(Bytes::copy(bytes)).ok());
    EXPECT_TRUE(sleep_for(Duration::millis(1)).ok());
    EXPECT_EQ(world.server.server.connections(), 0u);
  });
}

TEST(RpcHostile, AClientSurvivesDrawnAnswers) {
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    FiberHarness harness;
    RandomStream random(seed, "hostile answers");
    TestNetwork network(&random);
    harness.run([&] {
      TestRandom draws{RandomStream(seed, "random")};
      Scope scope("all");
      scope.spawn("server", [&] {
        auto stream = network.accept();
        if (!stream.ok()) return;
        std::vector<uint8_t> bytes;
        rpc::HelloAck ack;
        ack.identity.name = "evil";
        ack.calls = random.between(1, 3);
        ack.frame_bytes = 10000;
        ack.window_bytes = random.chance(900000) ? 10000 : 0;
        append(bytes, frame(rpc::FrameKind::kHelloAck, 0), RpcPayload(rpc::encode_hello_ack(ack)));
        if (random.chance(100000)) bytes[random.below(bytes.size())] ^= 4;
        (void)(*stream)->write(Bytes::copy(bytes));
        (void)sleep_for(Duration::millis(1));
        bytes.clear();
        for (int i = 0; i < 8; ++i) {
          const auto kind = static_cast<rpc::FrameKind>(random.between(1, 9));
          rpc::FrameHeader header = frame(kind, random.below(5));
          const uint64_t shift = random.below(64);
          header.value = random.next() >> shift;
          append(bytes, header, RpcPayload(filled(random.below(40), 'q')));
        }
        if (random.chance(200000)) flip(bytes, random);
        (void)(*stream)->write(Bytes::copy(bytes));
        (void)sleep_for(Duration::millis(1));
        if (random.chance(500000)) (void)(*stream)->close_write();
        (void)sleep_for(Duration::seconds(3));
      });
      RpcClient client(network, draws, scope, {"evil", 1}, "token", {NodeId(1), {}, "client"});
      DeadlineGuard deadline(Duration::seconds(2));
      Scope callers("callers");
      callers.spawn("unary", [&] { (void)client.call(kEcho, RpcPayload()); });
      callers.spawn("stream", [&] {
        auto stream = client.open_stream(kMirror, RpcPayload());
        if (!stream.ok()) return;
        (void)(*stream)->send(RpcPayload(Bytes::copy("item")));
        for (int i = 0; i < 10; ++i) {
          const auto item = (*stream)->receive();
          if (!item.ok() || !*item) return;
        }
      });
      (void)callers.join();
      scope.cancel();
    });
  }
}

RC_GTEST_PROP(RpcHostile, HellosAndErrorsAreValuesOrErrors,
              (std::vector<uint8_t> bytes, bool magic)) {
  if (magic) {
    const auto front = as_bytes("VARVERPC");
    bytes.insert(bytes.begin(), front.begin(), front.end());
  }
  (void)rpc::parse_hello(bytes);
  (void)rpc::parse_hello_ack(bytes);
  RC_ASSERT(!rpc::parse_status(Bytes::copy(bytes)).ok());
}

RC_GTEST_PROP(RpcStatus, RoundTrips, (std::string message, std::string object, uint8_t code)) {
  const auto ours = static_cast<Code>(1 + code % 13);
  const Status status = Status(ours, message).with_object(object).with_lsn(Lsn(5));
  const Status back = rpc::parse_status(rpc::encode_status(status));
  RC_ASSERT(back.code() == (ours == Code::kCancelled ? Code::kUnavailable : ours));
  RC_ASSERT(back.message() == to_utf8(message));
  RC_ASSERT(back.detail().lsn == Lsn(5));
  RC_ASSERT(to_utf8(to_utf8(message)) == to_utf8(message));
}

}  // namespace
}  // namespace varve
