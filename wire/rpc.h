// The vocabulary of our RPC: what a call carries and what a method promises. docs/formats/rpc.md
// has the bytes, rpc_server.h and rpc_client.h the two ends, rpc_proto.h helpers for Protobuf
// messages.
//
// **Each call may be repeated and may arrive late** (a connection dies between request and answer,
// a cancelled call is overtaken by its successor). So each method that changes something declares
// what makes repetition harmless.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/options.h"
#include "base/time.h"
#include "runtime/scheduler.h"
#include "wire/token.h"

namespace varve {

// What makes a method safe to repeat and safe to arrive late. The receiver enforces it; the table
// in the code says it, so that a method without an answer can't be written down.
enum class Idempotence : uint8_t {
  kReadOnly,       // changes nothing
  kGeneration,     // carries a generation; an older one is Stale
  kTerm,           // carries a term; an older one is Stale
  kConfiguration,  // carries a configuration's number; an older one is Stale
  kOperationId,    // carries an operation id; a known one answers as the first time
};

// One row of a component's method table; constants in its client/ folder.
struct RpcMethod {
  uint16_t number;   // on the wire; unique among all components: the upper byte is the component's
  const char* name;  // "pageserver.get_pages", for logs and errors
  TokenScope scope;  // what a token must cover
  Idempotence idempotence;
  WorkClass work_class;  // of the fiber that handles it
};

// A request, a response or an item of a stream: a head (usually Protobuf) and attachments, which
// travel behind it without being copied into it. At most kMaxAttachments.
struct RpcPayload {
  Bytes head;
  std::vector<Bytes> attachments;

  RpcPayload() = default;
  explicit RpcPayload(Bytes h, std::vector<Bytes> a = {})
      : head(std::move(h)), attachments(std::move(a)) {}
  uint64_t size() const { return head.size() + total_size(attachments); }
};
inline constexpr size_t kMaxAttachments = 8192;

// Who speaks.
struct RpcIdentity {
  NodeId node;              // 0: a tool, a test
  Incarnation incarnation;  // 0: not told
  std::string name;         // for logs: "pageserver-1"; at most 64 bytes are sent
};

// What each side limits; told to the other in the hello.
struct RpcLimits {
  uint64_t frame_bytes = 16 << 20;
  uint64_t stream_window_bytes = 1 << 20;
  uint64_t send_queue_bytes = 4 << 20;
  uint64_t calls = 256;
  Duration handshake_timeout = Duration::seconds(5);
  Duration frame_timeout = Duration::seconds(30);
  Duration linger = Duration::seconds(1);

  template <class V>
  static void describe(V&& v) {
    v(&RpcLimits::frame_bytes, {"rpc_frame_bytes", "bytes", 16 << 10, 256 << 20,
                                "largest frame taken; bounds what one call can make us hold"});
    v(&RpcLimits::stream_window_bytes, {"rpc_stream_window_bytes", "bytes", 16 << 10, 64 << 20,
                                        "what a stream may have in flight; its item must fit"});
    v(&RpcLimits::send_queue_bytes,
      {"rpc_send_queue_bytes", "bytes", 1, 64 << 20, "unsent bytes from which on senders wait"});
    v(&RpcLimits::calls, {"rpc_calls", "count", 1, 65536, "calls in progress on one connection"});
    v(&RpcLimits::handshake_timeout,
      {"rpc_handshake_timeout", "ms", 10, 60000, "a peer that doesn't say hello frees its place"});
    v(&RpcLimits::frame_timeout, {"rpc_frame_timeout", "ms", 100, 600000,
                                  "a frame that began must end, or its sender is gone"});
    v(&RpcLimits::linger,
      {"rpc_linger", "ms", 0, 60000, "how long a refused peer may take to read why"});
  }
};

}  // namespace varve
