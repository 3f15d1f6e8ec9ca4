// Errors are values. A Status is one pointer: null is success, else it owns a code, a sentence, a
// detail and the place where it was made. It can't be dropped silently ([[nodiscard]]); use
// `.ignore("why")`.
//
// A Status describes the world (a full disk, a stale term, corrupt bytes). A broken invariant of
// ours is not a Status; it is VARVE_CHECK.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/lsn.h"

namespace varve {

enum class Code : uint8_t {
  kOk,
  kCancelled,         // the caller's scope was cancelled
  kDeadlineExceeded,  // the caller's deadline passed; the call may still take effect
  kUnavailable,       // the other side can't be reached or is not ready; retry
  kStale,             // a newer term, generation or configuration exists; stop
  kBelowCutoff,       // asked for history that was collected
  kNotFound,
  kExists,
  kFull,     // disk, budget or queue
  kCorrupt,  // bytes that fail a check; never served
  kUnsupported,
  kInvalid,  // the request makes no sense as given
  kRefused,  // not allowed: token, policy, state
  kInternal,
};

// Stable lower-case name, for logs, JSON and the wire.
const char* code_name(Code code);

// Where a Status points at. All optional; a message should still read well without it.
struct StatusDetail {
  std::string object;  // file, object key, table, peer
  std::string hint;    // what the reader can do
  std::optional<Lsn> lsn;
};

class [[nodiscard]] Status {
 public:
  Status() = default;  // success
  Status(Code code, std::string message,
         std::source_location origin = std::source_location::current());
  Status(const Status& other);
  Status& operator=(const Status& other);
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;

  bool ok() const { return state_ == nullptr; }
  explicit operator bool() const = delete;  // "if (status)" reads both ways; say ok()
  Code code() const { return state_ == nullptr ? Code::kOk : state_->code; }
  bool is(Code code) const { return this->code() == code; }
  // Empty for success.
  const std::string& message() const;
  const StatusDetail& detail() const;
  const std::source_location& origin() const;

  // Builders; each returns the same status, so that they chain on a temporary.
  Status&& with_object(std::string object) &&;
  Status&& with_hint(std::string hint) &&;
  Status&& with_lsn(Lsn lsn) &&;
  // Puts "context: " before the message. No effect on success.
  Status&& with_context(std::string context) &&;

  // "corrupt: layer 000…: checksum of block 7 does not match (object: …; lsn: …; hint: …)".
  std::string to_string() const;

  // Drops an error on purpose; `why` is for the reader of the code.
  void ignore(const char* why) const { (void)why; }

 private:
  struct State {
    Code code;
    std::string message;
    StatusDetail detail;
    std::source_location origin;
  };
  std::unique_ptr<State> state_;
};

// A value or the reason why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::in_place_index<0>, std::move(value)) {}        // NOLINT
  Result(Status status) : value_(std::in_place_index<1>, std::move(status)) {  // NOLINT
    VARVE_CHECK_MSG(!std::get<1>(value_).ok(), "a Result without a value needs an error");
  }

  bool ok() const { return value_.index() == 0; }
  T& value() & {
    VARVE_CHECK_MSG(ok(), "value() of a failed Result");
    return *std::get_if<0>(&value_);
  }
  const T& value() const& {
    VARVE_CHECK_MSG(ok(), "value() of a failed Result");
    return *std::get_if<0>(&value_);
  }
  T&& value() && {
    VARVE_CHECK_MSG(ok(), "value() of a failed Result");
    return std::move(*std::get_if<0>(&value_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // Success when there is a value.
  Status status() const { return ok() ? Status() : std::get<1>(value_); }
  Code code() const { return ok() ? Code::kOk : std::get<1>(value_).code(); }
  bool is(Code c) const { return code() == c; }

 private:
  std::variant<T, Status> value_;
};

// What each code means to the layers around us: one table, so that no room invents its own.
struct CodePolicy {
  bool retryable;        // repeating the same call may succeed
  const char* sqlstate;  // five characters
  int http_status;
  int exit_code;
};
const CodePolicy& policy_of(Code code);

}  // namespace varve

#define VARVE_CONCAT_INNER(a, b) a##b
#define VARVE_CONCAT(a, b) VARVE_CONCAT_INNER(a, b)

// Returns the error of `expression` (a Status) to the caller.
#define VARVE_TRY(expression)                      \
  do {                                             \
    ::varve::Status varve_status_ = (expression);  \
    if (!varve_status_.ok()) return varve_status_; \
  } while (0)

// Declares `declaration` from a Result, or returns its error: VARVE_TRY_ASSIGN(auto file,
// disk.open(path)).
#define VARVE_TRY_ASSIGN(declaration, expression)            \
  auto VARVE_CONCAT(varve_result_, __LINE__) = (expression); \
  if (!VARVE_CONCAT(varve_result_, __LINE__).ok())           \
    return VARVE_CONCAT(varve_result_, __LINE__).status();   \
  declaration = std::move(VARVE_CONCAT(varve_result_, __LINE__)).value()
