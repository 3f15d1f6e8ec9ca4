// Bytes of the messages: version 3, big-endian, one tag byte. docs/formats/wal-service-protocol.md.
//
// Decoding is strict: a count that the frame can't hold, a flag that is neither 0 nor 1, a history
// out of order, a membership without members or a byte too many make the message Invalid, with the
// field's name.
#pragma once

#include <span>
#include <vector>

#include "base/codec.h"
#include "base/status.h"
#include "consensus/core/message.h"

namespace varve::consensus {

// The message as one frame's payload. For an append, the header only: the caller puts the WAL
// behind it.
std::vector<uint8_t> encode(const ProposerMessage& message);
std::vector<uint8_t> encode(const AcceptorMessage& message);

struct DecodedProposerMessage {
  ProposerMessage message;
  std::span<const uint8_t> wal;  // of an append: exactly end - begin bytes of the frame; else empty
};

Result<DecodedProposerMessage> decode_proposer_message(std::span<const uint8_t> frame);
Result<AcceptorMessage> decode_acceptor_message(std::span<const uint8_t> frame);

// The feedback's own encoding, which pageservers also send in a status message of their own.
void encode_feedback(const PageserverFeedback& feedback, Writer& writer);
// Unknown keys are skipped. Invalid when a length is wrong.
Result<PageserverFeedback> decode_feedback(Reader& reader);

// Memberships are also persisted and sent by RPC in this form.
void encode_membership(const Membership& membership, Writer& writer);
Result<Membership> decode_membership(Reader& reader);

}  // namespace varve::consensus
