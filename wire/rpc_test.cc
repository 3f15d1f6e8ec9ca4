// Our RPC: both ends against each other over streams in memory.
#include <gtest/gtest.h>

#include "proto/status.pb.h"
#include "wire/testing/rpc_world.h"

namespace varve {
namespace {

using namespace testing;  // NOLINT: what this test is written in

// --- Calls ---

TEST(Rpc, CallsCarryPayloadsErrorsDeadlinesAndTraces) {
  with_world([](RpcWorld& world) {
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
      [](RpcWorld& world) {
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
  with_world([](RpcWorld& world) {
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
  with_world([](RpcWorld& world) {
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
  with_world([](RpcWorld& world) {
    auto client = world.client();
    ASSERT_TRUE(client->peer().ok());
    world.network.up->stalled = true;
    {
      DeadlineGuard deadline(Duration::seconds(1));
      EXPECT_TRUE(client->call(kEcho, RpcPayload()).is(Code::kDeadlineExceeded));
    }
    // Not on the connection that is dead, as far as anyone can tell.
    DeadlineGuard deadline(Duration::seconds(1));
    EXPECT_TRUE(client->call(kEcho, RpcPayload()).ok());
    EXPECT_EQ(world.network.attempts, 2);
  });
}

// --- Tokens ---

TEST(Rpc, TokensAreCheckedAtTheHelloAndAtTheCall) {
  with_world([](RpcWorld& world) {
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
      [](RpcWorld& world) {
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
      [](RpcWorld& world) {
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
      [](RpcWorld& world) {
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
      [](RpcWorld& world) {
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
  with_world([](RpcWorld& world) {
    auto stream = std::move(world.network.connect({})).value();
    EXPECT_TRUE(stream->write(Bytes::copy("VAR")).ok());
    const Instant begun = now();
    EXPECT_TRUE(stream->read().is(Code::kUnavailable));
    EXPECT_EQ(now() - begun, RpcLimits().handshake_timeout);
  });
}

}  // namespace
}  // namespace varve
