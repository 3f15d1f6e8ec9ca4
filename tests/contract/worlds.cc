#include "tests/contract/worlds.h"

#include <stdlib.h>

#include <filesystem>
#include <ostream>

#include "objects/dir_store.h"
#include "real_io/real_world.h"
#include "real_io/seeded_syscalls.h"
#include "sim/world.h"

namespace varve::contract {
namespace {

constexpr uint64_t kDelayedSeeds = 8;
constexpr uint64_t kSmallSeeds = 8;

void in_simulation(const WorldKind& kind,
                   const std::function<void(World&, sim::Simulation&)>& body) {
  for (uint64_t seed = 1; seed <= (kind.small ? kSmallSeeds : 1); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    sim::Simulation simulation(seed);
    if (kind.small) simulation.unleash(sim::FaultPlan::benign());
    bool done = false;
    const NodeId node = simulation.add_node("node", [&](World& world) {
      body(world, simulation);
      done = true;
    });
    simulation.start(node);
    EXPECT_TRUE(simulation.run_until([&] { return done; }, Duration::seconds(3600)))
        << simulation.failure().value_or("the body does not end");
  }
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
      {.name = "sim_small", .simulated = true, .small = true},
      {.name = "threads"},
      {.name = "uring", .uring = true},
      {.name = "held", .held = true},
      {.name = "threads_delayed", .delayed = true},
      {.name = "uring_delayed", .uring = true, .delayed = true},
  };
}

std::vector<WorldKind> all_object_worlds() {
  std::vector<WorldKind> worlds = all_worlds();
  worlds.push_back({.name = "sim_model", .simulated = true, .model = true});
  worlds.push_back({.name = "sim_small_model", .simulated = true, .small = true, .model = true});
  return worlds;
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
  if (kind.simulated) {
    return in_simulation(kind, [&](World& world, sim::Simulation&) { body(world); });
  }
  if (!kind.delayed) return in_real_world(kind, real_io::kernel(), body);
  for (uint64_t seed = 1; seed <= kDelayedSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    real_io::SeededSyscalls syscalls(seed, real_io::SyscallNoise::delays());
    in_real_world(kind, syscalls, body);
  }
}

void in_object_world(const WorldKind& kind, const std::function<void(ObjectStore&)>& body) {
  if (kind.model) {
    return in_simulation(kind, [&](World& world, sim::Simulation& simulation) {
      body(simulation.object_store(world));
    });
  }
  in_world(kind, [&](World& world) {
    objects::DirStore store(world.disk, world.random);
    body(store);
  });
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
