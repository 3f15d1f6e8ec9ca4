#include "wire/pg/client.h"

#include <utility>

namespace varve::pg {
namespace {

constexpr size_t kMaxServerParameters = 256;

enum AuthenticationCode : uint32_t {
  kAuthenticationOk = 0,
  kAuthenticationCleartext = 3,
};

Status unexpected(const Message& message, const char* when) {
  return Status(Code::kInvalid,
                "the server sent a message of type " + std::to_string(message.type) + " " + when);
}

// An error of the server ends a copy while other fibers may still be about to use it; hence no
// assertion.
Status no_copy() {
  return Status(Code::kUnavailable, "no copy is open");
}

}  // namespace

Result<std::string> QueryResult::text(size_t row, size_t column) const {
  if (row >= rows.size() || column >= rows[row].size() || !rows[row][column]) {
    return Status(Code::kInvalid, "a result has no value in row " + std::to_string(row) +
                                      ", column " + std::to_string(column));
  }
  return *rows[row][column];
}

ClientConnection::ClientConnection(std::unique_ptr<Stream> stream, ClientOptions options)
    : stream_(std::move(stream)), options_(options), reader_(*stream_) {}

Result<std::unique_ptr<ClientConnection>> ClientConnection::open(std::unique_ptr<Stream> stream,
                                                                 const Parameters& parameters,
                                                                 std::string_view password,
                                                                 ClientOptions options) {
  std::unique_ptr<ClientConnection> connection(new ClientConnection(std::move(stream), options));
  VARVE_TRY(connection->start(parameters, password));
  return connection;
}

Status ClientConnection::lost(Status status) {
  VARVE_CHECK(!status.ok());
  if (lost_.ok()) {
    lost_ = status;
    stream_->abort();
  }
  return status;
}

Status ClientConnection::write(std::vector<Bytes> pieces) {
  MutexGuard guard(writing_, "another message being written");
  VARVE_TRY(guard.status());
  if (!lost_.ok()) return lost_;
  Status status = stream_->write(std::move(pieces));
  return status.ok() ? status : lost(std::move(status));
}

// The next message that is not a notice, a notification or a changed parameter.
Result<Message> ClientConnection::next() {
  while (true) {
    if (!lost_.ok()) return lost_;
    Result<Message> message = read_message(reader_, options_.message_bytes);
    if (message.is(Code::kNotFound)) {
      return lost(Status(Code::kUnavailable, "the server closed the connection"));
    }
    if (!message.ok()) return lost(message.status());
    if (message->type == type::kNoticeResponse || message->type == type::kNotification) continue;
    if (message->type == type::kParameterStatus) {
      Reader body(message->body);
      const std::string name(body.cstring());
      const std::string value(body.cstring());
      if (!body.done()) return lost(Status(Code::kInvalid, "a parameter status is malformed"));
      if (server_parameters_.entries().size() >= kMaxServerParameters) {
        return lost(Status(Code::kFull, "the server tells of too many parameters"));
      }
      server_parameters_.add(name, value);
      continue;
    }
    return message;
  }
}

Status ClientConnection::server_error(const Message& message) {
  Result<ErrorFields> fields = parse_error(message.body);
  if (!fields.ok()) return lost(fields.status());
  last_sqlstate_ = fields->sqlstate;
  Status status = fields->to_status();
  if (fields->severity == "FATAL" || fields->severity == "PANIC") return lost(std::move(status));
  return status;
}

// --- Start-up ---

Status ClientConnection::answer_authentication(const Message& message, std::string_view password) {
  Reader body(message.body);
  const uint32_t method = body.be<uint32_t>();
  if (!body.ok()) return lost(Status(Code::kInvalid, "an authentication request is malformed"));
  if (method == kAuthenticationOk) return Status();
  if (method != kAuthenticationCleartext) {
    return lost(Status(Code::kUnsupported, "the server wants authentication method " +
                                               std::to_string(method) +
                                               "; only trust and password are spoken here"));
  }
  MessageBuilder builder;
  builder.begin(type::kPassword).cstring(without_nul(password));
  builder.end();
  return write({builder.take()});
}

Status ClientConnection::start(const Parameters& parameters, std::string_view password) {
  VARVE_TRY(write({Bytes::copy(encode_startup(parameters))}));
  while (true) {
    VARVE_TRY_ASSIGN(const Message message, next());
    switch (message.type) {
      case type::kAuthentication:
        VARVE_TRY(answer_authentication(message, password));
        break;
      case type::kErrorResponse: {
        Status status = server_error(message);
        return lost_.ok() ? lost(std::move(status)) : status;
      }
      case type::kBackendKeyData:
      case type::kNegotiateProtocol:
        break;
      case type::kReadyForQuery:
        return Status();
      default:
        return lost(unexpected(message, "during start-up"));
    }
  }
}

// --- Queries ---

Status ClientConnection::send_query(std::string_view sql) {
  if (!lost_.ok()) return lost_;
  VARVE_CHECK_MSG(state_ == State::kIdle, "a query inside a copy");
  if (sql.find('\0') != std::string_view::npos)
    return Status(Code::kInvalid, "a query holds a NUL");
  MessageBuilder builder;
  builder.begin(type::kQuery).cstring(sql);
  builder.end();
  return write({builder.take()});
}

Result<QueryResult> ClientConnection::query(std::string_view sql) {
  VARVE_TRY(send_query(sql));
  return collect();
}

Status ClientConnection::take_result_message(const Message& message, QueryResult& result,
                                             uint64_t& held) {
  if (message.type == type::kRowDescription) {
    Result<std::vector<Column>> columns = parse_row_description(message.body);
    if (!columns.ok()) return lost(columns.status());
    result = QueryResult{std::move(columns).value(), {}, {}};
    held = message.body.size();
    return Status();
  }
  if (message.type == type::kDataRow) {
    // A row of empty values is larger in memory than on the wire.
    held += message.body.size() * 4 + sizeof(std::vector<Value>);
    if (held > options_.result_bytes) {
      return lost(Status(Code::kFull,
                         "a result exceeds " + std::to_string(options_.result_bytes) + " bytes"));
    }
    Result<std::vector<Value>> values = parse_data_row(message.body);
    if (!values.ok()) return lost(values.status());
    if (values->size() != result.columns.size()) {
      return lost(Status(Code::kInvalid, "a row doesn't match its description"));
    }
    result.rows.push_back(std::move(values).value());
    return Status();
  }
  VARVE_CHECK(message.type == type::kCommandComplete);
  Reader body(message.body);
  result.tag = body.cstring();
  return body.done() ? Status() : lost(Status(Code::kInvalid, "a command tag is malformed"));
}

// Everything up to ReadyForQuery. The first error of the server wins, but the rest is read, so that
// the connection stays usable.
Result<QueryResult> ClientConnection::collect() {
  QueryResult result;
  uint64_t held = 0;
  Status error;
  while (true) {
    VARVE_TRY_ASSIGN(const Message message, next());
    switch (message.type) {
      case type::kRowDescription:
      case type::kDataRow:
      case type::kCommandComplete:
        VARVE_TRY(take_result_message(message, result, held));
        break;
      case type::kErrorResponse: {
        Status status = server_error(message);
        if (!lost_.ok()) return lost_;
        if (error.ok()) error = std::move(status);
        break;
      }
      case type::kEmptyQueryResponse:
        break;
      case type::kReadyForQuery:
        state_ = State::kIdle;
        if (!error.ok()) return error;
        return result;
      default:
        return lost(unexpected(message, "in answer to a query"));
    }
  }
}

// --- Copy ---

Status ClientConnection::start_copy(std::string_view sql) {
  VARVE_TRY(send_query(sql));
  VARVE_TRY_ASSIGN(const Message message, next());
  switch (message.type) {
    case type::kCopyBothResponse:
      state_ = State::kCopyBoth;
      both_ = true;
      return Status();
    case type::kCopyOutResponse:
      state_ = State::kCopyOut;
      both_ = false;
      return Status();
    case type::kErrorResponse: {
      Status error = server_error(message);
      if (!lost_.ok()) return error;
      const Result<QueryResult> rest = collect();
      return lost_.ok() ? error : lost_;
    }
    default:
      // Also rows or a tag: the query was none that copies, and its answer is of no use to a
      // stream.
      return lost(unexpected(message, "instead of entering a copy"));
  }
}

Result<std::optional<Bytes>> ClientConnection::copy_read() {
  if (!lost_.ok()) return lost_;
  if (state_ == State::kIdle) return no_copy();
  if (state_ == State::kServerEndedCopy) return std::optional<Bytes>();
  VARVE_TRY_ASSIGN(Message message, next());
  switch (message.type) {
    case type::kCopyData:
      return std::optional<Bytes>(std::move(message.body));
    case type::kCopyDone:
      state_ = State::kServerEndedCopy;
      return std::optional<Bytes>();
    case type::kErrorResponse: {
      Status error = server_error(message);
      if (!lost_.ok()) return error;
      const Result<QueryResult> rest = collect();
      return lost_.ok() ? error : lost_;
    }
    default:
      return lost(unexpected(message, "inside a copy"));
  }
}

Status ClientConnection::copy_write(std::vector<Bytes> pieces) {
  if (!lost_.ok()) return lost_;
  if (state_ != State::kCopyBoth) {
    return Status(Code::kUnavailable, "the server has ended the copy");
  }
  MutableBytes header(kMessageHeaderSize);
  store_message_header(header.data(), type::kCopyData, total_size(pieces));
  pieces.insert(pieces.begin(), std::move(header).freeze());
  return write(std::move(pieces));
}

Result<QueryResult> ClientConnection::end_copy() {
  if (!lost_.ok()) return lost_;
  if (state_ == State::kIdle) return no_copy();
  if (both_) {
    MessageBuilder builder;
    builder.empty(type::kCopyDone);
    VARVE_TRY(write({builder.take()}));
  }
  while (state_ != State::kServerEndedCopy) {
    VARVE_TRY_ASSIGN(const std::optional<Bytes> dropped, copy_read());
    (void)dropped;
  }
  return collect();
}

Status ClientConnection::terminate() {
  MessageBuilder builder;
  builder.empty(type::kTerminate);
  VARVE_TRY(write({builder.take()}));
  Status closed = stream_->close_write();
  if (lost_.ok()) lost_ = Status(Code::kUnavailable, "the session was ended");
  return closed;
}

}  // namespace varve::pg
