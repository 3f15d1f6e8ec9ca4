#include "wire/pg/replication.h"

#include <string>

#include "base/codec.h"

namespace varve::pg {
namespace {

Status malformed(const char* what, const Bytes& content) {
  return Status(Code::kInvalid, std::string("a replication message (") + what + ") of " +
                                    std::to_string(content.size()) + " bytes is malformed");
}

// Postgres writes the two halves of a 64-bit xid the other way round: xid first, then epoch.
uint64_t swap_halves(uint64_t value) {
  return value << 32 | value >> 32;
}

}  // namespace

Bytes encode_xlog_data_header(Lsn start, Lsn end, WallTime sent) {
  MutableBytes header(kXLogDataHeaderSize);
  header.data()[0] = 'w';
  store_be(header.data() + 1, start.value);
  store_be(header.data() + 9, end.value);
  store_be(header.data() + 17, sent.microseconds);
  return std::move(header).freeze();
}

Bytes encode(const Keepalive& message) {
  Writer writer;
  writer.u8('k');
  writer.be(message.end.value);
  writer.be(message.sent.microseconds);
  writer.u8(message.reply_requested ? 1 : 0);
  return Bytes::copy(writer.span());
}

Bytes encode(const StandbyStatus& message) {
  Writer writer;
  writer.u8('r');
  writer.be(message.written.value);
  writer.be(message.flushed.value);
  writer.be(message.applied.value);
  writer.be(message.sent.microseconds);
  writer.u8(message.reply_requested ? 1 : 0);
  return Bytes::copy(writer.span());
}

Bytes encode(const HotStandbyFeedback& message) {
  Writer writer;
  writer.u8('h');
  writer.be(message.sent.microseconds);
  writer.be(swap_halves(message.xmin));
  writer.be(swap_halves(message.catalog_xmin));
  return Bytes::copy(writer.span());
}

Bytes encode(const PageserverFeedback& message) {
  Writer writer;
  writer.u8('z');
  writer.be(static_cast<uint64_t>(message.body.size()));
  writer.bytes(message.body);
  return Bytes::copy(writer.span());
}

Result<SenderMessage> parse_sender_message(const Bytes& content) {
  Reader reader(content);
  switch (reader.u8()) {
    case 'w': {
      XLogData message;
      message.start = Lsn(reader.be<uint64_t>());
      message.end = Lsn(reader.be<uint64_t>());
      message.sent.microseconds = reader.be<int64_t>();
      if (!reader.ok()) return malformed("w", content);
      if (message.start.value > UINT64_MAX - reader.remaining()) return malformed("w", content);
      message.data = content.slice(reader.position());
      return SenderMessage(std::move(message));
    }
    case 'k': {
      Keepalive message;
      message.end = Lsn(reader.be<uint64_t>());
      message.sent.microseconds = reader.be<int64_t>();
      message.reply_requested = reader.u8() != 0;
      if (!reader.done()) return malformed("k", content);
      return SenderMessage(message);
    }
    default:
      return malformed("unknown tag", content);
  }
}

Result<ReceiverMessage> parse_receiver_message(const Bytes& content) {
  Reader reader(content);
  switch (reader.u8()) {
    case 'r': {
      StandbyStatus message;
      message.written = Lsn(reader.be<uint64_t>());
      message.flushed = Lsn(reader.be<uint64_t>());
      message.applied = Lsn(reader.be<uint64_t>());
      message.sent.microseconds = reader.be<int64_t>();
      message.reply_requested = reader.u8() != 0;
      if (!reader.done()) return malformed("r", content);
      return ReceiverMessage(message);
    }
    case 'h': {
      HotStandbyFeedback message;
      message.sent.microseconds = reader.be<int64_t>();
      message.xmin = swap_halves(reader.be<uint64_t>());
      message.catalog_xmin = swap_halves(reader.be<uint64_t>());
      if (!reader.done()) return malformed("h", content);
      return ReceiverMessage(message);
    }
    case 'z': {
      // The length is written for readers that skip the tag; one that lies is a broken peer.
      const uint64_t length = reader.be<uint64_t>();
      if (!reader.ok() || length != reader.remaining()) return malformed("z", content);
      return ReceiverMessage(PageserverFeedback{content.slice(reader.position())});
    }
    default:
      return malformed("unknown tag", content);
  }
}

}  // namespace varve::pg
