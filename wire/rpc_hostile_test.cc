// Our RPC against frames that nobody sane sends, at either end.
#include <gtest/gtest.h>
// gtest must come before this one, or FAIL does not compile.
#include <rapidcheck/gtest.h>

#include "base/codec.h"
#include "wire/rpc_frame.h"
#include "wire/testing/rpc_world.h"

namespace varve {
namespace {

using namespace testing;  // NOLINT: what this test is written in

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
        [&](RpcWorld& world) {
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
            const uint64_t deadline = random.next();
            const uint64_t shift = random.below(64);
            header.value = random.chance(500000) ? 0 : deadline >> shift;
            if (header.method == kCount.number) {
              append(bytes, header, RpcPayload(Bytes::copy(text(random.below(30)))));
            } else {
              append(bytes, header, RpcPayload(filled(2, static_cast<char>(random.below(4)))));
            }
          }
          if (random.chance(300000)) flip(bytes, random);
          if (random.chance(300000)) bytes.resize(random.below(bytes.size()));
          auto stream = std::move(world.network.connect({})).value();
          Pipe* down = world.network.down;
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
  with_world([](RpcWorld& world) {
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
      DrawnRandom draws{RandomStream(seed, "random")};
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
        if (random.chance(100000)) flip(bytes, random);
        (void)(*stream)->write(Bytes::copy(bytes));
        (void)sleep_for(Duration::millis(1));
        bytes.clear();
        for (int i = 0; i < 8; ++i) {
          const auto kind = static_cast<rpc::FrameKind>(random.between(1, 9));
          rpc::FrameHeader header = frame(kind, random.below(5));
          const uint64_t value = random.next();
          header.value = value >> random.below(64);
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
