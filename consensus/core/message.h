// What proposer and acceptor say to each other: version 3 of the protocol, one message per CopyData
// frame.
//
// On one connection: greeting, greeting reply, vote request, vote reply, elected (which has no
// reply), then appends and their replies. There may be fewer replies than appends. A proposer that
// lost contact begins again from the greeting. docs/formats/wal-service-protocol.md has the bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "base/ids.h"
#include "base/lsn.h"
#include "base/time.h"
#include "consensus/core/membership.h"
#include "consensus/core/term_history.h"

namespace varve::consensus {

// The most WAL that one append carries, in bytes.
inline constexpr uint64_t kMaxAppendBytes = 128 * 1024;

// What a timeline's log is made of; equal on all members and for all proposers of a timeline.
struct ServerInfo {
  uint32_t postgres_version = 0;  // numeric form, as 150008
  uint64_t system_id = 0;         // 0: not known yet
  uint32_t segment_size = 0;      // bytes
  auto operator<=>(const ServerInfo&) const = default;
  uint32_t major() const { return postgres_version / 10000; }
};

struct ProposerGreeting {
  TenantTimelineId id;
  Membership membership;
  ServerInfo server;
  bool operator==(const ProposerGreeting&) const = default;
};

struct AcceptorGreeting {
  NodeId node;
  Membership membership;
  Term term;
  bool operator==(const AcceptorGreeting&) const = default;
};

struct VoteRequest {
  Configuration generation;
  Term term;
  bool operator==(const VoteRequest&) const = default;
};

struct VoteResponse {
  Configuration generation;
  Term term;  // the acceptor's; above the requested one when the vote was lost to somebody else
  bool granted = false;
  Lsn flush;     // end of the last complete record that is durable here
  Lsn truncate;  // every member has at least this
  TermHistory history;
  bool operator==(const VoteResponse&) const = default;
};

struct ProposerElected {
  Configuration generation;
  Term term;
  Lsn start;  // where this member is cut and streaming begins
  TermHistory history;
  bool operator==(const ProposerElected&) const = default;
};

// The header; the WAL of [begin, end) follows it on the wire and never enters the core.
struct AppendRequest {
  Configuration generation;
  Term term;
  Lsn begin;
  Lsn end;  // == begin: a heartbeat
  Lsn commit;
  Lsn truncate;
  bool operator==(const AppendRequest&) const = default;
};

// What the storage that reads a timeline tells about its progress; travels in append replies.
struct PageserverFeedback {
  uint64_t timeline_size = 0;  // logical bytes
  Lsn received;
  Lsn disk_consistent;
  Lsn remote_consistent;
  WallTime reply_time;
  uint32_t shard = 0;
  bool corruption_detected = false;
  bool operator==(const PageserverFeedback&) const = default;
};

struct HotStandbyFeedback {
  WallTime time;
  uint64_t xmin = 0;  // 64-bit transaction ids; 0: none
  uint64_t catalog_xmin = 0;
  bool operator==(const HotStandbyFeedback&) const = default;
};

// When the append's term was stale only `term` is set and all else is zero.
struct AppendResponse {
  Configuration generation;
  Term term;
  Lsn flush;
  Lsn commit;
  HotStandbyFeedback standby;
  std::optional<PageserverFeedback> pageserver;
  bool operator==(const AppendResponse&) const = default;
};

using ProposerMessage = std::variant<ProposerGreeting, VoteRequest, ProposerElected, AppendRequest>;
using AcceptorMessage = std::variant<AcceptorGreeting, VoteResponse, AppendResponse>;

}  // namespace varve::consensus
