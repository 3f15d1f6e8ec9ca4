// The planning functions: random histories under their invariants, and the cases by hand.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "control/plan/testing/random_history.h"

namespace varve::control {
namespace {

using testing::drawn_id;
using testing::RandomHistory;
using testing::safekeepers;

RC_GTEST_PROP(RandomHistories, KeepWhatTheyPromise, (uint64_t seed)) {
  RandomHistory history(seed);
  for (int i = 0; i < 300; ++i) history.step();
  history.settle_all();
  RC_ASSERT(!::testing::Test::HasFailure());
  const State& state = history.state();
  RC_TAG(state.endpoints.empty() ? "no endpoint" : "endpoints");
  RC_ASSERT(state.tombstones.empty());
  for (const auto& [id, operation] : state.operations) RC_ASSERT(operation.finished);
}

class PlanTest : public ::testing::Test {
 protected:
  Asked asked() { return {drawn_id<OperationId>(random_), 7, 1, WallTime{5}}; }
  void take(const Result<Changes>& changes) {
    ASSERT_TRUE(changes.ok()) << changes.status().to_string();
    apply(state_, *changes, Incarnation(1));
    ASSERT_EQ(inconsistency(state_), "");
  }
  void make_project(const std::string& name) {
    const TenantId tenant = drawn_id<TenantId>(random_);
    take(plan_create_project(state_, asked(),
                             {tenant, drawn_id<TimelineId>(random_), name, 150008, safekeepers()}));
    take(project_made(state_, tenant, Lsn(1000), 77, 16 << 20, "made"));
  }
  void make_branch(const std::string& name, const std::string& parent, Lsn start) {
    const Branch& of = *state_.branch(tenant(), parent);
    const TenantTimelineId id{tenant(), drawn_id<TimelineId>(random_)};
    take(plan_create_branch(state_, asked(), {id, name, of.id.timeline, start, safekeepers()}));
    take(branch_made(state_, id, start, {}, "made"));
  }
  void make_endpoint(const std::string& name, const std::string& branch, uint16_t port) {
    take(plan_create_endpoint(state_, asked(), {"p", branch, name, port, "made"}));
  }
  void report(const std::string& name, uint64_t start, uint64_t incarnation, ComputeState what,
              bool stop, Code failure = Code::kOk) {
    Report report;
    report.timeline = {tenant(), state_.endpoint({tenant(), name})->timeline};
    report.endpoint = name;
    report.start = start;
    report.incarnation = Incarnation(incarnation);
    report.state = what;
    report.failure.code = failure;
    EXPECT_EQ(take_report(state_, computes_, report, Instant{}).stop, stop);
  }
  TenantId tenant() const { return state_.project("p")->id; }
  EndpointKey key(const std::string& name) const { return {tenant(), name}; }
  EndpointStep next(const std::string& name) {
    const auto found = computes_.find(key(name));
    return next_step(state_, key(name), found == computes_.end() ? nullptr : &found->second);
  }

  RandomStream random_{1, "plan"};
  State state_;
  Computes computes_;
};

TEST_F(PlanTest, AnEndpointIsAskedForUntilItRunsAndThenUntilItIsGone) {
  make_project("p");
  make_endpoint("e", "main", 7700);
  EXPECT_EQ(next("e"), EndpointStep::kNothing);
  take(plan_start_endpoint(state_, asked(), "p", "e"));
  EXPECT_EQ(next("e"), EndpointStep::kAskStart);
  computes_[key("e")].asked = 1;
  EXPECT_EQ(next("e"), EndpointStep::kAwait);
  report("e", 1, 50, ComputeState::kStarting, false);
  EXPECT_EQ(next("e"), EndpointStep::kAwait);
  // A life that was fenced is followed by another; a port that is taken stays taken.
  report("e", 1, 50, ComputeState::kFailed, false, Code::kStale);
  EXPECT_EQ(next("e"), EndpointStep::kAwait);
  report("e", 1, 50, ComputeState::kRunning, false);
  EXPECT_EQ(next("e"), EndpointStep::kRuns);
  take(endpoint_runs(state_, key("e"), 1, "runs"));
  EXPECT_EQ(next("e"), EndpointStep::kNothing);
  EXPECT_TRUE(plan_start_endpoint(state_, asked(), "p", "e")->empty());
  // Another life of control knows nothing and asks again.
  computes_.clear();
  EXPECT_EQ(next("e"), EndpointStep::kAskStart);
  take(plan_stop_endpoint(state_, asked(), "p", "e", false));
  EXPECT_EQ(next("e"), EndpointStep::kAskStop);
  report("e", 1, 50, ComputeState::kRunning, true);
  take(endpoint_stopped(state_, key("e"), 1));
  EXPECT_EQ(next("e"), EndpointStep::kNothing);
  EXPECT_EQ(state_.writer_of({tenant(), state_.endpoint(key("e"))->timeline}), nullptr);
}

TEST_F(PlanTest, AStartThatCanNeverSucceedIsGivenUp) {
  make_project("p");
  make_endpoint("e", "main", 7700);
  const Asked by = asked();
  take(plan_start_endpoint(state_, by, "p", "e"));
  computes_[key("e")].asked = 1;
  report("e", 1, 50, ComputeState::kFailed, false, Code::kExists);
  EXPECT_EQ(next("e"), EndpointStep::kFailed);
  take(endpoint_failed(state_, key("e"), 1, {Code::kExists, "port", "", ""}));
  EXPECT_EQ(state_.operation(by.operation)->failure.code, Code::kExists);
  EXPECT_EQ(next("e"), EndpointStep::kAskStop);  // the process is told, whatever it does
}

TEST_F(PlanTest, ReportsOfAnEarlierStartOrProcessCountNoMore) {
  make_project("p");
  make_endpoint("e", "main", 7700);
  take(plan_start_endpoint(state_, asked(), "p", "e"));
  report("e", 1, 50, ComputeState::kRunning, false);
  report("e", 1, 51, ComputeState::kStarting, false);  // its process ended; this is the next
  report("e", 1, 50, ComputeState::kRunning, true);    // came late
  EXPECT_EQ(computes_[key("e")].state, ComputeState::kStarting);
  take(plan_stop_endpoint(state_, asked(), "p", "e", true));
  take(plan_start_endpoint(state_, asked(), "p", "e"));
  report("e", 1, 51, ComputeState::kRunning, true);
  report("e", 2, 52, ComputeState::kRunning, false);
  EXPECT_EQ(computes_[key("e")].start, 2u);
}

TEST_F(PlanTest, AComputeThatIsSilentIsAskedForAgain) {
  make_project("p");
  make_endpoint("e", "main", 7700);
  take(plan_start_endpoint(state_, asked(), "p", "e"));
  computes_[key("e")].asked = 1;
  report("e", 1, 50, ComputeState::kRunning, false);
  take(endpoint_runs(state_, key("e"), 1, "runs"));
  const Duration limit = Duration::seconds(10);
  EXPECT_FALSE(doubt_silent(state_, computes_, Instant{} + (limit - Duration::nanos(1)), limit));
  EXPECT_EQ(next("e"), EndpointStep::kNothing);
  EXPECT_TRUE(doubt_silent(state_, computes_, Instant{} + limit, limit));
  EXPECT_EQ(next("e"), EndpointStep::kAskStart);
  EXPECT_FALSE(doubt_silent(state_, computes_, Instant{} + limit, limit));
}

TEST_F(PlanTest, ABranchHasOneWriter) {
  make_project("p");
  make_endpoint("one", "main", 7700);
  make_endpoint("two", "main", 7701);
  take(plan_start_endpoint(state_, asked(), "p", "one"));
  EXPECT_TRUE(plan_start_endpoint(state_, asked(), "p", "two").is(Code::kRefused));
  take(plan_stop_endpoint(state_, asked(), "p", "one", false));
  // Not wanted, but who says that it is gone?
  EXPECT_TRUE(plan_start_endpoint(state_, asked(), "p", "two").is(Code::kRefused));
  take(endpoint_stopped(state_, key("one"), 1));
  take(plan_start_endpoint(state_, asked(), "p", "two"));
}

TEST_F(PlanTest, AStartThatIsStoppedIsAnswered) {
  make_project("p");
  make_endpoint("e", "main", 7700);
  const Asked start = asked();
  take(plan_start_endpoint(state_, start, "p", "e"));
  const Asked stop = asked();
  take(plan_stop_endpoint(state_, stop, "p", "e", false));
  EXPECT_EQ(state_.operation(start.operation)->failure.code, Code::kCancelled);
  EXPECT_FALSE(state_.operation(stop.operation)->finished);
  take(plan_start_endpoint(state_, asked(), "p", "e"));
  EXPECT_EQ(state_.operation(stop.operation)->failure.code, Code::kCancelled);
}

TEST_F(PlanTest, WhatOthersStandOnIsNotDeleted) {
  make_project("p");
  make_branch("child", "main", Lsn(2000));
  make_branch("grandchild", "child", Lsn(3000));
  make_endpoint("e", "grandchild", 7700);
  const auto refused = [&](const std::string& name) {
    return plan_delete_branch(state_, asked(), "p", name, safekeepers()).is(Code::kRefused);
  };
  EXPECT_TRUE(refused("main"));
  EXPECT_TRUE(refused("child"));
  take(plan_start_endpoint(state_, asked(), "p", "e"));
  EXPECT_TRUE(refused("grandchild"));
  EXPECT_TRUE(plan_delete_project(state_, asked(), "p", safekeepers()).is(Code::kRefused));
  take(plan_stop_endpoint(state_, asked(), "p", "e", false));
  take(endpoint_stopped(state_, key("e"), 1));
  take(plan_delete_branch(state_, asked(), "p", "grandchild", safekeepers()));
  EXPECT_TRUE(state_.endpoints.empty());
  EXPECT_EQ(state_.tombstones.size(), 1u);
  take(plan_delete_project(state_, asked(), "p", safekeepers()));
  EXPECT_EQ(state_.tombstones.size(), 3u);
  make_project("p");  // the name is free at once
}

TEST_F(PlanTest, AProjectStaysWhileThePageserverHasTimelinesOfItToDelete) {
  take(plan_register(state_, {NodeId(21), Incarnation(1)}));
  make_project("p");
  const TenantId id = tenant();
  const Job forget{JobKind::kForgetProject, {id, {}}, ""};
  const auto forgets = [&] {
    const std::vector<Job> jobs = open_jobs(state_, {});
    return std::find(jobs.begin(), jobs.end(), forget) != jobs.end();
  };
  take(plan_delete_project(state_, asked(), "p", testing::keepers()));
  const TenantTimelineId timeline = state_.tombstones.begin()->first;
  EXPECT_FALSE(forgets());
  EXPECT_TRUE(project_gone(state_, id).empty());
  // A later life of the pageserver is given it for that.
  const Generation before = state_.project(id)->generation;
  take(plan_register(state_, {NodeId(21), Incarnation(2)}));
  EXPECT_GT(state_.project(id)->generation, before);
  take(buried(state_, timeline, {NodeId(11)}));
  EXPECT_FALSE(forgets());
  take(buried(state_, timeline, {NodeId(21)}));
  EXPECT_TRUE(forgets());  // and does not wait for safekeepers that are away
  take(project_gone(state_, id));
  EXPECT_EQ(state_.tombstones.size(), 1u);
}

TEST_F(PlanTest, APositionBelongsToTheAncestorThatWroteIt) {
  make_project("p");
  make_branch("child", "main", Lsn(2000));
  make_branch("grandchild", "child", Lsn(3000));
  const Branch& youngest = *state_.branch(tenant(), "grandchild");
  EXPECT_EQ(owner_of(state_, youngest, Lsn(3000))->name, "grandchild");
  EXPECT_EQ(owner_of(state_, youngest, Lsn(2999))->name, "child");
  EXPECT_EQ(owner_of(state_, youngest, Lsn(1999))->name, "main");
  EXPECT_EQ(owner_of(state_, youngest, Lsn(999)), nullptr);
}

TEST_F(PlanTest, AnOperationIdStandsForOneRequest) {
  const Asked by = asked();
  EXPECT_EQ(*find_operation(state_, by), nullptr);
  take(plan_create_project(
      state_, by,
      {drawn_id<TenantId>(random_), drawn_id<TimelineId>(random_), "p", 150008, safekeepers()}));
  EXPECT_NE(*find_operation(state_, by), nullptr);
  Asked other = by;
  other.digest = 2;
  EXPECT_TRUE(find_operation(state_, other).is(Code::kInvalid));
  EXPECT_TRUE(find_operation(state_, Asked()).is(Code::kInvalid));
}

TEST_F(PlanTest, OldAnswersAreForgottenUnfinishedOperationsAreNot) {
  take(plan_create_project(
      state_, asked(),
      {drawn_id<TenantId>(random_), drawn_id<TimelineId>(random_), "p", 150008, safekeepers()}));
  const OperationId first = state_.operations.begin()->first;
  for (uint64_t i = 0; i < kOperationsKept + 100; ++i) {
    Operation operation;
    operation.id = drawn_id<OperationId>(random_);
    operation.sequence = state_.version + 1;
    operation.finished = true;
    Changes changes;
    changes.put(operation);
    forget_old_operations(state_, changes);
    apply(state_, changes, Incarnation(1));
  }
  EXPECT_LE(state_.operations.size(), kOperationsKept + 1);
  EXPECT_NE(state_.operation(first), nullptr);
}

TEST_F(PlanTest, Names) {
  for (const char* good : {"a", "main", "feature-1_x", "0"}) EXPECT_TRUE(check_name(good, "").ok());
  for (const char* bad : {"", "-a", "A", "a/b", "a b", "..", "ä"})
    EXPECT_TRUE(check_name(bad, "").is(Code::kInvalid)) << bad;
  EXPECT_TRUE(check_name(std::string(63, 'a'), "").ok());
  EXPECT_FALSE(check_name(std::string(64, 'a'), "").ok());
}

}  // namespace
}  // namespace varve::control
