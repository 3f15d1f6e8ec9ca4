#include "control/store/database.h"

#include <sqlite3.h>

#include <cstring>
#include <utility>

namespace varve::control {
namespace {

// A process that was killed frees its lock at once; this is for one that is just ending.
constexpr int kBusyMillis = 500;

}  // namespace

Statement::~Statement() {
  (void)sqlite3_finalize(statement_);
}

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      parameter_(other.parameter_),
      column_(other.column_),
      bind_error_(other.bind_error_),
      well_formed_(other.well_formed_) {}

Statement& Statement::operator=(Statement&& other) noexcept {
  std::swap(database_, other.database_);
  std::swap(statement_, other.statement_);
  parameter_ = other.parameter_;
  column_ = other.column_;
  bind_error_ = other.bind_error_;
  well_formed_ = other.well_formed_;
  return *this;
}

Statement& Statement::bind(uint64_t value) {
  return bind_signed(static_cast<int64_t>(value));
}

Statement& Statement::bind_signed(int64_t value) {
  bind_error_ |= sqlite3_bind_int64(statement_, ++parameter_, value);
  return *this;
}

Statement& Statement::bind(std::string_view text) {
  bind_error_ |= sqlite3_bind_text64(statement_, ++parameter_, text.data(), text.size(),
                                     SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}

Statement& Statement::bind_blob(std::span<const uint8_t> bytes) {
  // A null pointer would bind NULL instead of no bytes.
  const void* data = bytes.empty() ? static_cast<const void*>("") : bytes.data();
  bind_error_ |=
      sqlite3_bind_blob64(statement_, ++parameter_, data, bytes.size(), SQLITE_TRANSIENT);
  return *this;
}

Statement& Statement::bind_null() {
  bind_error_ |= sqlite3_bind_null(statement_, ++parameter_);
  return *this;
}

Status Statement::run() {
  for (;;) {
    VARVE_TRY_ASSIGN(const bool row, step());
    if (!row) return Status();
  }
}

Result<bool> Statement::step() {
  if (bind_error_ != SQLITE_OK) {
    Status status = database_->error("bind a parameter");
    reset();
    return status;
  }
  column_ = 0;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  Status status;
  if (code != SQLITE_DONE) status = database_->error("run a statement");
  reset();
  if (!status.ok()) return status;
  return false;
}

void Statement::reset() {
  (void)sqlite3_reset(statement_);  // repeats the error of the last step
  parameter_ = 0;
  bind_error_ = SQLITE_OK;
}

uint64_t Statement::number() {
  return static_cast<uint64_t>(signed_number());
}

int64_t Statement::signed_number() {
  return sqlite3_column_int64(statement_, column_++);
}

std::string Statement::text() {
  return blob();
}

std::string Statement::blob() {
  const int column = column_++;
  const void* data = sqlite3_column_blob(statement_, column);
  const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_, column));
  return data == nullptr ? std::string() : std::string(static_cast<const char*>(data), size);
}

void Statement::take_id(std::span<uint8_t, 16> bytes) {
  const std::string taken = blob();
  if (taken.size() != bytes.size()) {
    well_formed_ = false;
    std::memset(bytes.data(), 0, bytes.size());
    return;
  }
  std::memcpy(bytes.data(), taken.data(), bytes.size());
}

bool Statement::is_null() {
  return sqlite3_column_type(statement_, column_) == SQLITE_NULL;
}

Database::~Database() {
  const int code = sqlite3_close(handle_);
  VARVE_CHECK_MSG(code == SQLITE_OK, "a statement outlives its database");
}

Result<std::unique_ptr<Database>> Database::open(const std::string& path) {
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (handle == nullptr) return Status(Code::kFull, "no memory for a database").with_object(path);
  std::unique_ptr<Database> database(new Database(handle, path));
  if (code != SQLITE_OK) return database->error("open the database");
  (void)sqlite3_extended_result_codes(handle, 1);
  (void)sqlite3_busy_timeout(handle, kBusyMillis);
  return database;
}

Status Database::execute(const char* sql) {
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return Status();
  return error("run a statement");
}

Result<Statement> Database::prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr) !=
      SQLITE_OK) {
    return error("prepare a statement");
  }
  return Statement(*this, statement);
}

int Database::changed() const {
  return sqlite3_changes(handle_);
}

Status Database::error(std::string_view doing) const {
  const int extended = sqlite3_extended_errcode(handle_);
  Code code = Code::kInternal;
  switch (extended & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      code = Code::kRefused;
      break;
    case SQLITE_FULL:
      code = Code::kFull;
      break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      code = Code::kCorrupt;
      break;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
      code = Code::kRefused;
      break;
    case SQLITE_IOERR:
      code = Code::kUnavailable;
      break;
    default:
      break;
  }
  Status status = Status(code, "cannot " + std::string(doing) + ": " + sqlite3_errmsg(handle_) +
                                   " (" + std::to_string(extended) + ")")
                      .with_object(path_);
  if (code == Code::kCorrupt) return std::move(status).with_hint("restore the file from a copy");
  if (code == Code::kFull) return std::move(status).with_hint("free some space on the disk");
  return status;
}

}  // namespace varve::control
