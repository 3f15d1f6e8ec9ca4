// Ids as they stand in messages, to ours. Internal to this folder.
#pragma once

#include <cstring>
#include <string>

#include "base/ids.h"
#include "base/status.h"

namespace varve::storage {

template <class Id>
Result<Id> take_id(const std::string& bytes, const char* what) {
  Id id;
  if (bytes.size() != id.bytes.size()) {
    return Status(Code::kInvalid, std::string(what) + " is not 16 bytes");
  }
  std::memcpy(id.bytes.data(), bytes.data(), id.bytes.size());
  return id;
}

template <class Message>
Result<TenantShardId> take_shard(const Message& message) {
  VARVE_TRY_ASSIGN(const TenantId tenant, take_id<TenantId>(message.tenant(), "the tenant's id"));
  const uint32_t count = message.count() == 0 ? 1 : message.count();
  if (count > 255 || message.number() >= count) {
    return Status(Code::kInvalid, "no such shard: " + std::to_string(message.number()) + " of " +
                                      std::to_string(count));
  }
  return TenantShardId{tenant, static_cast<uint8_t>(message.number()), static_cast<uint8_t>(count)};
}

}  // namespace varve::storage
