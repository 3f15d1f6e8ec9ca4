// Programs over the seeded system-call table.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "real_io/real_world.h"
#include "real_io/seeded_syscalls.h"
#include "tests/contract/programs.h"
#include "tests/contract/worlds.h"

namespace varve::contract {
namespace {

using real_io::SeededSyscalls;
using real_io::SyscallNoise;

class Programs : public testing::TestWithParam<real_io::FileBackend> {};
INSTANTIATE_TEST_SUITE_P(Contract, Programs,
                         testing::Values(real_io::FileBackend::kThreads,
                                         real_io::FileBackend::kUring),
                         [](const auto& info) {
                           return info.param == real_io::FileBackend::kThreads ? "threads"
                                                                               : "uring";
                         });

Status clear(World& world) {
  VARVE_TRY_ASSIGN(const auto entries, world.disk.list(""));
  for (const DirectoryEntry& entry : entries) {
    VARVE_TRY(entry.is_directory ? remove_tree(world.disk, entry.name)
                                 : world.disk.remove(entry.name));
  }
  return Status();
}

Status run_seed(World& world, SeededSyscalls& syscalls, uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  RandomStream random(seed, "program");
  const bool failures = seed % 2 == 0;
  // A listener of its own: a connection that one side gave up must not be taken for the next
  // program's.
  VARVE_TRY_ASSIGN(auto listener, world.network.listen({"", 0}));
  syscalls.reseed(seed, failures ? SyscallNoise::everything() : SyscallNoise::delays());
  const ProgramRules rules{failures};
  Scope scope("programs");
  const std::string directory = std::to_string(seed);
  scope.spawn("files", [&] { run_file_program(world, directory, random.fork("files"), rules); });
  scope.spawn("streams",
              [&] { run_stream_program(world, *listener, random.fork("streams"), rules); });
  VARVE_TRY(scope.join());
  syscalls.reseed(seed, SyscallNoise{});
  return clear(world);
}

TEST_P(Programs, HoldOverTheSeededTable) {
  const TemporaryDirectory directory(true);
  SeededSyscalls syscalls(0, SyscallNoise{});
  real_io::RealOptions options;
  options.root = directory.path();
  options.files = GetParam();
  options.file_threads = 3;
  options.offload_threads = 1;
  options.network.high_water_mark = 20000;
  options.on_failed_sync = [](const Status&) {};  // injected
  const ProgramSettings& settings = program_settings();
  uint64_t done = 0;
  const auto start = std::chrono::steady_clock::now();
  {
    auto world = real_io::RealWorld::create(options, syscalls);
    ASSERT_SUCCESS(world);
    EXPECT_SUCCESS((*world)->run([&](real_io::RealWorld& real) -> Status {
      for (; done < settings.seeds; ++done) {
        VARVE_TRY(run_seed(real.world(), syscalls, settings.first_seed + done));
        if (testing::Test::HasFailure()) {
          return Status(Code::kInternal,
                        "seed " + std::to_string(settings.first_seed + done) + " failed");
        }
      }
      return Status();
    }));
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("%llu programs in %.1f s;", static_cast<unsigned long long>(done), took.count());
  const auto counts = syscalls.counts();
  for (size_t i = 0; i < counts.size(); ++i) {
    std::printf(" %s %llu", real_io::noise_name(static_cast<real_io::NoiseKind>(i)),
                static_cast<unsigned long long>(counts[i]));
    EXPECT_TRUE(done < 100 || counts[i] > 0) << "a kind of answer that never came";
  }
  std::printf("\n");
}

}  // namespace
}  // namespace varve::contract
