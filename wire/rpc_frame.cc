#include "wire/rpc_frame.h"

#include <algorithm>

#include "base/codec.h"
#include "base/crc32c.h"

namespace varve::rpc {
namespace {

constexpr std::string_view kMagic("VARVERPC", 8);
constexpr size_t kMaxName = 64;
constexpr size_t kMaxToken = 4096;
constexpr uint8_t kStreamFlag = 1;

Status malformed(const char* what) {
  return Status(Code::kInvalid, std::string("an RPC frame is malformed: ") + what);
}

// A length and that many bytes.
void put_text(Writer& writer, std::string_view text) {
  writer.le(static_cast<uint16_t>(text.size()));
  writer.text(text);
}
std::string get_text(Reader& reader, size_t limit) {
  const uint16_t size = reader.le<uint16_t>();
  if (size > limit) reader.fail();
  const auto bytes = reader.bytes(size);
  return std::string(bytes.begin(), bytes.end());
}

void put_identity(Writer& writer, const RpcIdentity& identity) {
  writer.le(identity.node.value);
  writer.le(identity.incarnation.value);
  put_text(writer, std::string_view(identity.name).substr(0, kMaxName));
}
RpcIdentity get_identity(Reader& reader) {
  RpcIdentity identity;
  identity.node = NodeId(reader.le<uint64_t>());
  identity.incarnation = Incarnation(reader.le<uint64_t>());
  identity.name = get_text(reader, kMaxName);
  // It goes into log lines.
  std::replace_if(
      identity.name.begin(), identity.name.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return identity;
}

bool take_magic(Reader& reader) {
  const auto magic = reader.bytes(kMagic.size());
  return std::equal(magic.begin(), magic.end(), kMagic.begin(), kMagic.end());
}

}  // namespace

std::vector<Bytes> encode_frame(FrameHeader header, RpcPayload payload) {
  VARVE_CHECK(payload.attachments.size() <= kMaxAttachments);
  const uint64_t body = payload.size() + payload.attachments.size() * 4;
  VARVE_CHECK(body <= UINT32_MAX);
  header.body_size = static_cast<uint32_t>(body);
  header.head_size = static_cast<uint32_t>(payload.head.size());
  header.attachments = static_cast<uint32_t>(payload.attachments.size());

  MutableBytes front(kFrameHeaderSize + payload.attachments.size() * 4);
  uint8_t* sizes = front.data() + kFrameHeaderSize;
  for (const Bytes& attachment : payload.attachments) {
    store_le(sizes, static_cast<uint32_t>(attachment.size()));
    sizes += 4;
  }
  uint32_t crc = crc32c(front.span().subspan(kFrameHeaderSize));
  crc = crc32c(payload.head, crc);
  for (const Bytes& attachment : payload.attachments) crc = crc32c(attachment, crc);

  uint8_t* p = front.data();
  store_le(p, header.body_size);
  p[4] = static_cast<uint8_t>(header.kind);
  p[5] = header.stream ? kStreamFlag : 0;
  store_le(p + 6, header.method);
  store_le(p + 8, header.call);
  store_le(p + 16, header.value);
  store_le(p + 24, header.trace);
  store_le(p + 32, header.head_size);
  store_le(p + 36, header.attachments);
  store_le(p + 40, crc);
  store_le(p + 44, crc32c(front.span().first(44)));

  std::vector<Bytes> pieces;
  pieces.reserve(2 + payload.attachments.size());
  pieces.push_back(std::move(front).freeze());
  if (!payload.head.empty()) pieces.push_back(std::move(payload.head));
  for (Bytes& attachment : payload.attachments) {
    if (!attachment.empty()) pieces.push_back(std::move(attachment));
  }
  return pieces;
}

Result<FrameHeader> parse_frame_header(std::span<const uint8_t> bytes, uint64_t limit) {
  VARVE_CHECK(bytes.size() == kFrameHeaderSize);
  const uint8_t* p = bytes.data();
  if (load_le<uint32_t>(p + 44) != crc32c(bytes.first(44))) {
    return Status(Code::kCorrupt, "the checksum of an RPC frame's header doesn't match")
        .with_hint("is the other side a Varve process?");
  }
  FrameHeader header;
  header.body_size = load_le<uint32_t>(p);
  if (p[4] < static_cast<uint8_t>(FrameKind::kHello) ||
      p[4] > static_cast<uint8_t>(FrameKind::kCancel)) {
    return malformed("its kind is unknown");
  }
  header.kind = static_cast<FrameKind>(p[4]);
  if ((p[5] & ~kStreamFlag) != 0) return malformed("a flag is unknown");
  header.stream = p[5] != 0;
  header.method = load_le<uint16_t>(p + 6);
  header.call = load_le<uint64_t>(p + 8);
  header.value = load_le<uint64_t>(p + 16);
  header.trace = load_le<uint64_t>(p + 24);
  header.head_size = load_le<uint32_t>(p + 32);
  header.attachments = load_le<uint32_t>(p + 36);
  header.body_crc = load_le<uint32_t>(p + 40);
  if (header.body_size > limit) {
    return Status(Code::kInvalid, "an RPC frame of " + std::to_string(header.body_size) +
                                      " bytes exceeds the limit of " + std::to_string(limit));
  }
  if (header.attachments > kMaxAttachments) return malformed("it has too many attachments");
  if (uint64_t{header.head_size} + uint64_t{header.attachments} * 4 > header.body_size) {
    return malformed("its parts exceed its body");
  }
  return header;
}

Result<std::vector<uint32_t>> parse_attachment_sizes(const FrameHeader& header,
                                                     std::span<const uint8_t> bytes) {
  VARVE_CHECK(bytes.size() == size_t{header.attachments} * 4);
  std::vector<uint32_t> sizes(header.attachments);
  uint64_t total = header.head_size + bytes.size();
  for (size_t i = 0; i < sizes.size(); ++i) {
    sizes[i] = load_le<uint32_t>(bytes.data() + i * 4);
    total += sizes[i];
  }
  if (total != header.body_size) return malformed("its attachments don't add up");
  return sizes;
}

Bytes encode_hello(const Hello& hello) {
  Writer writer;
  writer.text(kMagic);
  writer.le(hello.oldest_version);
  writer.le(hello.newest_version);
  put_identity(writer, hello.identity);
  writer.le(hello.frame_bytes);
  writer.le(hello.window_bytes);
  put_text(writer, std::string_view(hello.token).substr(0, kMaxToken));
  return Bytes::copy(writer.span());
}

Result<Hello> parse_hello(std::span<const uint8_t> bytes) {
  Reader reader(bytes);
  if (!take_magic(reader)) return malformed("the hello lacks its magic");
  Hello hello;
  hello.oldest_version = reader.le<uint16_t>();
  hello.newest_version = reader.le<uint16_t>();
  hello.identity = get_identity(reader);
  hello.frame_bytes = reader.le<uint64_t>();
  hello.window_bytes = reader.le<uint64_t>();
  hello.token = get_text(reader, kMaxToken);
  // What later versions add stands behind; an old reader skips it.
  if (!reader.ok()) return malformed("the hello is cut");
  return hello;
}

Bytes encode_hello_ack(const HelloAck& ack) {
  Writer writer;
  writer.text(kMagic);
  writer.le(ack.version);
  put_identity(writer, ack.identity);
  writer.le(ack.frame_bytes);
  writer.le(ack.window_bytes);
  writer.le(ack.calls);
  return Bytes::copy(writer.span());
}

Result<HelloAck> parse_hello_ack(std::span<const uint8_t> bytes) {
  Reader reader(bytes);
  if (!take_magic(reader)) return malformed("the answer to the hello lacks its magic");
  HelloAck ack;
  ack.version = reader.le<uint16_t>();
  ack.identity = get_identity(reader);
  ack.frame_bytes = reader.le<uint64_t>();
  ack.window_bytes = reader.le<uint64_t>();
  ack.calls = reader.le<uint64_t>();
  if (!reader.ok() || ack.calls == 0) return malformed("the answer to the hello is cut");
  if (ack.version != kVersion) {
    return Status(Code::kUnsupported, "the server chose RPC version " +
                                          std::to_string(ack.version) +
                                          ", which is not spoken here");
  }
  return ack;
}

}  // namespace varve::rpc
