// What happened, as changes of the state: the commits by which flows end or begin again. Pure.
//
// All tolerate that the thing they speak of has gone meanwhile: then there is nothing to change.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "control/plan/state.h"

namespace varve::control {

// Finished operations that are kept; older ones are forgotten, and asking again under their id is
// a new request.
inline constexpr size_t kOperationsKept = 4096;
void forget_old_operations(const State& state, Changes& changes);

// Finishes the operation, unless it is finished or not known.
Changes finish(const State& state, const OperationId& operation, const Failure& failure,
               std::string response);
// The operation that last changed what is wanted of `endpoint` will never come to its end.
Changes superseded(const State& state, const Endpoint& endpoint, std::string_view why);

// A pageserver's life gets a new generation of every tenant, also of those whose timelines it has
// to delete; the life that is registered already keeps what it got.
Changes plan_register(const State& state, const Registration& registration);

// The making of a project begins again: with a new generation, since the last one may be on its way
// to a pageserver still, and, unless nothing was done under the old one, with a new timeline.
Changes project_again(const State& state, const TenantId& tenant,
                      const std::optional<TimelineId>& timeline,
                      const std::set<NodeId>& safekeepers, const std::set<NodeId>& keepers);
// Its cluster is imported and every safekeeper has its log.
Changes project_made(const State& state, const TenantId& tenant, Lsn start, uint64_t system_id,
                     uint32_t segment_size, std::string response);
// It can't be made: forgotten, with what there was of it buried.
Changes project_failed(const State& state, const TenantId& tenant, const Failure& failure,
                       const std::set<NodeId>& keepers);
// A tenant that is being deleted is to be attached again, so that its timelines can be.
Changes give_again(const State& state, const TenantId& tenant);
// The pageserver has let the tenant go. Nothing while it has timelines to delete.
Changes project_gone(const State& state, const TenantId& tenant);

// The branch begins at `start` and is everywhere but on `missing`.
Changes branch_made(const State& state, const TenantTimelineId& id, Lsn start,
                    const std::set<NodeId>& missing, std::string response);
Changes branch_failed(const State& state, const TenantTimelineId& id, const Failure& failure,
                      const std::set<NodeId>& keepers);
// This safekeeper has the branch now.
Changes branch_completed(const State& state, const TenantTimelineId& id, NodeId safekeeper);
// These keepers have nothing of the timeline any more; the last one takes the tombstone away.
Changes buried(const State& state, const TenantTimelineId& id, const std::set<NodeId>& keepers);
// Whether a pageserver has to delete timelines of this tenant.
bool has_timelines_to_delete(const State& state, const TenantId& tenant);

// Its process runs, or can't: then it is not wanted any more.
Changes endpoint_runs(const State& state, const EndpointKey& key, uint64_t start,
                      std::string response);
Changes endpoint_failed(const State& state, const EndpointKey& key, uint64_t start,
                        const Failure& failure);
// It takes longer than the asker waits for; it stays wanted.
Changes endpoint_is_late(const State& state, const EndpointKey& key, uint64_t start,
                         const Failure& failure);
// No process of this start, or of an earlier one, is left.
Changes endpoint_stopped(const State& state, const EndpointKey& key, uint64_t start);
// The supervisor knows a later start than we do: we go beyond it.
Changes endpoint_outrun(const State& state, const EndpointKey& key, uint64_t start);

}  // namespace varve::control
