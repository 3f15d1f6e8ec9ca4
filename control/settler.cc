#include "control/settler.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "compute/client/methods.h"
#include "consensus/client/safekeeper_client.h"
#include "proto/compute.pb.h"
#include "wire/rpc_proto.h"

namespace varve::control {
namespace {

// The reports of a quorum of safekeepers, or why there is none.
Result<std::vector<consensus::TimelineReport>> quorum_reports(Peers& peers,
                                                              const TenantTimelineId& timeline,
                                                              Duration timeout) {
  const auto& places = peers.fleet().safekeepers;
  std::vector<consensus::TimelineReport> reports;
  Status last;
  Scope scope("safekeepers' positions");
  for (const SafekeeperPlace& place : places) {
    scope.spawn("position", [&, node = place.node] {
      auto report = ask_peer(peers.safekeeper(node), timeout, [&](RpcClient& client) {
        return consensus::timeline_report(client, timeline);
      });
      if (report.ok() && report->state.ok()) {
        reports.push_back(std::move(*report));
      } else {
        last = report.ok() ? report->state : report.status();
      }
    });
  }
  VARVE_TRY(scope.join());
  if (reports.size() >= consensus::quorum_size(places.size())) return reports;
  return std::move(last).with_context("no quorum of safekeepers answers");
}

// The term of the last record that the log holds.
Term last_log_term(const consensus::TimelineReport& report) {
  return report.history.last_term(report.flush);
}

}  // namespace

Mutex& Settler::writer_lock(const TenantTimelineId& timeline) {
  std::unique_ptr<Mutex>& lock = locks_[timeline];
  if (lock == nullptr) lock = std::make_unique<Mutex>();
  return *lock;
}

Result<Lsn> Settler::settle(const TenantTimelineId& timeline, bool* exact) {
  if (exact != nullptr) *exact = true;
  const Instant deadline = now() + options_.settle_timeout;
  // Once known it stays at or above what was acknowledged before the question.
  std::optional<Lsn> end_of_quorum;
  Status last;
  while (now() < deadline) {
    const Endpoint* found = ledger_.state().writer_of(timeline);
    if (found == nullptr) return elect(timeline);
    const Endpoint writer = *found;
    Result<Lsn> asked = ask_compute(timeline, writer);
    if (asked.ok()) return asked;
    VARVE_TRY(check_cancelled());
    last = asked.status();
    if (!end_of_quorum) {
      const Result<Lsn> end = quorum_end(timeline);
      if (end.ok()) end_of_quorum = *end;
    }
    if (end_of_quorum) {
      const Result<bool> committed = quorum_has_committed(timeline, *end_of_quorum);
      if (committed.ok() && *committed) {
        if (exact != nullptr) *exact = false;  // a record may run over it
        return *end_of_quorum;
      }
    }
    const Status waited =
        ledger_.wait_change("the compute to begin a life", now() + options_.settle_pause);
    if (!waited.ok() && !waited.is(Code::kDeadlineExceeded)) return waited;
    VARVE_TRY(check_cancelled());
  }
  return Status(Code::kUnavailable, "where the branch's log ends can't be told: " + last.message())
      .with_hint("its endpoint is not reachable; wait for it, or stop it");
}

Result<Lsn> Settler::ask_compute(const TenantTimelineId& timeline, const Endpoint& writer) {
  const EndpointKey key{writer.tenant, writer.name};
  const Compute* compute = ledger_.compute(key);
  if (compute == nullptr || compute->start != writer.start ||
      compute->state != ComputeState::kRunning || compute->rpc_port == 0) {
    return Status(Code::kUnavailable, "endpoint '" + writer.name + "' does not run yet");
  }
  const std::shared_ptr<RpcClient> client =
      peers_.compute(key, Address{compute->host, compute->rpc_port});
  proto::SettleRequest request;
  request.set_tenant(timeline.tenant.bytes.data(), timeline.tenant.bytes.size());
  request.set_timeline(timeline.timeline.bytes.data(), timeline.timeline.bytes.size());
  VARVE_TRY_ASSIGN(const auto response,
                   ask_peer(*client, options_.call_timeout, [&](RpcClient& asked) {
                     return call<proto::SettleResponse>(asked, compute::kSettle, request);
                   }));
  if (response.lsn() == 0) return Status(Code::kCorrupt, "the compute settled at no position");
  return Lsn(response.lsn());
}

Result<Lsn> Settler::elect(const TenantTimelineId& timeline) {
  const MutexGuard lock(writer_lock(timeline), "another election or a start of this branch");
  VARVE_TRY(lock.status());
  const State& state = ledger_.state();
  if (state.writer_of(timeline) != nullptr) {
    return Status(Code::kUnavailable, "an endpoint of the branch was started meanwhile");
  }
  const Project* project = state.project(timeline.tenant);
  if (project == nullptr || state.branch(timeline) == nullptr) {
    return Status(Code::kNotFound, "the branch was deleted meanwhile");
  }
  const auto known = settled_.find(timeline);
  if (known != settled_.end()) return known->second;
  const DeadlineGuard limit(options_.settle_timeout);
  const Project copy = *project;
  VARVE_TRY_ASSIGN(const Lsn end, elector_.elect(copy, timeline));
  settled_[timeline] = end;
  return end;
}

Result<Lsn> Settler::quorum_end(const TenantTimelineId& timeline) {
  VARVE_TRY_ASSIGN(const auto reports, quorum_reports(peers_, timeline, options_.call_timeout));
  const auto newest =
      std::max_element(reports.begin(), reports.end(), [](const auto& a, const auto& b) {
        return std::pair(last_log_term(a), a.flush) < std::pair(last_log_term(b), b.flush);
      });
  return newest->flush;
}

Result<bool> Settler::quorum_has_committed(const TenantTimelineId& timeline, Lsn lsn) {
  VARVE_TRY_ASSIGN(const auto reports, quorum_reports(peers_, timeline, options_.call_timeout));
  return std::any_of(reports.begin(), reports.end(),
                     [lsn](const auto& report) { return report.commit >= lsn; });
}

}  // namespace varve::control
