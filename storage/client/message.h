// Ids and statuses into and out of messages. Internal to this folder.
#pragma once

#include <cstring>
#include <string>

#include "base/ids.h"
#include "base/status.h"
#include "wire/rpc_client.h"

namespace varve::storage {

template <class Message>
void name_shard(Message& message, const TenantShardId& shard) {
  message.mutable_shard()->set_tenant(shard.tenant.bytes.data(), shard.tenant.bytes.size());
  message.mutable_shard()->set_number(shard.number);
  message.mutable_shard()->set_count(shard.count);
}

template <class Message>
void name_timeline(Message& message, const TenantShardId& shard, const TimelineId& timeline) {
  name_shard(message, shard);
  message.set_timeline(timeline.bytes.data(), timeline.bytes.size());
}

inline Status wrong_answer(const RpcClient& client, const std::string& what) {
  return Status(Code::kCorrupt, "the pageserver's answer " + what)
      .with_object(client.address().to_string());
}

inline Result<TimelineId> take_timeline(const RpcClient& client, const std::string& bytes) {
  TimelineId id;
  if (bytes.size() != id.bytes.size()) return wrong_answer(client, "has an id of another length");
  std::memcpy(id.bytes.data(), bytes.data(), id.bytes.size());
  return id;
}

}  // namespace varve::storage
