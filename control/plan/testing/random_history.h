// A random life of control's state: users ask, jobs end in this way or that, pageservers and
// computes come and go; with what must hold whatever the order. Test support.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "control/plan/intents.h"
#include "control/plan/outcomes.h"
#include "control/plan/steps.h"

namespace varve::control::testing {

inline constexpr PortRange kPorts{7700, 7707};

inline std::set<NodeId> safekeepers() {
  return {NodeId(11), NodeId(12), NodeId(13)};
}

inline std::set<NodeId> keepers() {
  std::set<NodeId> nodes = safekeepers();
  nodes.insert(NodeId(21));
  return nodes;
}

template <class Id>
Id drawn_id(RandomStream& random) {
  Id id;
  for (uint8_t& byte : id.bytes) byte = static_cast<uint8_t>(random.next());
  return id;
}

class RandomHistory {
 public:
  explicit RandomHistory(uint64_t seed) : random_(seed, "history") {}

  const State& state() const { return state_; }

  // One thing happens; its changes, after they were applied and judged.
  Changes step() {
    const Changes changes = draw();
    if (changes.empty()) return changes;
    const State before = state_;
    apply(state_, changes, Incarnation(1));
    judge(before);
    return changes;
  }

  // Everything that is open comes to its good end; nothing stays open then.
  void settle_all() {
    for (int round = 0; round < 1000; ++round) {
      const std::vector<Job> jobs = open_jobs(state_, computes_);
      if (jobs.empty()) return;
      const Changes changes = advance(jobs[random_.below(jobs.size())], true);
      if (changes.empty()) continue;
      const State before = state_;
      apply(state_, changes, Incarnation(1));
      judge(before);
    }
    ADD_FAILURE() << "a job never closes";
  }

 private:
  Changes draw() {
    const uint64_t choice = random_.below(100);
    if (choice < 40) return ask();
    if (choice < 45) return begin_pageserver();
    if (choice < 60) return report();
    const std::vector<Job> jobs = open_jobs(state_, computes_);
    if (jobs.empty()) return ask();
    return advance(jobs[random_.below(jobs.size())], false);
  }

  // Sometimes an id that was used before, for the same request or for another.
  Asked asked(uint16_t method) {
    Asked asked;
    asked.operation = drawn_id<OperationId>(random_);
    asked.method = method;
    asked.digest = static_cast<uint32_t>(random_.below(1000));
    if (!asks_.empty() && random_.chance(100000)) asked = asks_[random_.below(asks_.size())];
    asks_.push_back(asked);
    return asked;
  }

  std::string name(const char* prefix) { return prefix + std::to_string(random_.below(3)); }

  Changes ask() {
    const auto method = static_cast<uint16_t>(1 + random_.below(7));
    const Asked by = asked(method);
    const Result<const Operation*> known = find_operation(state_, by);
    if (!known.ok() || *known != nullptr) {
      EXPECT_TRUE(known.ok() || known.is(Code::kInvalid));
      return Changes();
    }
    Result<Changes> changes = intent(by);
    if (!changes.ok()) {
      EXPECT_FALSE(changes.is(Code::kInternal)) << changes.status().to_string();
      return Changes();
    }
    return std::move(*changes);
  }

  Result<Changes> intent(const Asked& by) {
    const std::string project = name("p");
    const std::string branch = random_.chance(300000) ? "main" : name("b");
    switch (by.method) {
      case 1: {
        NewProject wish{drawn_id<TenantId>(random_), drawn_id<TimelineId>(random_), project, 150008,
                        safekeepers()};
        Result<Changes> changes = plan_create_project(state_, by, wish);
        if (changes.ok()) give(wish.tenant, Generation(1), next_giving_++);
        return changes;
      }
      case 2:
        return plan_delete_project(state_, by, project, keepers());
      case 3: {
        VARVE_TRY_ASSIGN(const Project* of, find_project(state_, project));
        VARVE_TRY_ASSIGN(const Branch* parent, find_branch(state_, *of, branch));
        const Lsn at = parent->start + 8 * random_.below(100);
        return plan_create_branch(state_, by,
                                  {{of->id, drawn_id<TimelineId>(random_)},
                                   name("b"),
                                   parent->id.timeline,
                                   at,
                                   safekeepers()});
      }
      case 4:
        return plan_delete_branch(state_, by, project, branch, keepers());
      case 5: {
        VARVE_TRY_ASSIGN(const uint16_t port, choose_port(state_, kPorts, {}));
        return plan_create_endpoint(state_, by, {project, branch, name("e"), port, "made"});
      }
      case 6:
        return plan_start_endpoint(state_, by, project, name("e"));
      default:
        return plan_stop_endpoint(state_, by, project, name("e"), random_.chance(500000));
    }
  }

  Changes begin_pageserver() {
    const bool again = incarnation_ != 0 && random_.chance(300000);
    if (!again) ++incarnation_;
    const Registration registration{NodeId(21), Incarnation(incarnation_)};
    const Changes changes = plan_register(state_, registration);
    State after = state_;
    apply(after, changes, Incarnation(1));
    for (const auto& [id, project] : after.projects) {
      if (again) continue;  // the same life may have been given it by an attach, too
      give(id, project.generation, next_giving_++);
    }
    return changes;
  }

  // Nobody may be given what somebody else was given.
  void give(const TenantId& tenant, Generation generation, uint64_t giving) {
    EXPECT_TRUE(given_.emplace(std::pair(tenant, generation), giving).second)
        << "generation " << generation.value << " was given out twice";
  }

  Changes report() {
    if (state_.endpoints.empty()) return Changes();
    auto at = state_.endpoints.begin();
    std::advance(at, static_cast<long>(random_.below(state_.endpoints.size())));
    const Endpoint& endpoint = at->second;
    Report report;
    report.timeline = {endpoint.tenant, endpoint.timeline};
    report.endpoint = endpoint.name;
    report.start = endpoint.start - (endpoint.start != 0 && random_.chance(200000) ? 1 : 0);
    report.incarnation = Incarnation(1 + random_.below(4));
    report.state = static_cast<ComputeState>(random_.below(5));
    report.failure.code = static_cast<Code>(1 + random_.below(12));
    const Compute before = computes_[at->first];
    const bool welcome =
        endpoint.wanted && report.start == endpoint.start &&
        (before.start != report.start || !before.ended.contains(report.incarnation));
    EXPECT_EQ(take_report(state_, computes_, report, Instant{}).stop, !welcome);
    EXPECT_TRUE(welcome || computes_[at->first] == before);
    return Changes();
  }

  NodeId some_node(const std::set<NodeId>& nodes) {
    auto at = nodes.begin();
    std::advance(at, static_cast<long>(random_.below(nodes.size())));
    return *at;
  }

  // A job comes a step further; with `well`, towards its good end.
  Changes advance(const Job& job, bool well) {
    const bool fails = !well && random_.chance(200000);
    const Failure why{Code::kRefused, "drawn", "", ""};
    switch (job.kind) {
      case JobKind::kMakeProject: {
        if (fails) return project_failed(state_, job.id.tenant, why, keepers());
        if (!well && random_.chance(300000)) {
          const auto timeline =
              random_.chance(500000) ? std::optional(drawn_id<TimelineId>(random_)) : std::nullopt;
          give(job.id.tenant, state_.project(job.id.tenant)->generation.next(), next_giving_++);
          return project_again(state_, job.id.tenant, timeline, safekeepers(), keepers());
        }
        return project_made(state_, job.id.tenant, Lsn(0x1500000), 77, 16 << 20, "project");
      }
      case JobKind::kForgetProject:
        return project_gone(state_, job.id.tenant);
      case JobKind::kMakeBranch: {
        if (fails) return branch_failed(state_, job.id, why, keepers());
        std::set<NodeId> missing;
        if (random_.chance(300000)) missing.insert(some_node(safekeepers()));
        return branch_made(state_, job.id, state_.branch(job.id)->start, missing, "branch");
      }
      case JobKind::kCompleteBranch:
        return branch_completed(state_, job.id, some_node(state_.branch(job.id)->missing));
      case JobKind::kBury:
        return buried(state_, job.id, {some_node(state_.tombstones.at(job.id).pending)});
      case JobKind::kEndpoint:
        return advance_endpoint(job.endpoint_key(), fails);
    }
    VARVE_UNREACHABLE("no such job");
  }

  Changes advance_endpoint(const EndpointKey& key, bool fails) {
    const Endpoint endpoint = *state_.endpoint(key);
    Compute& compute = computes_[key];
    switch (next_step(state_, key, &compute)) {
      case EndpointStep::kNothing:
        ADD_FAILURE() << "an endpoint without a step has an open job";
        return Changes();
      case EndpointStep::kAskStart:
        if (random_.chance(100000)) return endpoint_outrun(state_, key, endpoint.start);
        compute.asked = endpoint.start;
        return Changes();
      case EndpointStep::kAwait: {
        if (fails)
          return endpoint_is_late(state_, key, endpoint.start, {Code::kUnavailable, "", "", ""});
        compute.start = endpoint.start;
        compute.state = ComputeState::kRunning;
        return Changes();
      }
      case EndpointStep::kRuns:
        return endpoint_runs(state_, key, endpoint.start, "runs");
      case EndpointStep::kFailed:
        return endpoint_failed(state_, key, endpoint.start, compute.failure);
      case EndpointStep::kAskStop:
        return endpoint_stopped(state_, key, endpoint.start);
    }
    VARVE_UNREACHABLE("no such step");
  }

  // What must hold from any version to the next.
  void judge(const State& before) {
    EXPECT_EQ(inconsistency(state_), "");
    EXPECT_EQ(state_.version, before.version + 1);
    for (const auto& [id, project] : before.projects) {
      const Project* now = state_.project(id);
      if (now == nullptr) {
        EXPECT_EQ(project.phase, ProjectPhase::kDeleting);
      } else {
        EXPECT_GE(now->generation, project.generation);
        EXPECT_GE(now->phase, project.phase);
      }
    }
    for (const auto& [id, branch] : before.branches) {
      const Branch* now = state_.branch(id);
      if (now == nullptr) {
        EXPECT_TRUE(state_.tombstones.contains(id)) << "a timeline was forgotten, not buried";
      } else if (branch.phase == BranchPhase::kReady) {
        EXPECT_EQ(now->start, branch.start);
        EXPECT_EQ(now->phase, branch.phase);
      }
    }
    for (const auto& [key, endpoint] : before.endpoints) {
      const Endpoint* now = state_.endpoint(key);
      if (now == nullptr) {
        EXPECT_FALSE(endpoint.may_live()) << "an endpoint was forgotten that may live";
      } else {
        EXPECT_GE(now->start, endpoint.start);
        EXPECT_GE(now->stopped, endpoint.stopped);
      }
    }
    for (const auto& [id, operation] : before.operations) {
      const Operation* now = state_.operation(id);
      if (operation.finished) {
        EXPECT_TRUE(now == nullptr || *now == operation) << "an answer was changed";
      } else {
        EXPECT_NE(now, nullptr) << "an operation without an answer was forgotten";
      }
    }
    judge_effects();
  }

  // Each operation is behind one thing at most; a project and its first branch are one.
  void judge_effects() {
    std::map<OperationId, int> effects;
    for (const auto& [id, project] : state_.projects) ++effects[project.operation];
    for (const auto& [id, branch] : state_.branches) {
      if (branch.parent) ++effects[branch.operation];
    }
    for (const auto& [id, endpoint] : state_.endpoints) ++effects[endpoint.operation];
    for (const auto& [id, count] : effects) EXPECT_LE(count, 1) << "an operation had two effects";
  }

  RandomStream random_;
  State state_;
  Computes computes_;
  std::vector<Asked> asks_;
  uint64_t incarnation_ = 0;
  uint64_t next_giving_ = 0;
  std::map<std::pair<TenantId, Generation>, uint64_t> given_;
};

}  // namespace varve::control::testing
