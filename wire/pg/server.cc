#include "wire/pg/server.h"

#include <algorithm>
#include <utility>

#include "runtime/scheduler.h"

namespace varve::pg {
namespace {

constexpr size_t kMaxPasswordBytes = 10000;
constexpr uint32_t kCleartextPassword = 3;

// What clients rely on being told. integer_datetimes is checked by Postgres' own replication tools.
constexpr std::pair<const char*, const char*> kBuiltInParameters[] = {
    {"server_version", "15.0"},
    {"server_encoding", "UTF8"},
    {"client_encoding", "UTF8"},
    {"integer_datetimes", "on"},
    {"DateStyle", "ISO, MDY"},
    {"TimeZone", "UTC"},
    {"standard_conforming_strings", "on"},
};

void append_parameter(MessageBuilder& out, std::string_view name, std::string_view value) {
  Writer& writer = out.begin(type::kParameterStatus);
  writer.cstring(without_nul(name));
  writer.cstring(without_nul(value));
  out.end();
}

Status unexpected(const Message& message, const char* when) {
  return Status(Code::kInvalid,
                "a message of type " + std::to_string(message.type) + " makes no sense " + when);
}

}  // namespace

ServerConnection::ServerConnection(Stream& stream, ServerHandler& handler, ServerOptions options)
    : stream_(stream), handler_(handler), options_(options), reader_(stream) {}

Status ServerConnection::run() {
  VARVE_CHECK_MSG(state_ == State::kStartup, "run() is called once");
  Status status = handshake();
  if (status.ok() && state_ != State::kClosed) status = serve();
  state_ = State::kClosed;
  if (status.ok()) {
    stream_.close_write().ignore("the client has left");
  } else {
    if (told_) linger();
    stream_.abort();
  }
  return status;
}

// Gives the client time to read why the connection ends: an abort may overtake what was sent.
void ServerConnection::linger() {
  DeadlineGuard deadline(options_.linger);
  while (true) {
    const Result<Bytes> dropped = reader_.read_some();
    if (!dropped.ok() || dropped->empty()) return;
  }
}

// Remembers the stream's first error: whoever uses the connection afterwards gets it again.
Status ServerConnection::lost(Status status) {
  VARVE_CHECK(!status.ok());
  if (lost_.ok()) lost_ = status;
  return status;
}

// Tells the client why the connection ends, as far as it still listens.
Status ServerConnection::fatal(Status status) {
  if (!lost_.ok()) return status;
  append_error(out_, status, ErrorSeverity::kFatal);
  flush().ignore("the connection ends anyway, for the reason we return");
  stream_.close_write().ignore("as above");
  told_ = true;
  return lost(std::move(status));
}

Status ServerConnection::write(std::vector<Bytes> pieces) {
  if (!lost_.ok()) return lost_;
  MutexGuard guard(writing_, "another message being written");
  VARVE_TRY(guard.status());
  if (!lost_.ok()) return lost_;
  Status status = stream_.write(std::move(pieces));
  return status.ok() ? status : lost(std::move(status));
}

Status ServerConnection::flush() {
  if (out_.size() == 0) return lost_;
  std::vector<Bytes> pieces;
  pieces.push_back(out_.take());
  return write(std::move(pieces));
}

Status ServerConnection::maybe_flush() {
  return out_.size() >= options_.buffer_bytes ? flush() : Status();
}

// --- Start-up ---

// One untyped packet. False when the connection ends here in order.
Result<bool> ServerConnection::read_startup() {
  // A client may ask for TLS, be declined, ask for GSS, be declined, and then start; not more than
  // that.
  for (int attempt = 0; attempt < 3; ++attempt) {
    Result<Bytes> length_field = reader_.read_exactly(4);
    if (length_field.is(Code::kNotFound)) return false;
    if (!length_field.ok()) return lost(length_field.status());
    const uint32_t length = load_be<uint32_t>(length_field->data());
    if (length < 8 || length > kMaxStartupBytes) {
      return fatal(
          Status(Code::kInvalid, "a startup packet of " + std::to_string(length) + " bytes"));
    }
    Result<Bytes> body = reader_.read_exactly(length - 4);
    if (!body.ok()) return lost(body.status());
    Result<Startup> startup = parse_startup(*body);
    if (!startup.ok()) return fatal(startup.status());
    startup_ = std::move(startup).value();
    switch (startup_.kind) {
      case StartupKind::kStartup:
        return true;
      case StartupKind::kCancelRequest:
        return false;  // queries here end with their connection
      case StartupKind::kSslRequest:
      case StartupKind::kGssRequest:
        // Whatever the client sent on before our answer would be taken as plain text by us and as
        // encrypted by it.
        if (reader_.buffered() != 0) {
          return fatal(Status(Code::kInvalid, "bytes follow a request for encryption"));
        }
        VARVE_TRY(write({Bytes::copy("N")}));
        break;
    }
  }
  return fatal(Status(Code::kInvalid, "too many requests for encryption"));
}

Status ServerConnection::authenticate() {
  out_.begin(type::kAuthentication).be(kCleartextPassword);
  out_.end();
  VARVE_TRY(flush());
  Result<Message> message = read_message(reader_, kMaxPasswordBytes);
  if (!message.ok()) {
    // A client without a password goes away here; that is no error of the connection's.
    return message.is(Code::kInvalid) ? fatal(message.status()) : lost(message.status());
  }
  if (message->type != type::kPassword) return fatal(unexpected(*message, "instead of a password"));
  Reader body(message->body);
  const std::string_view password = body.cstring();
  if (!body.done()) return fatal(Status(Code::kInvalid, "a password message is malformed"));
  Status admitted = handler_.authenticate(startup_, password);
  return admitted.ok() ? admitted : fatal(std::move(admitted));
}

Status ServerConnection::greet() {
  if (startup_.minor != 0) {
    Writer& writer = out_.begin(type::kNegotiateProtocol);
    writer.be<uint32_t>(3u << 16);
    writer.be<uint32_t>(0);
    out_.end();
  }
  out_.begin(type::kAuthentication).be<uint32_t>(0);
  out_.end();
  const Parameters own = handler_.parameters(startup_);
  for (const auto& [name, value] : kBuiltInParameters) {
    if (!own.find(name)) append_parameter(out_, name, value);
  }
  for (const auto& [name, value] : own.entries()) append_parameter(out_, name, value);
  if (const auto name = startup_.parameters.find("application_name")) {
    append_parameter(out_, "application_name", *name);
  }
  Writer& key = out_.begin(type::kBackendKeyData);
  key.be<uint32_t>(0);
  key.be<uint32_t>(0);
  out_.end();
  return ready_for_query();
}

Status ServerConnection::handshake() {
  DeadlineGuard deadline(options_.handshake_timeout);
  VARVE_TRY_ASSIGN(const bool started, read_startup());
  if (!started) {
    state_ = State::kClosed;
    return Status();
  }
  VARVE_TRY(authenticate());
  return greet();
}

// --- Queries ---

Status ServerConnection::ready_for_query() {
  out_.begin(type::kReadyForQuery).u8('I');  // never inside a transaction
  out_.end();
  state_ = State::kIdle;
  return flush();
}

Status ServerConnection::serve() {
  while (state_ != State::kClosed) {
    Result<Message> message =
        read_message(reader_, std::max(options_.query_bytes, options_.copy_bytes));
    if (message.is(Code::kNotFound)) return Status();
    if (message.is(Code::kInvalid)) return fatal(message.status());
    if (!message.ok()) return lost(message.status());
    VARVE_TRY(dispatch(*message));
  }
  return Status();
}

Status ServerConnection::dispatch(const Message& message) {
  switch (message.type) {
    case type::kQuery:
      skip_until_sync_ = false;
      return run_query(message);
    case type::kTerminate:
      state_ = State::kClosed;
      return Status();
    case type::kCopyData:
    case type::kCopyDone:
    case type::kCopyFail:
      return Status();  // the rest of a copy that we ended with an error
    case type::kParse:
    case type::kBind:
    case type::kDescribe:
    case type::kExecute:
    case type::kClose:
      return refuse_extended();
    case type::kFlush:
      return flush();
    case type::kSync:
      skip_until_sync_ = false;
      return ready_for_query();
    case type::kFunctionCall:
      append_error(out_, Status(Code::kUnsupported, "function calls are not spoken here"),
                   ErrorSeverity::kError);
      return ready_for_query();
    default:
      return fatal(unexpected(message, "between queries"));
  }
}

Status ServerConnection::refuse_extended() {
  if (skip_until_sync_) return Status();
  skip_until_sync_ = true;
  append_error(out_,
               Status(Code::kUnsupported, "extended queries are not spoken here")
                   .with_hint("use the simple query protocol"),
               ErrorSeverity::kError);
  return flush();
}

Status ServerConnection::run_query(const Message& message) {
  Reader body(message.body);
  const std::string_view sql = body.cstring();
  if (!body.done() || sql.size() > options_.query_bytes) {
    return fatal(Status(Code::kInvalid, "a query message is malformed or too long"));
  }
  if (sql.find_first_not_of(" \t\r\n;") == std::string_view::npos) {
    out_.empty(type::kEmptyQueryResponse);
    return ready_for_query();
  }
  state_ = State::kQuery;
  client_done_ = false;
  Status status = handler_.query(*this, sql);
  // The stream's own failure can't be told to anyone.
  if (!lost_.ok()) return lost_;
  if (state_ == State::kClosed) return Status();
  if (status.is(Code::kCancelled)) return status;  // the node stops
  if (!status.ok()) {
    append_error(out_, status, ErrorSeverity::kError);
  } else {
    VARVE_CHECK_MSG(state_ == State::kQuery, "a handler left a copy open");
  }
  return ready_for_query();
}

Status ServerConnection::send_row_description(const std::vector<Column>& columns) {
  VARVE_CHECK(state_ == State::kQuery);
  append_row_description(out_, columns);
  return maybe_flush();
}

Status ServerConnection::send_row(const std::vector<Value>& values) {
  VARVE_CHECK(state_ == State::kQuery);
  append_data_row(out_, values);
  return maybe_flush();
}

Status ServerConnection::send_command_complete(std::string_view tag) {
  VARVE_CHECK(state_ == State::kQuery);
  out_.begin(type::kCommandComplete).cstring(tag);
  out_.end();
  return maybe_flush();
}

Status ServerConnection::send_single_row(const std::vector<Column>& columns,
                                         const std::vector<Value>& values, std::string_view tag) {
  VARVE_CHECK(columns.size() == values.size());
  VARVE_TRY(send_row_description(columns));
  VARVE_TRY(send_row(values));
  return send_command_complete(tag);
}

// --- Copy ---

Status ServerConnection::begin_copy(Copy copy) {
  VARVE_CHECK(state_ == State::kQuery);
  Writer& writer =
      out_.begin(copy == Copy::kBoth ? type::kCopyBothResponse : type::kCopyOutResponse);
  writer.u8(0);            // text; nobody looks at it in a replication stream
  writer.be<uint16_t>(0);  // no columns
  out_.end();
  VARVE_TRY(flush());
  state_ = copy == Copy::kBoth ? State::kCopyBoth : State::kCopyOut;
  return Status();
}

Status ServerConnection::copy_write(std::vector<Bytes> pieces) {
  VARVE_CHECK(state_ == State::kCopyOut || state_ == State::kCopyBoth || state_ == State::kClosed);
  if (state_ == State::kClosed) return Status(Code::kUnavailable, "the client has left");
  MutableBytes header(kMessageHeaderSize);
  store_message_header(header.data(), type::kCopyData, total_size(pieces));
  pieces.insert(pieces.begin(), std::move(header).freeze());
  return write(std::move(pieces));
}

Result<std::optional<Bytes>> ServerConnection::copy_read() {
  VARVE_CHECK(state_ == State::kCopyBoth || state_ == State::kClosed);
  if (state_ == State::kClosed) return Status(Code::kUnavailable, "the client has left");
  if (!lost_.ok()) return lost_;
  if (client_done_) return std::optional<Bytes>();
  while (true) {
    Result<Message> message = read_message(reader_, options_.copy_bytes);
    if (message.is(Code::kNotFound)) {
      return lost(Status(Code::kUnavailable, "the client left in the middle of a copy"));
    }
    if (message.is(Code::kInvalid)) return fatal(message.status());
    if (!message.ok()) return lost(message.status());
    switch (message->type) {
      case type::kCopyData:
        return std::optional<Bytes>(std::move(message->body));
      case type::kCopyDone:
        client_done_ = true;
        return std::optional<Bytes>();
      case type::kCopyFail: {
        client_done_ = true;
        Reader body(message->body);
        return Status(Code::kUnavailable,
                      "the client gave the copy up: " + std::string(body.cstring()));
      }
      case type::kTerminate:
        state_ = State::kClosed;
        return Status(Code::kUnavailable, "the client has left");
      case type::kFlush:
      case type::kSync:
        break;  // legal and without meaning here
      default:
        return fatal(unexpected(*message, "inside a copy"));
    }
  }
}

Status ServerConnection::end_copy() {
  if (state_ == State::kClosed) return Status(Code::kUnavailable, "the client has left");
  VARVE_CHECK(state_ == State::kCopyOut || state_ == State::kCopyBoth);
  out_.empty(type::kCopyDone);
  VARVE_TRY(flush());
  while (state_ == State::kCopyBoth && !client_done_) {
    VARVE_TRY_ASSIGN(const std::optional<Bytes> dropped, copy_read());
    (void)dropped;
  }
  if (state_ == State::kClosed) return Status(Code::kUnavailable, "the client has left");
  state_ = State::kQuery;
  return Status();
}

}  // namespace varve::pg
