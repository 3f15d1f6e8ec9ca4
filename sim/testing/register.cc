#include "sim/testing/register.h"

#include <algorithm>

#include "base/codec.h"
#include "base/crc32c.h"
#include "runtime/sync.h"
#include "sim/testing/history.h"

namespace varve::sim::testing {
namespace {

constexpr size_t kReplicas = 3;
constexpr size_t kClients = 3;
constexpr size_t kOperations = 14;  // of each client
constexpr uint16_t kPort = 4000;
constexpr Duration kPatience = Duration::millis(400);

// Orders writes: counter first, then writer.
struct Tagged {
  uint64_t counter = 0;
  uint64_t writer = 0;
  uint64_t value = 0;
  auto operator<=>(const Tagged&) const = default;
};

enum class Kind : uint64_t { kQuery = 1, kStore = 2, kAnswer = 3 };
constexpr size_t kFrameSize = 32;

Bytes encode(Kind kind, const Tagged& tagged) {
  Writer writer;
  writer.le(static_cast<uint64_t>(kind));
  writer.le(tagged.counter);
  writer.le(tagged.writer);
  writer.le(tagged.value);
  return Bytes::copy(writer.span());
}

std::pair<Kind, Tagged> decode(const Bytes& frame) {
  Reader reader(frame);
  const auto kind = static_cast<Kind>(reader.le<uint64_t>());
  Tagged tagged;
  tagged.counter = reader.le<uint64_t>();
  tagged.writer = reader.le<uint64_t>();
  tagged.value = reader.le<uint64_t>();
  return {kind, tagged};
}

// Two slots, written in turn, so that a torn write leaves the other. Each holds a frame and its
// checksum.
class Store {
 public:
  Store(World& world, const RegisterBugs& bugs) : world_(world), bugs_(bugs) {}

  Status open() {
    VARVE_TRY_ASSIGN(file_, world_.disk.open("register", OpenMode::kCreate));
    VARVE_TRY(world_.disk.sync_directory(""));
    // What an earlier life wrote may be in the kernel only; we are about to answer with it.
    VARVE_TRY(world_.disk.sync_all());
    for (uint64_t slot = 0; slot < 2; ++slot) {
      VARVE_TRY_ASSIGN(const Bytes bytes, file_->read_at(slot * kSlot, kFrameSize + 4));
      if (bytes.size() != kFrameSize + 4) continue;
      if (crc32c(bytes.slice(0, kFrameSize)) != load_le<uint32_t>(bytes.data() + kFrameSize))
        continue;
      const Tagged found = decode(bytes).second;
      if (found < current_) continue;
      current_ = found;
      newest_ = slot;
    }
    return Status();
  }

  const Tagged& current() const { return current_; }

  // After success `tagged`, or something newer, is durable.
  Status store(const Tagged& tagged) {
    MutexGuard guard(mutex_);
    VARVE_TRY(guard.status());
    if (tagged <= current_) return Status();
    const Bytes frame = encode(Kind::kStore, tagged);
    Writer slot;
    slot.bytes(frame);
    slot.le(crc32c(frame));
    std::vector<Bytes> data;
    data.push_back(Bytes::copy(slot.span()));
    VARVE_TRY(file_->write((1 - newest_) * kSlot, std::move(data)));
    if (!bugs_.answers_before_sync) VARVE_TRY(file_->sync());
    newest_ = 1 - newest_;
    current_ = tagged;
    return Status();
  }

 private:
  static constexpr uint64_t kSlot = 4096;
  World& world_;
  const RegisterBugs& bugs_;
  std::unique_ptr<File> file_;
  Mutex mutex_;
  Tagged current_;
  uint64_t newest_ = 1;
};

Status serve(Stream& stream, Store& store) {
  BufferedReader reader(stream);
  while (true) {
    VARVE_TRY_ASSIGN(const Bytes frame, reader.read_exactly(kFrameSize));
    const auto [kind, tagged] = decode(frame);
    if (kind == Kind::kStore) VARVE_TRY(store.store(tagged));
    VARVE_TRY(stream.write(encode(Kind::kAnswer, store.current())));
  }
}

void replica_main(World& world, const std::string& name, const RegisterBugs& bugs) {
  Store store(world, bugs);
  while (!store.open().ok()) {
    if (!sleep_for(Duration::millis(50)).ok()) return;
  }
  std::unique_ptr<Listener> listener;
  while (listener == nullptr) {
    auto bound = world.network.listen({name, kPort});
    if (bound.ok()) {
      listener = std::move(bound).value();
    } else if (!sleep_for(Duration::millis(50)).ok()) {
      return;
    }
  }
  Scope connections("connections");
  while (true) {
    auto accepted = listener->accept();
    if (!accepted.ok()) break;
    std::shared_ptr<Stream> stream = std::move(accepted).value();
    connections.spawn("connection", [stream, &store] { return serve(*stream, store); });
  }
}

// One call to each replica, until a quorum has answered.
class Quorum {
 public:
  Quorum(World& world, const std::vector<std::string>& replicas)
      : world_(world), replicas_(replicas) {}

  // The newest of `wanted` answers; Unavailable if fewer come in time.
  Result<Tagged> ask(Kind kind, const Tagged& tagged, size_t wanted) {
    Tagged newest;
    size_t good = 0;
    Scope scope("calls");
    Event enough;
    {
      DeadlineGuard patience(kPatience);
      for (const std::string& replica : replicas_) {
        scope.spawn("call", [&, kind, tagged]() -> Status {
          VARVE_TRY_ASSIGN(const Tagged answer, call(replica, kind, tagged));
          if (good == wanted) return Status();
          newest = std::max(newest, answer);
          if (++good == wanted) enough.set();
          return Status();
        });
      }
      enough.wait("a quorum").ignore("counted below");
    }
    scope.cancel();
    VARVE_TRY(wait_out(scope));
    if (good < wanted) return Status(Code::kUnavailable, "no quorum");
    return newest;
  }

 private:
  static Status wait_out(Scope& scope) {
    const Status status = scope.join();
    return status.is(Code::kCancelled) ? status : Status();
  }
  Result<Tagged> call(const std::string& replica, Kind kind, const Tagged& tagged) {
    VARVE_TRY_ASSIGN(auto stream, world_.network.connect({replica, kPort}));
    VARVE_TRY(stream->write(encode(kind, tagged)));
    BufferedReader reader(*stream);
    VARVE_TRY_ASSIGN(const Bytes frame, reader.read_exactly(kFrameSize));
    return decode(frame).second;
  }
  World& world_;
  const std::vector<std::string>& replicas_;
};

struct Shared {
  Simulation* simulation;
  RegisterBugs bugs;
  std::vector<std::string> replicas;
  std::vector<Operation> history;
  size_t clients_done = 0;
};

// Tries until it succeeds or `attempts` are used up; then the outcome is unknown.
Result<uint64_t> operate(Quorum& quorum, World& world, const RegisterBugs& bugs, uint64_t writer,
                         std::optional<uint64_t> write) {
  constexpr size_t kMajority = kReplicas / 2 + 1;
  std::optional<Tagged> chosen;  // a retry repeats the same write: it may have happened already
  for (int attempt = 0; attempt < 6; ++attempt) {
    if (attempt > 0) {
      const auto wait = static_cast<int64_t>(world.random.below(300, "retry"));
      VARVE_TRY(sleep_for(Duration::millis(wait)));
    }
    if (!chosen) {
      const size_t readers = bugs.reads_from_one && !write ? 1 : kMajority;
      auto newest = quorum.ask(Kind::kQuery, {}, readers);
      if (!newest.ok()) continue;
      chosen = write ? Tagged{newest->counter + 1, writer, *write} : *newest;
    }
    if (!write && bugs.readers_dont_write_back) return chosen->value;
    if (quorum.ask(Kind::kStore, *chosen, kMajority).ok()) return chosen->value;
  }
  return Status(Code::kDeadlineExceeded, "given up");
}

void client_main(World& world, Shared& shared, size_t number) {
  Quorum quorum(world, shared.replicas);
  for (size_t i = 0; i < kOperations; ++i) {
    const auto pause = static_cast<int64_t>(world.random.below(1200, "pause"));
    if (!sleep_for(Duration::millis(pause)).ok()) return;
    Operation operation;
    operation.is_write = world.random.below(2, "kind") == 0;
    operation.began = shared.simulation->elapsed().nanoseconds;
    const uint64_t value = number * 1000 + i + 1;
    const size_t index = shared.history.size();
    if (operation.is_write) operation.value = value;
    shared.history.push_back(operation);
    const auto result = operate(quorum, world, shared.bugs, number,
                                operation.is_write ? std::optional(value) : std::nullopt);
    if (!result.ok()) {
      shared.simulation->reached("an operation of unknown outcome");
      continue;
    }
    shared.history[index].value = *result;
    shared.history[index].ended = shared.simulation->elapsed().nanoseconds;
    shared.simulation->mark(*result);
  }
  ++shared.clients_done;
}

void run(Simulation& simulation, const RegisterBugs& bugs) {
  Shared shared{&simulation, bugs, {}, {}, 0};
  for (size_t i = 0; i < kReplicas; ++i) {
    const std::string name = "replica" + std::to_string(i + 1);
    shared.replicas.push_back(name);
    simulation.add_node(name,
                        [&shared, name](World& world) { replica_main(world, name, shared.bugs); });
  }
  for (size_t i = 1; i <= kClients; ++i) {
    const NodeId client =
        simulation.add_node("client" + std::to_string(i),
                            [&shared, i](World& world) { client_main(world, shared, i); });
    simulation.protect(client);
  }
  FaultPlan plan = FaultPlan::draw(simulation.fork("plan"));
  plan.nemesis.most_crashed = 3;  // a power cut of all at once, too
  simulation.unleash(plan);
  simulation.start_all();
  if (!simulation.run_for(Duration::seconds(12))) return;
  simulation.heal();
  if (!simulation.run_until([&] { return shared.clients_done == kClients; },
                            Duration::seconds(300)))
    return;
  if (!is_linearizable(shared.history)) {
    simulation.violation("the register's history is not linearizable\n" +
                         to_string(shared.history));
  }
}

}  // namespace

Scenario register_scenario(std::string name, RegisterBugs bugs) {
  return {std::move(name),
          [bugs](Simulation& simulation) { run(simulation, bugs); },
          {"an operation of unknown outcome"}};
}

}  // namespace varve::sim::testing
