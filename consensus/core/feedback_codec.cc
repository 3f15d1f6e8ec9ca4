// Pageserver feedback: a count, then key, length, value, always big-endian. Readers skip keys they
// don't know, so that a newer pageserver can say more.
#include <string_view>

#include "consensus/core/message_codec.h"

namespace varve::consensus {
namespace {

Status bad_feedback(std::string_view key) {
  return Status(Code::kInvalid,
                "malformed pageserver feedback at key '" + std::string(key.substr(0, 64)) + "'");
}

void put_u64(Writer& writer, std::string_view key, uint64_t value) {
  writer.cstring(key);
  writer.be(int32_t{8});
  writer.be(value);
}

// Both spellings of the three positions are in use by peers.
bool names(std::string_view key, std::string_view short_form, std::string_view long_form) {
  return key == short_form || key == long_form;
}

// Whether a value of `size` bytes fits the field that `key` names; unknown keys fit anything.
bool fits(std::string_view key, size_t size) {
  if (key == "shard_number") return size == 4;
  if (key == "corruption_detected") return size == 1;
  const bool word = key == "current_timeline_size" || key == "ps_replytime" ||
                    names(key, "ps_writelsn", "last_received_lsn") ||
                    names(key, "ps_flushlsn", "disk_consistent_lsn") ||
                    names(key, "ps_applylsn", "remote_consistent_lsn");
  return !word || size == 8;
}

void assign(PageserverFeedback& feedback, std::string_view key, std::span<const uint8_t> value) {
  if (key == "shard_number") {
    feedback.shard = load_be<uint32_t>(value.data());
  } else if (key == "corruption_detected") {
    feedback.corruption_detected = value[0] != 0;
  } else if (key == "current_timeline_size") {
    feedback.timeline_size = load_be<uint64_t>(value.data());
  } else if (key == "ps_replytime") {
    feedback.reply_time.microseconds = load_be<int64_t>(value.data());
  } else if (names(key, "ps_writelsn", "last_received_lsn")) {
    feedback.received = Lsn(load_be<uint64_t>(value.data()));
  } else if (names(key, "ps_flushlsn", "disk_consistent_lsn")) {
    feedback.disk_consistent = Lsn(load_be<uint64_t>(value.data()));
  } else if (names(key, "ps_applylsn", "remote_consistent_lsn")) {
    feedback.remote_consistent = Lsn(load_be<uint64_t>(value.data()));
  }
}

}  // namespace

void encode_feedback(const PageserverFeedback& feedback, Writer& writer) {
  uint8_t keys = 5;
  if (feedback.shard > 0) ++keys;
  if (feedback.corruption_detected) ++keys;
  writer.u8(keys);
  put_u64(writer, "current_timeline_size", feedback.timeline_size);
  put_u64(writer, "ps_writelsn", feedback.received.value);
  put_u64(writer, "ps_flushlsn", feedback.disk_consistent.value);
  put_u64(writer, "ps_applylsn", feedback.remote_consistent.value);
  put_u64(writer, "ps_replytime", static_cast<uint64_t>(feedback.reply_time.microseconds));
  if (feedback.shard > 0) {
    writer.cstring("shard_number");
    writer.be(int32_t{4});
    writer.be(feedback.shard);
  }
  if (feedback.corruption_detected) {
    writer.cstring("corruption_detected");
    writer.be(int32_t{1});
    writer.u8(1);
  }
}

Result<PageserverFeedback> decode_feedback(Reader& reader) {
  PageserverFeedback feedback;
  const uint8_t keys = reader.u8();
  for (uint8_t i = 0; i < keys; ++i) {
    const std::string_view key = reader.cstring();
    const auto length = reader.be<int32_t>();
    if (!reader.ok() || length < 0) return bad_feedback(key);
    const auto value = reader.bytes(static_cast<size_t>(length));
    if (!reader.ok() || !fits(key, value.size())) return bad_feedback(key);
    assign(feedback, key, value);
  }
  if (!reader.ok()) return bad_feedback("(count)");
  return feedback;
}

}  // namespace varve::consensus
