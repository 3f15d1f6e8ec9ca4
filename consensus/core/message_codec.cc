#include "consensus/core/message_codec.h"

#include <string>
#include <string_view>

namespace varve::consensus {
namespace {

// More members than any timeline has; keeps a hostile count from reserving memory.
constexpr uint32_t kMaxMembers = 64;
constexpr size_t kMaxHostLength = 255;
constexpr size_t kTermStartBytes = 16;

Status malformed(const char* what) {
  return Status(Code::kInvalid, std::string("malformed message of the WAL service: ") + what)
      .with_hint("the peer speaks another version, or the connection is damaged");
}

void put(Writer& writer, Configuration generation) {
  writer.be(static_cast<uint32_t>(generation.value));
}
void put(Writer& writer, Term term) {
  writer.be(term.value);
}
void put(Writer& writer, Lsn lsn) {
  writer.be(lsn.value);
}

Configuration get_generation(Reader& reader) {
  return Configuration(reader.be<uint32_t>());
}
Term get_term(Reader& reader) {
  return Term(reader.be<uint64_t>());
}
Lsn get_lsn(Reader& reader) {
  return Lsn(reader.be<uint64_t>());
}

void put_members(Writer& writer, const std::vector<Member>& members) {
  writer.be(static_cast<uint32_t>(members.size()));
  for (const Member& member : members) {
    writer.be(member.node.value);
    writer.cstring(member.host);
    writer.be(member.port);
  }
}

Result<std::vector<Member>> get_members(Reader& reader) {
  const auto count = reader.be<uint32_t>();
  if (count > kMaxMembers) return malformed("too many members");
  std::vector<Member> members;
  for (uint32_t i = 0; i < count; ++i) {
    Member member;
    member.node = NodeId(reader.be<uint64_t>());
    member.host = reader.cstring();
    member.port = reader.be<uint16_t>();
    if (!reader.ok()) return malformed("the member list is cut short");
    if (member.host.size() > kMaxHostLength) return malformed("a member's host is too long");
    for (const Member& other : members) {
      if (other.node == member.node) return malformed("a member is listed twice");
    }
    members.push_back(std::move(member));
  }
  return members;
}

void put_history(Writer& writer, const TermHistory& history) {
  writer.be(static_cast<uint32_t>(history.size()));
  for (const TermStart& entry : history.entries()) {
    put(writer, entry.term);
    put(writer, entry.start);
  }
}

Result<TermHistory> get_history(Reader& reader) {
  const auto count = reader.be<uint32_t>();
  if (count > reader.remaining() / kTermStartBytes) return malformed("the history is cut short");
  std::vector<TermStart> entries;
  entries.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    const Term term = get_term(reader);
    const Lsn start = get_lsn(reader);
    entries.push_back({term, start});
  }
  if (!TermHistory::well_formed(entries)) return malformed("the term history is out of order");
  return TermHistory(std::move(entries));
}

struct Encoder {
  Writer writer;

  void operator()(const ProposerGreeting& m) {
    writer.u8('g');
    writer.cstring(m.id.tenant.to_string());
    writer.cstring(m.id.timeline.to_string());
    encode_membership(m.membership, writer);
    writer.be(m.server.postgres_version);
    writer.be(m.server.system_id);
    writer.be(m.server.segment_size);
  }
  void operator()(const VoteRequest& m) {
    writer.u8('v');
    put(writer, m.generation);
    put(writer, m.term);
  }
  void operator()(const ProposerElected& m) {
    writer.u8('e');
    put(writer, m.generation);
    put(writer, m.term);
    put(writer, m.start);
    put_history(writer, m.history);
  }
  void operator()(const AppendRequest& m) {
    writer.u8('a');
    put(writer, m.generation);
    put(writer, m.term);
    put(writer, m.begin);
    put(writer, m.end);
    put(writer, m.commit);
    put(writer, m.truncate);
  }
  void operator()(const AcceptorGreeting& m) {
    writer.u8('g');
    writer.be(m.node.value);
    encode_membership(m.membership, writer);
    put(writer, m.term);
  }
  void operator()(const VoteResponse& m) {
    writer.u8('v');
    put(writer, m.generation);
    put(writer, m.term);
    writer.u8(m.granted ? 1 : 0);
    put(writer, m.flush);
    put(writer, m.truncate);
    put_history(writer, m.history);
  }
  void operator()(const AppendResponse& m) {
    writer.u8('a');
    put(writer, m.generation);
    put(writer, m.term);
    put(writer, m.flush);
    put(writer, m.commit);
    writer.be(m.standby.time.microseconds);
    writer.be(m.standby.xmin);
    writer.be(m.standby.catalog_xmin);
    if (m.pageserver) encode_feedback(*m.pageserver, writer);
  }
};

Result<ProposerMessage> get_proposer_greeting(Reader& reader) {
  ProposerGreeting m;
  const auto tenant = TenantId::parse(reader.cstring());
  const auto timeline = TimelineId::parse(reader.cstring());
  if (!tenant || !timeline) return malformed("a greeting needs a tenant and a timeline id");
  m.id = {*tenant, *timeline};
  VARVE_TRY_ASSIGN(m.membership, decode_membership(reader));
  m.server.postgres_version = reader.be<uint32_t>();
  m.server.system_id = reader.be<uint64_t>();
  m.server.segment_size = reader.be<uint32_t>();
  return ProposerMessage(std::move(m));
}

Result<ProposerMessage> get_elected(Reader& reader) {
  ProposerElected m;
  m.generation = get_generation(reader);
  m.term = get_term(reader);
  m.start = get_lsn(reader);
  VARVE_TRY_ASSIGN(m.history, get_history(reader));
  if (m.history.empty()) return malformed("elected with an empty history");
  if (m.history.last().term != m.term) return malformed("elected in a term its history lacks");
  return ProposerMessage(std::move(m));
}

Result<ProposerMessage> get_append(Reader& reader) {
  AppendRequest m;
  m.generation = get_generation(reader);
  m.term = get_term(reader);
  m.begin = get_lsn(reader);
  m.end = get_lsn(reader);
  m.commit = get_lsn(reader);
  m.truncate = get_lsn(reader);
  if (!reader.ok()) return malformed("append is cut short");
  if (m.end < m.begin) return malformed("append ends before it begins");
  if (m.end - m.begin > kMaxAppendBytes) return malformed("append is larger than 128 KiB");
  if (reader.remaining() != m.end - m.begin) return malformed("append has the wrong length");
  return ProposerMessage(m);
}

Result<AcceptorMessage> get_vote_response(Reader& reader) {
  VoteResponse m;
  m.generation = get_generation(reader);
  m.term = get_term(reader);
  const uint8_t granted = reader.u8();
  m.flush = get_lsn(reader);
  m.truncate = get_lsn(reader);
  VARVE_TRY_ASSIGN(m.history, get_history(reader));
  if (granted > 1) return malformed("a vote is granted or it is not");
  m.granted = granted == 1;
  return AcceptorMessage(std::move(m));
}

Result<AcceptorMessage> get_append_response(Reader& reader) {
  AppendResponse m;
  m.generation = get_generation(reader);
  m.term = get_term(reader);
  m.flush = get_lsn(reader);
  m.commit = get_lsn(reader);
  m.standby.time.microseconds = reader.be<int64_t>();
  m.standby.xmin = reader.be<uint64_t>();
  m.standby.catalog_xmin = reader.be<uint64_t>();
  if (reader.ok() && reader.remaining() > 0) {
    VARVE_TRY_ASSIGN(m.pageserver, decode_feedback(reader));
  }
  return AcceptorMessage(std::move(m));
}

Result<AcceptorMessage> get_acceptor_greeting(Reader& reader) {
  AcceptorGreeting m;
  m.node = NodeId(reader.be<uint64_t>());
  VARVE_TRY_ASSIGN(m.membership, decode_membership(reader));
  m.term = get_term(reader);
  return AcceptorMessage(std::move(m));
}

}  // namespace

std::vector<uint8_t> encode(const ProposerMessage& message) {
  Encoder encoder;
  std::visit(encoder, message);
  return encoder.writer.take();
}

std::vector<uint8_t> encode(const AcceptorMessage& message) {
  Encoder encoder;
  std::visit(encoder, message);
  return encoder.writer.take();
}

void encode_membership(const Membership& membership, Writer& writer) {
  put(writer, membership.generation);
  put_members(writer, membership.members);
  put_members(writer, membership.new_members);
}

Result<Membership> decode_membership(Reader& reader) {
  Membership membership;
  membership.generation = get_generation(reader);
  VARVE_TRY_ASSIGN(membership.members, get_members(reader));
  VARVE_TRY_ASSIGN(membership.new_members, get_members(reader));
  if (!reader.ok()) return malformed("the membership is cut short");
  if (membership.members.empty() && membership.generation.value != 0) {
    return malformed("a membership without members");
  }
  if (membership.members.empty() && !membership.new_members.empty()) {
    return malformed("a joint membership without old members");
  }
  return membership;
}

Result<DecodedProposerMessage> decode_proposer_message(std::span<const uint8_t> frame) {
  Reader reader(frame);
  const uint8_t tag = reader.u8();
  Result<ProposerMessage> message = malformed("unknown tag");
  switch (tag) {
    case 'g':
      message = get_proposer_greeting(reader);
      break;
    case 'v': {
      VoteRequest m;
      m.generation = get_generation(reader);
      m.term = get_term(reader);
      message = ProposerMessage(m);
      break;
    }
    case 'e':
      message = get_elected(reader);
      break;
    case 'a':
      message = get_append(reader);
      break;
  }
  if (!message.ok()) return message.status();
  const bool append = std::holds_alternative<AppendRequest>(*message);
  const auto wal = append ? reader.rest() : std::span<const uint8_t>{};
  if (!reader.ok()) return malformed("cut short");
  if (!append && reader.remaining() != 0) return malformed("bytes behind its end");
  return DecodedProposerMessage{std::move(message).value(), wal};
}

Result<AcceptorMessage> decode_acceptor_message(std::span<const uint8_t> frame) {
  Reader reader(frame);
  const uint8_t tag = reader.u8();
  Result<AcceptorMessage> message = malformed("unknown tag");
  switch (tag) {
    case 'g':
      message = get_acceptor_greeting(reader);
      break;
    case 'v':
      message = get_vote_response(reader);
      break;
    case 'a':
      message = get_append_response(reader);
      break;
  }
  if (!message.ok()) return message.status();
  if (!reader.ok()) return malformed("cut short");
  if (reader.remaining() != 0) return malformed("bytes behind its end");
  return message;
}

}  // namespace varve::consensus
