#include "consensus/client/connection.h"

namespace varve::consensus {

Address address_of(const Member& member) {
  return {member.host, member.port};
}

Result<std::unique_ptr<pg::ClientConnection>> open_session(Network& network, const Address& address,
                                                           const Credentials& credentials) {
  VARVE_TRY_ASSIGN(auto stream, network.connect(address));
  pg::Parameters parameters;
  parameters.add("user", "varve");
  parameters.add("replication", "true");
  parameters.add("application_name", credentials.application);
  parameters.add("options", "-c tenant_id=" + credentials.id.tenant.to_string() +
                                " -c timeline_id=" + credentials.id.timeline.to_string());
  return pg::ClientConnection::open(std::move(stream), parameters, credentials.token);
}

// ---- push

Result<std::unique_ptr<PushConnection>> PushConnection::open(Network& network,
                                                             const Address& address,
                                                             const Credentials& credentials) {
  VARVE_TRY_ASSIGN(auto session, open_session(network, address, credentials));
  VARVE_TRY(
      session->start_copy("START_WAL_PUSH (proto_version '3', allow_timeline_creation 'false')"));
  return std::unique_ptr<PushConnection>(new PushConnection(std::move(session)));
}

Result<AcceptorMessage> PushConnection::receive() {
  VARVE_TRY_ASSIGN(auto frame, session_->copy_read());
  if (!frame) return Status(Code::kUnavailable, "the safekeeper ended the conversation");
  return decode_acceptor_message(*frame);
}

Status PushConnection::send(const ProposerMessage& message) {
  return session_->copy_write({Bytes::copy(encode(message))});
}

Status PushConnection::send_append(const AppendRequest& header, std::vector<Bytes> wal) {
  VARVE_CHECK(total_size(wal) == header.end - header.begin);
  wal.insert(wal.begin(), Bytes::copy(encode(ProposerMessage(header))));
  return session_->copy_write(std::move(wal));
}

// ---- log

Result<std::unique_ptr<LogStream>> LogStream::open(Network& network, const Address& address,
                                                   const Credentials& credentials, Lsn from,
                                                   std::optional<Term> term) {
  VARVE_TRY_ASSIGN(auto session, open_session(network, address, credentials));
  std::string command = "START_REPLICATION PHYSICAL " + from.to_string();
  if (term) command += " (term='" + term->to_string() + "')";
  VARVE_TRY(session->start_copy(command));
  std::unique_ptr<LogStream> stream(new LogStream(std::move(session)));
  stream->position_ = from;
  return stream;
}

Result<std::optional<Bytes>> LogStream::next() {
  if (!rest_.empty()) {
    position_ = position_ + rest_.size();
    return std::optional(std::exchange(rest_, Bytes()));
  }
  VARVE_TRY_ASSIGN(auto content, session_->copy_read());
  if (!content) return Status(Code::kUnavailable, "the safekeeper ended the stream");
  VARVE_TRY_ASSIGN(auto message, pg::parse_sender_message(*content));
  if (const auto* keepalive = std::get_if<pg::Keepalive>(&message)) {
    end_ = std::max(end_, keepalive->end);
    return std::optional<Bytes>();
  }
  auto& data = std::get<pg::XLogData>(message);
  if (data.start != position_) {
    return Status(Code::kInvalid, "the stream jumps from " + position_.to_string() + " to " +
                                      data.start.to_string());
  }
  position_ = position_ + data.data.size();
  end_ = std::max(end_, data.end);
  return std::optional(std::move(data.data));
}

Result<std::vector<Bytes>> LogStream::read(uint64_t length) {
  std::vector<Bytes> pieces;
  while (length > 0) {
    VARVE_TRY_ASSIGN(auto piece, next());
    if (!piece) continue;
    if (piece->size() > length) {
      rest_ = piece->slice(length);
      position_ = Lsn(position_.value - rest_.size());
      *piece = piece->slice(0, length);
    }
    length -= piece->size();
    pieces.push_back(std::move(*piece));
  }
  return pieces;
}

Status LogStream::report(const pg::StandbyStatus& status) {
  return session_->copy_write({pg::encode(status)});
}

Status LogStream::report(const PageserverFeedback& feedback) {
  Writer writer;
  encode_feedback(feedback, writer);
  return session_->copy_write({pg::encode(pg::PageserverFeedback{Bytes::copy(writer.span())})});
}

Result<MemberPosition> member_position(Network& network, const Address& address,
                                       const Credentials& credentials) {
  VARVE_TRY_ASSIGN(auto session, open_session(network, address, credentials));
  VARVE_TRY_ASSIGN(const auto result, session->query("TIMELINE_STATUS"));
  if (result.rows.empty())
    return Status(Code::kNotFound, "the safekeeper does not have this timeline");
  VARVE_TRY_ASSIGN(const std::string flush, result.text(0, 0));
  VARVE_TRY_ASSIGN(const std::string commit, result.text(0, 1));
  const auto flush_lsn = Lsn::parse(flush);
  const auto commit_lsn = Lsn::parse(commit);
  if (!flush_lsn || !commit_lsn)
    return Status(Code::kInvalid, "TIMELINE_STATUS tells no positions");
  return MemberPosition{*flush_lsn, *commit_lsn};
}

}  // namespace varve::consensus
