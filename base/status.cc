#include "base/status.h"

#include <array>

namespace varve {
namespace {

struct CodeRow {
  const char* name;
  CodePolicy policy;
};

// Indexed by Code. SQLSTATEs are Postgres' own: a driver that knows them retries what can be
// retried.
constexpr std::array<CodeRow, 14> kCodes = {{
    {"ok", {false, "00000", 200, 0}},
    {"cancelled", {false, "57014", 499, 1}},
    {"deadline exceeded", {true, "57014", 504, 1}},
    {"unavailable", {true, "08006", 503, 1}},
    {"stale", {false, "57P01", 409, 1}},
    {"below cutoff", {false, "58P01", 410, 1}},
    {"not found", {false, "42704", 404, 1}},
    {"exists", {false, "42710", 409, 1}},
    {"full", {true, "53100", 507, 1}},
    {"corrupt", {false, "XX001", 500, 1}},
    {"unsupported", {false, "0A000", 501, 1}},
    {"invalid", {false, "22023", 400, 2}},
    {"refused", {false, "28000", 403, 1}},
    {"internal", {false, "XX000", 500, 1}},
}};

}  // namespace

const char* code_name(Code code) {
  return kCodes[static_cast<size_t>(code)].name;
}
const CodePolicy& policy_of(Code code) {
  return kCodes[static_cast<size_t>(code)].policy;
}

Status::Status(Code code, std::string message, std::source_location origin)
    : state_(new State{code, std::move(message), {}, origin}) {
  VARVE_CHECK_MSG(code != Code::kOk, "success carries no message");
}

Status::Status(const Status& other)
    : state_(other.state_ == nullptr ? nullptr : new State(*other.state_)) {}

Status& Status::operator=(const Status& other) {
  if (this != &other) state_.reset(other.state_ == nullptr ? nullptr : new State(*other.state_));
  return *this;
}

const std::string& Status::message() const {
  static const std::string kEmpty;
  return state_ == nullptr ? kEmpty : state_->message;
}

const StatusDetail& Status::detail() const {
  static const StatusDetail kEmpty;
  return state_ == nullptr ? kEmpty : state_->detail;
}

const std::source_location& Status::origin() const {
  static const std::source_location kNowhere;
  return state_ == nullptr ? kNowhere : state_->origin;
}

Status&& Status::with_object(std::string object) && {
  if (state_ != nullptr) state_->detail.object = std::move(object);
  return std::move(*this);
}

Status&& Status::with_hint(std::string hint) && {
  if (state_ != nullptr) state_->detail.hint = std::move(hint);
  return std::move(*this);
}

Status&& Status::with_lsn(Lsn lsn) && {
  if (state_ != nullptr) state_->detail.lsn = lsn;
  return std::move(*this);
}

Status&& Status::with_context(std::string context) && {
  if (state_ != nullptr) state_->message = std::move(context) + ": " + state_->message;
  return std::move(*this);
}

std::string Status::to_string() const {
  if (state_ == nullptr) return code_name(Code::kOk);
  std::string text = std::string(code_name(state_->code)) + ": " + state_->message;
  std::string detail;
  const auto add = [&detail](const char* name, const std::string& value) {
    if (value.empty()) return;
    detail += detail.empty() ? " (" : "; ";
    detail += std::string(name) + ": " + value;
  };
  add("object", state_->detail.object);
  add("lsn", state_->detail.lsn ? state_->detail.lsn->to_string() : "");
  add("hint", state_->detail.hint);
  if (!detail.empty()) detail += ")";
  return text + detail;
}

}  // namespace varve
