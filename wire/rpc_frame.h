// Frames of our RPC as bytes. Pure. docs/formats/rpc.md is the page on them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "wire/rpc.h"

namespace varve::rpc {

inline constexpr size_t kFrameHeaderSize = 48;
inline constexpr uint16_t kVersion = 1;

// Stable numbers.
enum class FrameKind : uint8_t {
  kHello = 1,     // client's first
  kHelloAck = 2,  // server's first, unless it is kError
  kRequest = 3,
  kResponse = 4,  // ends a call
  kError = 5,     // ends a call; of call 0: ends the connection
  kStreamItem = 6,
  kStreamEnd = 7,  // no more items from this side; from the server it ends the call
  kCredit = 8,     // `value` more bytes of items may be sent
  kCancel = 9,     // the caller has lost interest
};

struct FrameHeader {
  FrameKind kind = FrameKind::kHello;
  bool stream = false;  // of a request: items may follow in both directions
  uint16_t method = 0;  // of a request
  uint64_t call = 0;    // chosen by the client, growing, never 0
  uint64_t value = 0;  // of a request: microseconds until its deadline, 0 = none; of kCredit: bytes
  uint64_t trace = 0;  // of a request
  uint32_t body_size = 0;  // everything behind the header
  uint32_t head_size = 0;
  uint32_t attachments = 0;
  uint32_t body_crc = 0;
};

// Header and payload as pieces ready for a stream; sizes and checksums are filled in. Invariant:
// the payload has at most kMaxAttachments and less than 4 GiB.
std::vector<Bytes> encode_frame(FrameHeader header, RpcPayload payload);

// Checks the header's own checksum, its kind and that its sizes fit each other and `limit`. Corrupt
// or Invalid names what is wrong.
Result<FrameHeader> parse_frame_header(std::span<const uint8_t> bytes, uint64_t limit);

// The sizes of the attachments, which stand first in the body. Invalid if they and the head don't
// add up to the body. `bytes` has 4 * header.attachments bytes.
Result<std::vector<uint32_t>> parse_attachment_sizes(const FrameHeader& header,
                                                     std::span<const uint8_t> bytes);

struct Hello {
  uint16_t oldest_version = kVersion;
  uint16_t newest_version = kVersion;
  RpcIdentity identity;
  uint64_t frame_bytes = 0;   // the sender takes frames of at most that size
  uint64_t window_bytes = 0;  // and that many bytes of items per stream before credit
  std::string token;
};
struct HelloAck {
  uint16_t version = kVersion;
  RpcIdentity identity;
  uint64_t frame_bytes = 0;
  uint64_t window_bytes = 0;
  uint64_t calls = 0;  // calls that may be in progress on this connection
};

Bytes encode_hello(const Hello& hello);
Result<Hello> parse_hello(std::span<const uint8_t> bytes);
Bytes encode_hello_ack(const HelloAck& ack);
Result<HelloAck> parse_hello_ack(std::span<const uint8_t> bytes);

// A Status as the body of a kError frame, in Protobuf. What can't be parsed becomes Internal and
// says so. A cancelled handler reaches its caller as Unavailable: the caller itself was not
// cancelled.
Bytes encode_status(const Status& status);
Status parse_status(const Bytes& bytes);

}  // namespace varve::rpc
