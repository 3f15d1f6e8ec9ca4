#include "tests/contract/worlds.h"

#include <stdlib.h>

#include <filesystem>
#include <ostream>

#include "real_io/real_world.h"
#include "real_io/seeded_syscalls.h"
#include "sim/world.h"

namespace varve::contract {
namespace {

constexpr uint64_t kDelayedSeeds = 8;

void in_simulation(const std::function<void(World&)>& body) {
  sim::Simulation simulation(1);
  bool done = false;
  const NodeId node = simulation.add_node("node", [&](World& world) {
    body(world);
    done = true;
  });
  simulation.start(node);
  EXPECT_TRUE(simulation.run_until([&] { return done; }, Duration::seconds(3600)))
      << simulation.failure().value_or("the body does not end");
}

void in_real_world(const WorldKind& kind, real_io::Syscalls& syscalls,
                   const std::function<void(World&)>& body) {
  const TemporaryDirectory directory;
  real_io::RealOptions options;
  options.root = directory.path();
  options.files = kind.uring ? real_io::FileBackend::kUring : real_io::FileBackend::kThreads;
  options.hold_until_sync = kind.held;
  auto world = real_io::RealWorld::create(options, syscalls);
  ASSERT_SUCCESS(world);
  EXPECT_SUCCESS((*world)->run([&](real_io::RealWorld& real) {
    body(real.world());
    return Status();
  }));
}

}  // namespace

std::vector<WorldKind> all_worlds() {
  return {
      {.name = "sim", .simulated = true},
      {.name = "threads"},
      {.name = "uring", .uring = true},
      {.name = "held", .held = true},
      {.name = "threads_delayed", .delayed = true},
      {.name = "uring_delayed", .uring = true, .delayed = true},
  };
}

void PrintTo(const WorldKind& kind, std::ostream* out) {
  *out << kind.name;
}

TemporaryDirectory::TemporaryDirectory(bool fast) {
  std::string name = fast ? "/dev/shm/varve_contract_XXXXXX" : "/tmp/varve_contract_XXXXXX";
  path_ = ::mkdtemp(name.data());
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void in_world(const WorldKind& kind, const std::function<void(World&)>& body) {
  if (kind.simulated) return in_simulation(body);
  if (!kind.delayed) return in_real_world(kind, real_io::kernel(), body);
  for (uint64_t seed = 1; seed <= kDelayedSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    real_io::SeededSyscalls syscalls(seed, real_io::SyscallNoise::delays());
    in_real_world(kind, syscalls, body);
  }
}

ProgramSettings& program_settings() {
  static ProgramSettings settings;
  return settings;
}

::testing::AssertionResult succeeded(const Status& status) {
  if (status.ok()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << status.to_string() << " at " << status.origin().file_name() << ":"
         << status.origin().line();
}

Bytes pattern(size_t size, uint64_t seed) {
  MutableBytes bytes(size);
  RandomStream random(seed, "pattern");
  for (size_t i = 0; i < size; ++i) {
    bytes.data()[i] =
        static_cast<uint8_t>(i % 8 == 0 ? random.next() : bytes.data()[i - 1] * 31 + 7);
  }
  return std::move(bytes).freeze();
}

}  // namespace varve::contract
