#include "wire/rpc_proto.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message_lite.h>

namespace varve {

Bytes serialize_proto(const google::protobuf::MessageLite& message) {
  const size_t size = message.ByteSizeLong();
  VARVE_CHECK(size <= INT32_MAX);
  if (size == 0) return Bytes();
  MutableBytes bytes(size);
  google::protobuf::io::ArrayOutputStream array(bytes.data(), static_cast<int>(size));
  google::protobuf::io::CodedOutputStream stream(&array);
  stream.SetSerializationDeterministic(true);
  message.SerializeWithCachedSizes(&stream);
  stream.Trim();
  VARVE_CHECK(!stream.HadError() && static_cast<size_t>(stream.ByteCount()) == size);
  return std::move(bytes).freeze();
}

Status parse_proto(const Bytes& bytes, std::string_view what,
                   google::protobuf::MessageLite& message) {
  if (bytes.size() > INT32_MAX) return Status(Code::kInvalid, std::string(what) + " is too large");
  google::protobuf::io::CodedInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  stream.SetRecursionLimit(64);
  if (!message.ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage()) {
    return Status(Code::kInvalid, "the message of " + std::string(what) + " can't be parsed");
  }
  return Status();
}

std::string to_utf8(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<uint8_t>(text[i]);
    const size_t length = lead < 0x80   ? 1
                          : lead < 0xC2 ? 0
                          : lead < 0xE0 ? 2
                          : lead < 0xF0 ? 3
                          : lead < 0xF5 ? 4
                                        : 0;
    bool good = length != 0 && i + length <= text.size();
    uint32_t point = length == 1 ? lead : lead & (0x7Fu >> length);
    for (size_t j = 1; good && j < length; ++j) {
      const auto next = static_cast<uint8_t>(text[i + j]);
      good = (next & 0xC0) == 0x80;
      point = point << 6 | (next & 0x3F);
    }
    // Overlong forms, surrogates, and what lies beyond the last code point.
    if (length == 3) good = good && point >= 0x800 && (point < 0xD800 || point > 0xDFFF);
    if (length == 4) good = good && point >= 0x10000 && point <= 0x10FFFF;
    safe += good ? text.substr(i, length) : std::string_view("?");
    i += good ? length : 1;
  }
  return safe;
}

}  // namespace varve
