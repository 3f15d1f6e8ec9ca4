// Messages of the Postgres protocol behind the startup packet: a type byte, a length, a body.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/codec.h"
#include "base/status.h"
#include "runtime/network.h"

namespace varve::pg {

// Types as they stand on the wire; some letters mean one thing from each side.
namespace type {
inline constexpr uint8_t kAuthentication = 'R';
inline constexpr uint8_t kBackendKeyData = 'K';
inline constexpr uint8_t kBind = 'B';
inline constexpr uint8_t kClose = 'C';
inline constexpr uint8_t kCommandComplete = 'C';
inline constexpr uint8_t kCopyBothResponse = 'W';
inline constexpr uint8_t kCopyData = 'd';
inline constexpr uint8_t kCopyDone = 'c';
inline constexpr uint8_t kCopyFail = 'f';
inline constexpr uint8_t kCopyInResponse = 'G';
inline constexpr uint8_t kCopyOutResponse = 'H';
inline constexpr uint8_t kDataRow = 'D';
inline constexpr uint8_t kDescribe = 'D';
inline constexpr uint8_t kEmptyQueryResponse = 'I';
inline constexpr uint8_t kErrorResponse = 'E';
inline constexpr uint8_t kExecute = 'E';
inline constexpr uint8_t kFlush = 'H';
inline constexpr uint8_t kFunctionCall = 'F';
inline constexpr uint8_t kNegotiateProtocol = 'v';
inline constexpr uint8_t kNoticeResponse = 'N';
inline constexpr uint8_t kNotification = 'A';
inline constexpr uint8_t kParameterStatus = 'S';
inline constexpr uint8_t kParse = 'P';
inline constexpr uint8_t kPassword = 'p';
inline constexpr uint8_t kQuery = 'Q';
inline constexpr uint8_t kReadyForQuery = 'Z';
inline constexpr uint8_t kRowDescription = 'T';
inline constexpr uint8_t kSync = 'S';
inline constexpr uint8_t kTerminate = 'X';
}  // namespace type

struct Message {
  uint8_t type = 0;
  Bytes body;
};

// Reads one message. May suspend. NotFound when the stream ends between messages, Unavailable when
// it ends inside one, Invalid for a length that is impossible or above `limit` body bytes; the
// stream can't be read any further after an error, since nobody knows where the next message
// begins.
Result<Message> read_message(BufferedReader& reader, size_t limit);

// Messages one behind the other in one buffer.
class MessageBuilder {
 public:
  // Begins a message; fields are then written to body(); end() fills the length in.
  Writer& begin(uint8_t type);
  void end();
  // A message without fields.
  void empty(uint8_t type) {
    (void)begin(type);
    end();
  }
  size_t size() const { return writer_.size(); }
  // What was built; the builder is empty afterwards. Invariant: no message is open.
  Bytes take();

 private:
  Writer writer_;
  size_t length_at_ = 0;
  bool open_ = false;
};

// Type and length of a CopyData message that carries `payload` bytes, to be sent before them.
inline constexpr size_t kMessageHeaderSize = 5;
void store_message_header(uint8_t* at, uint8_t type, size_t body_size);

struct Column {
  std::string name;
  uint32_t type_oid = 25;    // text
  int16_t type_length = -1;  // variable
  bool operator==(const Column&) const = default;
};
// A value in text form; nothing is NULL.
using Value = std::optional<std::string>;

void append_row_description(MessageBuilder& builder, const std::vector<Column>& columns);
void append_data_row(MessageBuilder& builder, const std::vector<Value>& values);
Result<std::vector<Column>> parse_row_description(std::span<const uint8_t> body);
Result<std::vector<Value>> parse_data_row(std::span<const uint8_t> body);

enum class ErrorSeverity : uint8_t { kError, kFatal };
// ErrorResponse with severity, SQLSTATE, message, detail (what the status points at) and hint.
void append_error(MessageBuilder& builder, const Status& status, ErrorSeverity severity);

// What an ErrorResponse or NoticeResponse said.
struct ErrorFields {
  std::string severity;
  std::string sqlstate;
  std::string message;
  std::string detail;
  std::string hint;
  // Never success: an error without words is Internal.
  Status to_status() const;
};
Result<ErrorFields> parse_error(std::span<const uint8_t> body);

// The nearest of our codes: exact for the SQLSTATEs that we write ourselves, else by class.
Code code_of_sqlstate(std::string_view sqlstate);

// `text` fit for a NUL-terminated field.
std::string without_nul(std::string_view text);

}  // namespace varve::pg
