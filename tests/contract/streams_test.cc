// runtime/network.h, promise by promise.
#include <gtest/gtest.h>

#include "runtime/network.h"
#include "runtime/sync.h"
#include "tests/contract/worlds.h"

namespace varve::contract {
namespace {

struct Pair {
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Stream> client;
  std::unique_ptr<Stream> server;
};

Pair connected(World& world) {
  Pair pair;
  auto listener = world.network.listen({"", 0});
  EXPECT_SUCCESS(listener);
  pair.listener = std::move(*listener);
  Scope scope("accept");
  scope.spawn("accept", [&]() -> Status {
    VARVE_TRY_ASSIGN(pair.server, pair.listener->accept());
    return Status();
  });
  auto client = world.network.connect(pair.listener->address());
  EXPECT_SUCCESS(client);
  pair.client = std::move(*client);
  EXPECT_SUCCESS(scope.join());
  return pair;
}

Result<std::string> read_to_end(Stream& stream) {
  std::string all;
  for (;;) {
    VARVE_TRY_ASSIGN(const Bytes piece, stream.read());
    if (piece.empty()) return all;
    all += piece.view();
  }
}

class Streams : public testing::TestWithParam<WorldKind> {};
INSTANTIATE_TEST_SUITE_P(Contract, Streams, testing::ValuesIn(all_worlds()),
                         [](const auto& info) { return info.param.name; });

TEST_P(Streams, BytesArriveInOrderBothWays) {
  in_world(GetParam(), [](World& world) {
    Pair pair = connected(world);
    const Bytes data = pattern(1 << 20, 1);
    Scope scope("echo");
    scope.spawn("server", [&]() -> Status {
      for (;;) {
        VARVE_TRY_ASSIGN(Bytes piece, pair.server->read());
        if (piece.empty()) return pair.server->close_write();
        VARVE_TRY(pair.server->write(std::move(piece)));
      }
    });
    scope.spawn("client", [&]() -> Status {
      RandomStream random(1, "sizes");
      for (size_t at = 0; at < data.size();) {
        const size_t size = std::min<size_t>(data.size() - at, random.between(1, 20000));
        VARVE_TRY(pair.client->write(
            {data.slice(at, size / 2), data.slice(at + size / 2, size - size / 2)}));
        at += size;
      }
      return pair.client->close_write();
    });
    auto echo = read_to_end(*pair.client);
    ASSERT_SUCCESS(echo);
    EXPECT_TRUE(*echo == data.view());
    EXPECT_SUCCESS(scope.join());
    EXPECT_TRUE(pair.client->read()->empty()) << "the end stays the end";
  });
}

TEST_P(Streams, HalfClosedStillTalks) {
  in_world(GetParam(), [](World& world) {
    Pair pair = connected(world);
    ASSERT_SUCCESS(pair.client->close_write());
    EXPECT_TRUE(pair.server->read()->empty());
    ASSERT_SUCCESS(pair.server->write(Bytes::copy("still here")));
    BufferedReader reader(*pair.client);
    auto answer = reader.read_exactly(10);
    ASSERT_SUCCESS(answer);
    EXPECT_EQ(answer->view(), "still here");
    ASSERT_SUCCESS(pair.server->close_write());
    EXPECT_TRUE(pair.client->read()->empty());
  });
}

TEST_P(Streams, BufferedReaderCutsAtLengths) {
  in_world(GetParam(), [](World& world) {
    Pair pair = connected(world);
    const Bytes data = pattern(1000, 2);
    for (size_t i = 0; i < data.size(); i += 10)
      ASSERT_SUCCESS(pair.client->write(data.slice(i, 10)));
    ASSERT_SUCCESS(pair.client->close_write());
    BufferedReader reader(*pair.server);
    EXPECT_EQ(reader.read_exactly(3)->view(), data.view().substr(0, 3));
    EXPECT_EQ(reader.read_exactly(900)->view(), data.view().substr(3, 900));
    EXPECT_EQ(reader.read_exactly(98).code(), Code::kUnavailable) << "one too many";
  });
}

TEST_P(Streams, AbortIsNoticed) {
  in_world(GetParam(), [](World& world) {
    Pair pair = connected(world);
    ASSERT_SUCCESS(pair.client->write(Bytes::copy("x")));
    BufferedReader reader(*pair.server);
    ASSERT_SUCCESS(reader.read_exactly(1));
    Scope scope("waits");
    Status waiting;
    scope.spawn("reader", [&] { waiting = pair.client->read().status(); });
    ASSERT_SUCCESS(yield());
    pair.client->abort();
    pair.client->abort();
    (void)scope.join();
    EXPECT_EQ(waiting.code(), Code::kUnavailable) << "pending calls end";
    EXPECT_EQ(pair.client->read().code(), Code::kUnavailable);
    EXPECT_EQ(pair.client->write(Bytes::copy("y")).code(), Code::kUnavailable);
    const DeadlineGuard deadline(Duration::seconds(30));
    EXPECT_EQ(pair.server->read().code(), Code::kUnavailable) << "no orderly end";
  });
}

TEST_P(Streams, ADestroyedOpenStreamIsAnAbort) {
  in_world(GetParam(), [](World& world) {
    Pair pair = connected(world);
    pair.client.reset();
    const DeadlineGuard deadline(Duration::seconds(30));
    EXPECT_EQ(pair.server->read().code(), Code::kUnavailable);
  });
}

TEST_P(Streams, AWriterWaitsForItsReader) {
  in_world(GetParam(), [](World& world) {
    Pair pair = connected(world);
    constexpr size_t kPieces = 1024;
    const Bytes piece = pattern(64 << 10, 3);
    size_t written = 0;
    Scope scope("writer");
    scope.spawn("writer", [&]() -> Status {
      for (; written < kPieces; ++written) VARVE_TRY(pair.client->write(piece));
      return pair.client->close_write();
    });
    size_t stuck = kPieces + 1;
    while (written != stuck) {
      stuck = written;
      ASSERT_SUCCESS(sleep_for(Duration::millis(150)));
    }
    EXPECT_LT(stuck, kPieces) << "64 MiB went nowhere";
    size_t read = 0;
    for (;;) {
      auto bytes = pair.server->read();
      ASSERT_SUCCESS(bytes);
      if (bytes->empty()) break;
      read += bytes->size();
    }
    EXPECT_EQ(read, kPieces * piece.size());
    EXPECT_SUCCESS(scope.join());
  });
}

TEST_P(Streams, OnReadableTellsOnce) {
  in_world(GetParam(), [](World& world) {
    Pair pair = connected(world);
    Scope scope("readers");
    Event arrived;
    size_t calls = 0;
    const auto arm = [&] {
      pair.server->on_readable([&] {
        ++calls;
        scope.spawn("reader", [&]() -> Status {
          VARVE_TRY(pair.server->read().status());
          arrived.set();
          return Status();
        });
      });
    };
    arm();
    ASSERT_SUCCESS(sleep_for(Duration::millis(20)));
    EXPECT_EQ(calls, 0u);
    ASSERT_SUCCESS(pair.client->write(Bytes::copy("one")));
    ASSERT_SUCCESS(arrived.wait());
    ASSERT_SUCCESS(pair.client->write(Bytes::copy("two")));
    ASSERT_SUCCESS(sleep_for(Duration::millis(20)));
    EXPECT_EQ(calls, 1u);
    arm();  // there is something already (or, delayed, soon)
    ASSERT_SUCCESS(sleep_for(Duration::millis(100)));
    EXPECT_EQ(calls, 2u);
    ASSERT_SUCCESS(scope.join());
    arm();
    ASSERT_SUCCESS(pair.client->close_write());
    ASSERT_SUCCESS(sleep_for(Duration::millis(100)));
    EXPECT_EQ(calls, 3u) << "the end is something to read";
    ASSERT_SUCCESS(scope.join());
  });
}

TEST_P(Streams, APortInUseIsNamed) {
  in_world(GetParam(), [](World& world) {
    auto listener = world.network.listen({"", 0});
    ASSERT_SUCCESS(listener);
    const Address address = (*listener)->address();
    EXPECT_NE(address.port, 0);
    const auto second = world.network.listen(address);
    EXPECT_EQ(second.code(), Code::kExists);
    EXPECT_NE(second.status().to_string().find(std::to_string(address.port)), std::string::npos);
    listener->reset();
    EXPECT_EQ(world.network.connect(address).code(), Code::kUnavailable) << "nobody listens";
    EXPECT_SUCCESS(world.network.listen(address));
  });
}

TEST_P(Streams, ManyConnectionsAtOnce) {
  in_world(GetParam(), [](World& world) {
    auto listener = world.network.listen({"", 0});
    ASSERT_SUCCESS(listener);
    constexpr uint64_t kConnections = 50;
    Scope scope("all", Scope::OnError::kCancelOthers);
    scope.spawn("acceptor", [&]() -> Status {
      Scope sessions("sessions");
      for (uint64_t i = 0; i < kConnections; ++i) {
        VARVE_TRY_ASSIGN(auto stream, (*listener)->accept());
        sessions.spawn("session",
                       [stream = std::shared_ptr<Stream>(std::move(stream))]() -> Status {
                         VARVE_TRY_ASSIGN(const std::string all, read_to_end(*stream));
                         VARVE_TRY(stream->write(Bytes::copy(all)));
                         return stream->close_write();
                       });
      }
      return sessions.join();
    });
    for (uint64_t i = 0; i < kConnections; ++i) {
      scope.spawn("client", [&, i]() -> Status {
        VARVE_TRY_ASSIGN(auto stream, world.network.connect((*listener)->address()));
        const Bytes data = pattern(1000 + i * 17, i);
        VARVE_TRY(stream->write(data));
        VARVE_TRY(stream->close_write());
        VARVE_TRY_ASSIGN(const std::string echo, read_to_end(*stream));
        EXPECT_TRUE(echo == data.view());
        return Status();
      });
    }
    EXPECT_SUCCESS(scope.join());
  });
}

}  // namespace
}  // namespace varve::contract
