// Status in Protobuf: the one place that knows both numberings.
#include <utility>

#include "proto/status.pb.h"
#include "wire/rpc_frame.h"
#include "wire/rpc_proto.h"

namespace varve::rpc {
namespace {

// Our code and its stable number on the wire. A cancelled handler is Unavailable to its caller.
constexpr std::pair<Code, proto::StatusCode> kCodes[] = {
    {Code::kDeadlineExceeded, proto::STATUS_DEADLINE_EXCEEDED},
    {Code::kUnavailable, proto::STATUS_UNAVAILABLE},
    {Code::kStale, proto::STATUS_STALE},
    {Code::kBelowCutoff, proto::STATUS_BELOW_CUTOFF},
    {Code::kNotFound, proto::STATUS_NOT_FOUND},
    {Code::kExists, proto::STATUS_EXISTS},
    {Code::kFull, proto::STATUS_FULL},
    {Code::kCorrupt, proto::STATUS_CORRUPT},
    {Code::kUnsupported, proto::STATUS_UNSUPPORTED},
    {Code::kInvalid, proto::STATUS_INVALID},
    {Code::kRefused, proto::STATUS_REFUSED},
    {Code::kInternal, proto::STATUS_INTERNAL},
    {Code::kCancelled, proto::STATUS_UNAVAILABLE},
};

}  // namespace

Bytes encode_status(const Status& status) {
  VARVE_CHECK(!status.ok());
  proto::Status message;
  message.set_code(proto::STATUS_INTERNAL);
  for (const auto& [code, number] : kCodes) {
    if (status.is(code)) message.set_code(number);
  }
  message.set_message(to_utf8(status.message()));
  message.set_object(to_utf8(status.detail().object));
  message.set_hint(to_utf8(status.detail().hint));
  if (status.detail().lsn) message.set_lsn(status.detail().lsn->value);
  return serialize_proto(message);
}

Status parse_status(const Bytes& bytes) {
  proto::Status message;
  Status parsed = parse_proto(bytes, "error of a call", message);
  if (!parsed.ok()) {
    return Status(Code::kInternal, "the other side failed, and its reason can't be read");
  }
  Code code = Code::kInternal;
  for (const auto& [ours, number] : kCodes) {
    if (message.code() == number) {
      code = ours;
      break;
    }
  }
  Status status(code, message.message());
  if (!message.object().empty()) status = std::move(status).with_object(message.object());
  if (!message.hint().empty()) status = std::move(status).with_hint(message.hint());
  if (message.has_lsn()) status = std::move(status).with_lsn(Lsn(message.lsn()));
  return status;
}

}  // namespace varve::rpc
