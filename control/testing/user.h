// A user of control: asks until there is an answer, and judges what it was told against the truth.
// Test support.
#pragma once

#include <algorithm>
#include <optional>
#include <string>

#include "control/peers.h"
#include "control/testing/model_fleet.h"

namespace varve::control::testing {

// A user: asks until there is an answer, always under one operation id.
class User {
 public:
  User(World& world, Truth& truth, Scope& scope)
      : world_(world),
        truth_(truth),
        client_(world.network, world.random, scope, Address{"control", kPort},
                token(TokenScope::kAdmin), {NodeId(), {}, "user"}) {}

  template <class Response, class Request>
  Result<Response> change(const RpcMethod& method, Request request) {
    const auto id = world_.random.unique_bytes("operation");
    request.set_operation(id.data(), id.size());
    Result<Response> response = ask<Response>(method, request);
    // The answer was lost, perhaps: it is the same one. What changed nothing (a stop of what didn't
    // run) is not remembered; asked again, it is told how things are now.
    if (!response.ok() || world_.random.below(4, "ask again") != 0) return response;
    OperationId operation;
    std::copy(id.begin(), id.end(), operation.bytes.begin());
    if (truth_.kept.operation(operation) == nullptr) return response;
    const Result<Response> again = ask<Response>(method, request);
    if (!again.ok() || again->SerializeAsString() != response->SerializeAsString()) {
      truth_.sim.violation(std::string(method.name) + " answered twice, differently: " +
                           (again.ok() ? "another answer" : again.status().to_string()));
    }
    return response;
  }

  template <class Response, class Request>
  Result<Response> ask(const RpcMethod& method, const Request& request) {
    for (int i = 0; i < 200; ++i) {
      Result<Response> response = ask_peer(client_, Duration::seconds(70), [&](RpcClient& client) {
        return call<Response>(client, method, request);
      });
      VARVE_TRY(check_cancelled());
      const bool again = response.is(Code::kUnavailable) || response.is(Code::kDeadlineExceeded);
      if (!again) return response;
      VARVE_TRY(sleep_for(Duration::millis(100)));
    }
    return Status(Code::kUnavailable, "no answer");
  }

  Status create_project(const std::string& name) {
    proto::CreateProjectRequest request;
    request.set_name(name);
    VARVE_TRY_ASSIGN(const auto response,
                     change<proto::CreateProjectResponse>(kCreateProject, request));
    VARVE_TRY_ASSIGN(const TenantTimelineId id, consensus::get_timeline_id(response.branch()));
    judge_branch(id, response.branch(), kImportEnd, 3);
    return Status();
  }

  Result<proto::Branch> create_branch(const std::string& project, const std::string& name,
                                      const std::string& parent, std::optional<Lsn> lsn = {}) {
    const Branch* of = branch(project, parent);
    const TenantTimelineId parent_id = of == nullptr ? TenantTimelineId() : of->id;
    const Lsn acknowledged = of == nullptr ? Lsn() : truth_.ends[parent_id];
    proto::CreateBranchRequest request;
    request.set_project(project);
    request.set_name(name);
    request.set_parent(parent);
    if (lsn) request.set_lsn(lsn->value);
    VARVE_TRY_ASSIGN(const auto response,
                     change<proto::CreateBranchResponse>(kCreateBranch, request));
    VARVE_TRY_ASSIGN(const TenantTimelineId id, consensus::get_timeline_id(response.branch()));
    // Another one may have taken the parent's name before the request arrived.
    const bool same = id.tenant == parent_id.tenant &&
                      std::ranges::equal(response.branch().parent(), parent_id.timeline.bytes, {},
                                         [](char c) { return static_cast<uint8_t>(c); });
    judge_branch(id, response.branch(), lsn ? *lsn : same ? acknowledged : Lsn(), 2);
    return response.branch();
  }

  Status delete_branch(const std::string& project, const std::string& name) {
    proto::DeleteBranchRequest request;
    request.set_project(project);
    request.set_name(name);
    return change<proto::DeleteBranchResponse>(kDeleteBranch, request).status();
  }

  Status create_endpoint(const std::string& project, const std::string& branch) {
    proto::CreateEndpointRequest request;
    request.set_project(project);
    request.set_branch(branch);
    return change<proto::CreateEndpointResponse>(kCreateEndpoint, request).status();
  }

  Status start_endpoint(const std::string& project, const std::string& name) {
    proto::StartEndpointRequest request;
    request.set_project(project);
    request.set_name(name);
    return change<proto::StartEndpointResponse>(kStartEndpoint, request).status();
  }

  Status stop_endpoint(const std::string& project, const std::string& name) {
    proto::StopEndpointRequest request;
    request.set_project(project);
    request.set_name(name);
    return change<proto::StopEndpointResponse>(kStopEndpoint, request).status();
  }

  Status delete_endpoint(const std::string& project, const std::string& name) {
    proto::DeleteEndpointRequest request;
    request.set_project(project);
    request.set_name(name);
    return change<proto::DeleteEndpointResponse>(kDeleteEndpoint, request).status();
  }

  Status delete_project(const std::string& name) {
    proto::DeleteProjectRequest request;
    request.set_name(name);
    return change<proto::DeleteProjectResponse>(kDeleteProject, request).status();
  }

 private:
  const Branch* branch(const std::string& project, const std::string& name) {
    const Project* of = truth_.kept.project(project);
    return of == nullptr ? nullptr : truth_.kept.branch(of->id, name);
  }

  // What was answered for exists. It may have been deleted by the time the answer comes.
  void judge_branch(const TenantTimelineId& id, const proto::Branch& branch, Lsn at_least,
                    size_t safekeepers) {
    if (Lsn(branch.start_lsn()) < at_least)
      truth_.sim.violation("a branch lacks what was acknowledged before it was asked for");
    if (truth_.kept.branch(id) == nullptr) return;
    const auto there = truth_.pageserver.timelines.find(id);
    if (there == truth_.pageserver.timelines.end() ||
        there->second.start != Lsn(branch.start_lsn()))
      return truth_.sim.violation("a branch that was answered for is not at the pageserver");
    size_t have = 0;
    for (const char* name : kSafekeepers) {
      const auto& timelines = truth_.safekeepers[name].timelines;
      const auto found = timelines.find(id);
      have += found != timelines.end() && found->second == there->second;
    }
    if (have < safekeepers)
      truth_.sim.violation("a branch that was answered for is not on enough safekeepers");
  }

  World& world_;
  Truth& truth_;
  RpcClient client_;
};

// Wants things at random, some of which can't be had.
inline void wish_at_random(World& world, User& user, int wishes) {
  const auto draw = [&](uint64_t bound) { return world.random.below(bound, "wish"); };
  const auto name = [&](const char* prefix) { return prefix + std::to_string(draw(3)); };
  for (int i = 0; i < wishes; ++i) {
    const std::string project = name("p");
    const std::string branch = draw(2) == 0 ? "main" : name("b");
    switch (draw(13)) {
      case 0:
      case 1:
        user.create_project(project).ignore("it may be there");
        break;
      case 2:
        user.delete_project(project).ignore("it may be used");
        break;
      case 3:
      case 4:
      case 5:
        user.create_branch(project, name("b"), branch).status().ignore("it may be there");
        break;
      case 6:
        user.delete_branch(project, branch).ignore("it may be used");
        break;
      case 7:
        user.create_endpoint(project, branch).ignore("it may be there");
        break;
      case 8:
      case 9:
      case 10:
        user.start_endpoint(project, branch).ignore("it may not be there");
        break;
      case 11:
        user.delete_endpoint(project, branch).ignore("it may run");
        break;
      default:
        user.stop_endpoint(project, branch).ignore("it may not run");
        break;
    }
  }
}

}  // namespace varve::control::testing
