// What travels inside the CopyData messages of a physical replication stream, as Postgres'
// walsender and its receivers write it. Big-endian. Pure: bytes to values and back.
#pragma once

#include <cstdint>
#include <variant>

#include "base/bytes.h"
#include "base/lsn.h"
#include "base/status.h"
#include "base/time.h"

namespace varve::pg {

// 'w': a piece of the log.
struct XLogData {
  Lsn start;  // of `data`'s first byte
  Lsn end;    // how far the sender's log reaches
  WallTime sent;
  Bytes data;
};
// 'k' from the sender.
struct Keepalive {
  Lsn end;
  WallTime sent;
  bool reply_requested = false;
  bool operator==(const Keepalive&) const = default;
};
// 'r' from the receiver: how far it has got.
struct StandbyStatus {
  Lsn written;
  Lsn flushed;
  Lsn applied;
  WallTime sent;
  bool reply_requested = false;
  bool operator==(const StandbyStatus&) const = default;
};
// 'h' from a hot standby: what it still needs. 64-bit xids, epoch in the upper half; 0 = nothing.
struct HotStandbyFeedback {
  WallTime sent;
  uint64_t xmin = 0;
  uint64_t catalog_xmin = 0;
  bool operator==(const HotStandbyFeedback&) const = default;
};
// 'z' from a pageserver: key-value pairs, opaque here.
struct PageserverFeedback {
  Bytes body;
};

inline constexpr size_t kXLogDataHeaderSize = 25;

// The bytes before the log data of an 'w' message. Send them and the data as two pieces of one
// CopyData.
Bytes encode_xlog_data_header(Lsn start, Lsn end, WallTime sent);
Bytes encode(const Keepalive& message);
Bytes encode(const StandbyStatus& message);
Bytes encode(const HotStandbyFeedback& message);
Bytes encode(const PageserverFeedback& message);

using SenderMessage = std::variant<XLogData, Keepalive>;
using ReceiverMessage = std::variant<StandbyStatus, HotStandbyFeedback, PageserverFeedback>;

// One CopyData's content; log data shares its slab. Invalid for an unknown tag or a wrong length.
Result<SenderMessage> parse_sender_message(const Bytes& content);
Result<ReceiverMessage> parse_receiver_message(const Bytes& content);

}  // namespace varve::pg
