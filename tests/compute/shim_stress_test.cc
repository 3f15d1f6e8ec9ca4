// The shim under many processes, kill -9 and an unfriendly agent, without Postgres: see
// stress_worker.cc.
#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "tests/compute/lazy_compute.h"
#include "tests/compute/stress_worker.h"

namespace varve::test {
namespace {

namespace fs = std::filesystem;

// Seconds of each stress; VARVE_STRESS_SECONDS for a long one.
std::string seconds() {
  const char* given = std::getenv("VARVE_STRESS_SECONDS");
  return given == nullptr ? "8" : given;
}

class ShimStress : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/var/tmp/varve-stress-XXXXXX";
    root_ = mkdtemp(pattern);
    fs::permissions(root_, fs::perms::all);
    fs::create_directories(root_ + "/original/base/5");
    fs::create_directories(root_ + "/original/global");
    fs::create_directories(root_ + "/original/pg_wal");
    std::vector<uint8_t> page(kStressBlock);
    for (int file = 0; file < kStressFiles; ++file) {
      std::ofstream out(root_ + "/original/" + stress_path(file), std::ios::binary);
      for (uint32_t block = 0; block < kStressBlocks; ++block) {
        stress_fill(page.data(), file, block, 1);
        out.write(reinterpret_cast<const char*>(page.data()), kStressBlock);
      }
    }
    std::ofstream(root_ + "/quorum") << std::string(4096, '\0');
    fs::permissions(root_ + "/quorum", fs::perms::all);
    fs::copy_file(VARVE_SHIM, root_ + "/libvarve_shim.so");
    fs::create_directory(root_ + "/bin");
    fs::copy_file(VARVE_STRESS_WORKER, root_ + "/bin/postgres");
  }
  void TearDown() override { fs::remove_all(root_); }

  LazyComputeOptions options() {
    LazyComputeOptions o;
    o.original = root_ + "/original";
    o.data = root_ + "/data";
    o.shim = root_ + "/libvarve_shim.so";
    o.postgres = root_ + "/bin/postgres";
    o.log = false;
    o.adversary = true;
    std::random_device device;
    seed_ = device();
    o.settings = {"seconds=" + seconds(), "seed=" + std::to_string(seed_)};
    return o;
  }
  std::string output() {
    std::ifstream in(root_ + "/postgres.log");
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::string root_;
  uint32_t seed_ = 0;
};

// Rounds of half a second, since laziness wears off.
TEST_F(ShimStress, FilesUnderKill) {
  varve_counters all{};
  uint64_t punched = 0, deaths = 0, checked = 0;
  const int rounds = std::max(1, 2 * std::atoi(seconds().c_str()));
  for (int round = 0; round < rounds; ++round) {
    fs::remove_all(root_ + "/data");
    fs::remove(root_ + "/postgres.log");
    LazyComputeOptions o = options();
    o.settings[0] = "seconds=0.5";
    LazyCompute compute(o);
    ASSERT_TRUE(compute.start()) << compute.error();
    ASSERT_EQ(compute.wait(), 0) << "seed " << seed_ << "\n" << output();
    uint64_t d = 0, c = 0;
    ASSERT_EQ(std::sscanf(output().c_str(), "deaths %lu, reads %*u (checked %lu)", &d, &c), 2)
        << output();
    deaths += d;
    checked += c;
    punched += compute.blocks_punched();
    const varve_counters& one = compute.counters();
    all.fetches += one.fetches;
    all.fetched_blocks += one.fetched_blocks;
    all.dropped_blocks += one.dropped_blocks;
    all.takeovers += one.takeovers;
    all.prefetch_hints += one.prefetch_hints;
    all.recoveries += one.recoveries;
    all.read_errors += one.read_errors;
  }
  std::printf(
      "%d rounds: %lu kills, %lu reads checked; fetches %lu, filled %lu, dropped %lu, takeovers "
      "%lu, hints %lu, "
      "punched %lu, recoveries %lu, errors %lu\n",
      rounds, deaths, checked, all.fetches, all.fetched_blocks, all.dropped_blocks, all.takeovers,
      all.prefetch_hints, punched, all.recoveries, all.read_errors);
  EXPECT_GT(all.fetches, 100u * static_cast<unsigned>(rounds));
  EXPECT_GT(punched, 0u);
  EXPECT_EQ(all.read_errors, 0u);
}

// Not an assertion of speed, which a shared machine can't give; the numbers are printed side by
// side.
TEST_F(ShimStress, PriceOfACall) {
  for (int i = 0; i < 3; ++i) {
    fs::remove_all(root_ + "/data");
    LazyComputeOptions o = options();
    o.adversary = false;
    o.settings.push_back("stress=measure");
    LazyCompute compute(o);
    ASSERT_TRUE(compute.start()) << compute.error();
    EXPECT_EQ(compute.wait(), 0);
    std::printf("plain: ");
    std::fflush(stdout);
    EXPECT_EQ(
        std::system((root_ + "/bin/postgres -D " + root_ + "/original -c stress=measure").c_str()),
        0);
  }
  std::printf("shim:\n%s", output().c_str());
}

TEST_F(ShimStress, GateUnderKill) {
  LazyComputeOptions o = options();
  o.settings.push_back("stress=gate");
  o.log_identity = stress_identity();
  o.log_start = stress_log_boundary();
  o.log_previous = Lsn(stress_log_boundary().value - 4096);
  stress_map_quorum(root_ + "/quorum");
  o.quorum = stress_quorum_word;
  LazyCompute compute(o);
  ASSERT_TRUE(compute.start()) << compute.error();
  const int status = compute.wait();
  EXPECT_EQ(status, 0) << "seed " << seed_ << "\n" << output() << compute.kill_text();
  std::printf("%sgate passes %lu, rewrites %lu\n", output().c_str(), compute.counters().gate_passes,
              compute.counters().rewrites);
  EXPECT_EQ(compute.kill_text(), "");
  EXPECT_GT(compute.counters().gate_passes, 100u);
}

}  // namespace
}  // namespace varve::test
