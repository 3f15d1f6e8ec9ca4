#include "wire/pg/message.h"

#include <algorithm>

namespace varve::pg {
namespace {

constexpr size_t kMaxColumns = 1664;  // Postgres' MaxTupleAttributeNumber

struct SqlstateRow {
  std::string_view prefix;
  Code code;
};

// Longest prefixes first. The five-character ones are those of policy_of() and the frequent ones of
// a server that starts or stops.
constexpr SqlstateRow kSqlstates[] = {
    {"57P01", Code::kStale},       {"58P01", Code::kBelowCutoff}, {"57014", Code::kCancelled},
    {"42710", Code::kExists},      {"42704", Code::kNotFound},    {"57P02", Code::kUnavailable},
    {"57P03", Code::kUnavailable}, {"XX001", Code::kCorrupt},     {"XX002", Code::kCorrupt},
    {"08P01", Code::kInvalid},     {"3D000", Code::kNotFound},    {"42501", Code::kRefused},
    {"08", Code::kUnavailable},    {"53", Code::kFull},           {"28", Code::kRefused},
    {"0A", Code::kUnsupported},    {"22", Code::kInvalid},        {"42", Code::kInvalid},
};

void field(Writer& writer, char code, std::string_view text) {
  if (text.empty()) return;
  writer.u8(static_cast<uint8_t>(code));
  writer.cstring(without_nul(text));
}

}  // namespace

Result<Message> read_message(BufferedReader& reader, size_t limit) {
  VARVE_TRY_ASSIGN(const Bytes header, reader.read_exactly(kMessageHeaderSize));
  Message message;
  message.type = header[0];
  const uint32_t length = load_be<uint32_t>(header.data() + 1);
  if (length < 4 || length - 4 > limit) {
    return Status(Code::kInvalid, "a protocol message of type " + std::to_string(message.type) +
                                      " claims " + std::to_string(length) +
                                      " bytes; the limit is " + std::to_string(limit + 4));
  }
  if (length == 4) return message;
  Result<Bytes> body = reader.read_exactly(length - 4);
  if (body.is(Code::kNotFound)) {
    return Status(Code::kUnavailable, "the stream ended behind a message header");
  }
  if (!body.ok()) return body.status();
  message.body = std::move(body).value();
  return message;
}

Writer& MessageBuilder::begin(uint8_t type) {
  VARVE_CHECK(!open_);
  open_ = true;
  writer_.u8(type);
  length_at_ = writer_.size();
  writer_.be<uint32_t>(0);
  return writer_;
}

void MessageBuilder::end() {
  VARVE_CHECK(open_);
  open_ = false;
  writer_.patch_be(length_at_, static_cast<uint32_t>(writer_.size() - length_at_));
}

Bytes MessageBuilder::take() {
  VARVE_CHECK(!open_);
  Bytes bytes = Bytes::copy(writer_.span());
  writer_.clear();
  return bytes;
}

void store_message_header(uint8_t* at, uint8_t type, size_t body_size) {
  VARVE_CHECK(body_size <= INT32_MAX - 4u);
  at[0] = type;
  store_be(at + 1, static_cast<uint32_t>(body_size + 4));
}

void append_row_description(MessageBuilder& builder, const std::vector<Column>& columns) {
  VARVE_CHECK(columns.size() <= kMaxColumns);
  Writer& writer = builder.begin(type::kRowDescription);
  writer.be(static_cast<uint16_t>(columns.size()));
  for (const Column& column : columns) {
    writer.cstring(column.name);
    writer.be<uint32_t>(0);  // of no table
    writer.be<uint16_t>(0);
    writer.be(column.type_oid);
    writer.be(column.type_length);
    writer.be<int32_t>(-1);  // no type modifier
    writer.be<uint16_t>(0);  // text
  }
  builder.end();
}

void append_data_row(MessageBuilder& builder, const std::vector<Value>& values) {
  VARVE_CHECK(values.size() <= kMaxColumns);
  Writer& writer = builder.begin(type::kDataRow);
  writer.be(static_cast<uint16_t>(values.size()));
  for (const Value& value : values) {
    if (!value) {
      writer.be<int32_t>(-1);
      continue;
    }
    writer.be(static_cast<int32_t>(value->size()));
    writer.text(*value);
  }
  builder.end();
}

Result<std::vector<Column>> parse_row_description(std::span<const uint8_t> body) {
  Reader reader(body);
  const uint16_t count = reader.be<uint16_t>();
  std::vector<Column> columns;
  for (uint16_t i = 0; i < count && reader.ok(); ++i) {
    Column column;
    column.name = reader.cstring();
    reader.skip(6);
    column.type_oid = reader.be<uint32_t>();
    column.type_length = reader.be<int16_t>();
    reader.skip(6);
    columns.push_back(std::move(column));
  }
  if (!reader.done()) return Status(Code::kInvalid, "a row description is malformed");
  return columns;
}

Result<std::vector<Value>> parse_data_row(std::span<const uint8_t> body) {
  Reader reader(body);
  const uint16_t count = reader.be<uint16_t>();
  std::vector<Value> values;
  for (uint16_t i = 0; i < count && reader.ok(); ++i) {
    const int32_t length = reader.be<int32_t>();
    if (length == -1) {
      values.emplace_back();
      continue;
    }
    if (length < 0) {
      reader.fail();
      break;
    }
    const auto bytes = reader.bytes(static_cast<size_t>(length));
    values.emplace_back(std::string(bytes.begin(), bytes.end()));
  }
  if (!reader.done()) return Status(Code::kInvalid, "a data row is malformed");
  return values;
}

void append_error(MessageBuilder& builder, const Status& status, ErrorSeverity severity) {
  VARVE_CHECK(!status.ok());
  const char* name = severity == ErrorSeverity::kFatal ? "FATAL" : "ERROR";
  const StatusDetail& detail = status.detail();
  std::string where = detail.object;
  if (detail.lsn) where += (where.empty() ? "at LSN " : ", at LSN ") + detail.lsn->to_string();
  Writer& writer = builder.begin(type::kErrorResponse);
  field(writer, 'S', name);
  field(writer, 'V', name);
  field(writer, 'C', policy_of(status.code()).sqlstate);
  field(writer, 'M', status.message().empty() ? code_name(status.code()) : status.message());
  field(writer, 'D', where);
  field(writer, 'H', detail.hint);
  writer.u8(0);
  builder.end();
}

Result<ErrorFields> parse_error(std::span<const uint8_t> body) {
  Reader reader(body);
  ErrorFields fields;
  while (true) {
    const uint8_t code = reader.u8();
    if (!reader.ok()) return Status(Code::kInvalid, "an error message lacks its terminator");
    if (code == 0) break;
    std::string text(reader.cstring());
    if (code == 'S' && fields.severity.empty()) fields.severity = std::move(text);
    if (code == 'V') fields.severity = std::move(text);
    if (code == 'C') fields.sqlstate = std::move(text);
    if (code == 'M') fields.message = std::move(text);
    if (code == 'D') fields.detail = std::move(text);
    if (code == 'H') fields.hint = std::move(text);
  }
  if (!reader.done()) return Status(Code::kInvalid, "bytes follow an error message's terminator");
  return fields;
}

Status ErrorFields::to_status() const {
  Status status(code_of_sqlstate(sqlstate),
                message.empty() ? "the server gave no reason" : message);
  if (!detail.empty()) status = std::move(status).with_object(detail);
  if (!hint.empty()) status = std::move(status).with_hint(hint);
  return status;
}

Code code_of_sqlstate(std::string_view sqlstate) {
  for (const SqlstateRow& row : kSqlstates) {
    if (sqlstate.starts_with(row.prefix)) return row.code;
  }
  return Code::kInternal;
}

std::string without_nul(std::string_view text) {
  std::string safe(text);
  std::replace(safe.begin(), safe.end(), '\0', '?');
  return safe;
}

}  // namespace varve::pg
