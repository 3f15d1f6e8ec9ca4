// Two ends of a connection that write, stop, abort and run into deadlines at drawn moments.
#include <gtest/gtest.h>

#include "tests/contract/programs.h"
#include "tests/contract/worlds.h"

namespace varve::contract {
namespace {

struct Direction {
  Bytes data;
  size_t handed_over = 0;
  bool ended = false;    // close_write() succeeded
  bool aborted = false;  // by either end of the program
};

bool is_broken(const Status& status) {
  return status.is(Code::kUnavailable);
}

Status send(Stream& stream, Direction& direction, RandomStream random, ProgramRules rules) {
  const bool abort = random.chance(100000);
  const size_t stop = abort ? random.below(direction.data.size() + 1) : direction.data.size();
  while (direction.handed_over < stop) {
    const size_t size = std::min<size_t>(stop - direction.handed_over, random.between(1, 40000));
    const Bytes piece = direction.data.slice(direction.handed_over, size);
    direction.handed_over += size;  // even a failed write may have sent some
    const Status status = stream.write(piece);
    if (!status.ok()) {
      EXPECT_TRUE(is_broken(status) && (rules.failures || direction.aborted)) << status.to_string();
      return Status();
    }
    if (random.chance(100000)) VARVE_TRY(yield());
  }
  if (abort) {
    direction.aborted = true;
    stream.abort();
    return Status();
  }
  const Status status = stream.close_write();
  if (status.ok()) {
    direction.ended = true;
  } else {
    EXPECT_TRUE(is_broken(status) && (rules.failures || direction.aborted)) << status.to_string();
  }
  return Status();
}

Status receive(Stream& stream, const Direction& direction, const bool& aborted, RandomStream random,
               ProgramRules rules) {
  size_t got = 0;
  for (;;) {
    const Duration patience = Duration::micros(static_cast<int64_t>(random.between(1, 3000)));
    const Instant start = now();
    Result<Bytes> piece = [&] {
      const DeadlineGuard deadline(patience);
      return stream.read();
    }();
    if (piece.is(Code::kDeadlineExceeded)) {
      EXPECT_GE(now() - start, patience) << "a deadline came early";
      EXPECT_LT(now() - start, Duration::seconds(10)) << "a deadline came late";
      continue;
    }
    if (!piece.ok()) {
      EXPECT_TRUE(is_broken(piece.status()) && (rules.failures || aborted))
          << piece.status().to_string();
      return Status();
    }
    if (piece->empty()) {
      EXPECT_TRUE(direction.handed_over == direction.data.size() && got == direction.data.size())
          << "an orderly end after " << got << " of " << direction.data.size() << " bytes";
      return Status();
    }
    const bool prefix = got + piece->size() <= direction.handed_over &&
                        piece->view() == direction.data.view().substr(got, piece->size());
    EXPECT_TRUE(prefix) << "what arrives at " << got << " is not what was sent";
    got += piece->size();
    if (!prefix) return Status();
  }
}

}  // namespace

void run_stream_program(World& world, Listener& listener, RandomStream random, ProgramRules rules) {
  std::unique_ptr<Stream> server;
  std::unique_ptr<Stream> client;
  {
    Scope scope("accept");
    scope.spawn("accept", [&]() -> Status {
      VARVE_TRY_ASSIGN(server, listener.accept());
      return Status();
    });
    auto connected = world.network.connect(listener.address());
    if (connected.ok()) {
      client = std::move(*connected);
      EXPECT_SUCCESS(scope.join());
    } else {
      EXPECT_TRUE(rules.failures) << connected.status().to_string();
      scope.cancel();
      (void)scope.join();
    }
  }
  // A connection that one side gave up may still have been accepted, or be the next to be.
  if (client == nullptr || server == nullptr) return;
  Direction directions[2];
  bool aborted = false;
  for (int i = 0; i < 2; ++i) {
    const uint64_t length = random.below(150000);
    directions[i].data = pattern(length, random.next());
    directions[i].aborted = false;
  }
  Scope scope("ends");
  Stream* ends[2] = {client.get(), server.get()};
  for (int i = 0; i < 2; ++i) {
    const std::string label = i == 0 ? "client" : "server";
    scope.spawn("sender", [&, i, random = random.fork(label + " sends")] {
      const Status status = send(*ends[i], directions[i], random, rules);
      if (directions[i].aborted) aborted = directions[1 - i].aborted = true;
      return status;
    });
    scope.spawn("receiver", [&, i, random = random.fork(label + " receives")] {
      return receive(*ends[i], directions[1 - i], aborted, random, rules);
    });
  }
  EXPECT_SUCCESS(scope.join());
}

}  // namespace varve::contract
