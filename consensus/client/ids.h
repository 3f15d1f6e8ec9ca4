// Ids as they stand in messages, 16 raw bytes, to ours.
#pragma once

#include <cstring>
#include <string>

#include "base/ids.h"
#include "base/status.h"

namespace varve::consensus {

// Invalid, with `what`, when it has not 16 bytes.
template <class Id>
Result<Id> get_id(const std::string& bytes, const char* what) {
  Id id;
  if (bytes.size() != id.bytes.size()) {
    return Status(Code::kInvalid, std::string(what) + " is not 16 bytes");
  }
  std::memcpy(id.bytes.data(), bytes.data(), id.bytes.size());
  return id;
}

// Of a message with the fields tenant and timeline.
template <class Message>
Result<TenantTimelineId> get_timeline_id(const Message& message) {
  TenantTimelineId id;
  VARVE_TRY_ASSIGN(id.tenant, get_id<TenantId>(message.tenant(), "the tenant's id"));
  VARVE_TRY_ASSIGN(id.timeline, get_id<TimelineId>(message.timeline(), "the timeline's id"));
  return id;
}

template <class Message>
void put_timeline_id(const TenantTimelineId& id, Message& message) {
  message.set_tenant(id.tenant.bytes.data(), id.tenant.bytes.size());
  message.set_timeline(id.timeline.bytes.data(), id.timeline.bytes.size());
}

}  // namespace varve::consensus
