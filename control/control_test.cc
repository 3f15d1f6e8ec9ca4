// Control in the seeded world, among models of everything that it works with: by hand, with a crash
// at every step, and under drawn faults.
#include "control/control.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>

#include "control/testing/controlled_fleet.h"

namespace varve::control {
namespace {

using testing::Truth;
using testing::User;

sim::SimulationOptions simulation_options() {
  sim::SimulationOptions options;
  options.print_log = std::getenv("VARVE_PRINT_LOG") != nullptr;
  return options;
}

class Fleets {
 public:
  explicit Fleets(uint64_t seed) : sim(seed, simulation_options()), fleet(sim) {}

  // Runs `story` on a node of its own, to its end, and judges what is there then.
  void run(std::function<void(World&, User&)> story) { ASSERT_EQ(fleet.run(std::move(story)), ""); }

  sim::Simulation sim;
  testing::ControlledFleet fleet;
  Truth& truth = fleet.truth;
};

// Everything once, each step of which must succeed.
void whole_story(World&, User& user) {
  const auto well = [](const Status& status) { EXPECT_TRUE(status.ok()) << status.to_string(); };
  well(user.create_project("p"));
  well(user.create_branch("p", "early", "main").status());
  well(user.create_endpoint("p", "main"));
  well(user.start_endpoint("p", "main"));
  well(sleep_for(Duration::millis(200)));
  well(user.create_branch("p", "b", "main").status());
  well(user.create_branch("p", "c", "b").status());
  well(user.create_endpoint("p", "c"));
  well(user.start_endpoint("p", "c"));
  well(user.stop_endpoint("p", "main"));
  well(user.create_branch("p", "d", "main").status());
  well(user.stop_endpoint("p", "c"));
  well(user.delete_branch("p", "c"));
  well(user.delete_endpoint("p", "main"));
  well(user.create_endpoint("p", "main"));
  well(user.start_endpoint("p", "main"));
  well(user.create_branch("p", "c", "main").status());
  well(user.create_project("q"));
  well(user.delete_project("q"));
}

TEST(Control, TheWholeStory) {
  Fleets fleets(1);
  fleets.run(whole_story);
  EXPECT_GT(fleets.truth.elections, 0u);
  EXPECT_EQ(fleets.truth.kept.branches.size(), 5u);
  EXPECT_EQ(fleets.truth.clusters, 2u);
  EXPECT_EQ(fleets.truth.processes.size(), 1u);
}

// Control dies before each effect that it has on anybody and before each commit, once.
TEST(Control, ACrashAtEveryStep) {
  uint64_t points = 0;
  {
    Fleets fleets(2);
    fleets.run(whole_story);
    points = fleets.truth.points;
  }
  ASSERT_GT(points, 60u);
  uint64_t crashes = 0;
  for (uint64_t at = 1; at <= points; ++at) {
    SCOPED_TRACE("crash at point " + std::to_string(at));
    Fleets fleets(2 + at);
    fleets.truth.crash_at = at;
    fleets.run(whole_story);
    if (::testing::Test::HasFailure()) return;
    crashes += fleets.sim.lives(fleets.truth.control) - 1;
    EXPECT_EQ(fleets.truth.kept.branches.size(), 5u);
  }
  EXPECT_GE(crashes + 5, points);  // another seed may take a step less
}

// What is asked again gets the answer that it got, also when what it spoke of is gone.
TEST(Control, AStopIsAnsweredAgainWhenItsProjectIsGone) {
  Fleets fleets(6);
  fleets.run([](World&, User& user) {
    ASSERT_TRUE(user.create_project("p").ok());
    ASSERT_TRUE(user.create_endpoint("p", "main").ok());
    ASSERT_TRUE(user.start_endpoint("p", "main").ok());
    proto::StopEndpointRequest stop;
    stop.set_operation(std::string(16, 'x'));
    stop.set_project("p");
    stop.set_name("main");
    const auto first = user.ask<proto::StopEndpointResponse>(kStopEndpoint, stop);
    ASSERT_TRUE(first.ok()) << first.status().to_string();
    ASSERT_TRUE(user.delete_project("p").ok());
    const auto again = user.ask<proto::StopEndpointResponse>(kStopEndpoint, stop);
    EXPECT_TRUE(again.ok()) << again.status().to_string();
  });
}

TEST(Control, PositionsThatAUserNames) {
  Fleets fleets(3);
  fleets.run([&](World&, User& user) {
    ASSERT_TRUE(user.create_project("p").ok());
    ASSERT_TRUE(user.create_endpoint("p", "main").ok());
    ASSERT_TRUE(user.start_endpoint("p", "main").ok());
    ASSERT_TRUE(sleep_for(Duration::seconds(1)).ok());
    const auto first = user.create_branch("p", "first", "main", testing::kImportEnd + 80);
    ASSERT_TRUE(first.ok()) << first.status().to_string();
    EXPECT_EQ(Lsn(first->start_lsn()), testing::kImportEnd + 80);
    // Before the branch's beginning it is the parent's log.
    const auto older = user.create_branch("p", "older", "first", testing::kImportEnd + 40);
    ASSERT_TRUE(older.ok()) << older.status().to_string();
    const Project* project = fleets.truth.kept.project("p");
    EXPECT_EQ(
        older->parent(),
        fleets.truth.kept.branch(project->id, "main") == nullptr
            ? ""
            : std::string(
                  reinterpret_cast<const char*>(
                      fleets.truth.kept.branch(project->id, "main")->id.timeline.bytes.data()),
                  16));
    EXPECT_TRUE(
        user.create_branch("p", "far", "main", testing::kImportEnd + (8 << 20)).is(Code::kInvalid));
    EXPECT_TRUE(user.create_branch("p", "none", "main", Lsn(8)).is(Code::kBelowCutoff));
    EXPECT_TRUE(user.create_branch("p", "first", "main").is(Code::kExists));
    EXPECT_TRUE(user.create_branch("p", "x", "nobody").is(Code::kNotFound));
    EXPECT_TRUE(user.create_project("p").is(Code::kExists));
  });
}

// A compute that can't be reached while its branch is asked for: the quorum tells where its log
// ends.
TEST(Control, AQuorumSettlesWhatItsComputeCanNot) {
  Fleets fleets(4);
  fleets.run([&](World&, User& user) {
    ASSERT_TRUE(user.create_project("p").ok());
    ASSERT_TRUE(user.create_endpoint("p", "main").ok());
    ASSERT_TRUE(user.start_endpoint("p", "main").ok());
    ASSERT_TRUE(sleep_for(Duration::millis(500)).ok());
    fleets.sim.partition({fleets.truth.control}, {NodeId(6)});
    const auto branch = user.create_branch("p", "b", "main");
    EXPECT_TRUE(branch.ok()) << branch.status().to_string();
    EXPECT_EQ(fleets.truth.elections, 0u);
    fleets.sim.unpartition();
  });
}

// The machine of the computes begins a new life, and control has not noticed.
TEST(Control, WhatTheSupervisorForgotIsAskedForAgain) {
  Fleets fleets(5);
  fleets.run([&](World&, User& user) {
    ASSERT_TRUE(user.create_project("p").ok());
    ASSERT_TRUE(user.create_endpoint("p", "main").ok());
    ASSERT_TRUE(user.start_endpoint("p", "main").ok());
    fleets.sim.restart(NodeId(6), sim::Crash::kProcess, Duration::millis(100));
    ASSERT_TRUE(sleep_for(Duration::seconds(20)).ok());
    EXPECT_EQ(fleets.truth.processes.size(), 1u);
  });
}

TEST(Control, UsersUnderDrawnFaults) {
  uint64_t faults = 0;
  uint64_t versions = 0;
  // More of them by hand: VARVE_CONTROL_SEEDS=1000.
  const char* more = std::getenv("VARVE_CONTROL_SEEDS");
  const uint64_t seeds = more == nullptr ? 30 : std::strtoull(more, nullptr, 10);
  for (uint64_t seed = 100; seed < 100 + seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Fleets fleets(seed);
    ASSERT_EQ(fleets.fleet.run_under_faults(Duration::seconds(90), seed % 2 == 0), "");
    faults += fleets.sim.faults().total();
    versions += fleets.truth.kept.version;
  }
  EXPECT_GT(faults, 10 * seeds);
  EXPECT_GT(versions, 25 * seeds);
}

}  // namespace
}  // namespace varve::control
