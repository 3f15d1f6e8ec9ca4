// SQLite's calls with our types. Internal to this folder; everything here blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace varve::control {

class Database;

// A prepared statement: bind every parameter in order, then step() or run(). Used again and again.
class Statement {
 public:
  Statement() = default;
  ~Statement();
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&& other) noexcept;

  // Each binds the next parameter; the bytes are copied.
  Statement& bind(uint64_t value);  // as the signed number with the same bits
  Statement& bind_signed(int64_t value);
  Statement& bind(std::string_view text);
  Statement& bind_blob(std::span<const uint8_t> bytes);
  Statement& bind_null();
  template <class Tag>
  Statement& bind(const Id128<Tag>& id) {
    return bind_blob(id.bytes);
  }

  // Runs to the end and makes it ready for the next use.
  Status run();
  // The next row: true while there is one. Reset at the end and after an error.
  Result<bool> step();
  void reset();

  // Of the current row, column by column.
  uint64_t number();
  int64_t signed_number();
  std::string text();
  std::string blob();
  // Zeros and a failed row when there are not 16 bytes.
  template <class Id>
  Id id() {
    Id value;
    take_id(value.bytes);
    return value;
  }
  bool is_null();  // looks at the next column without taking it
  void skip() { ++column_; }
  // Whether everything that was taken from rows so far had the right form.
  bool well_formed() const { return well_formed_; }

 private:
  friend class Database;
  Statement(Database& database, sqlite3_stmt* statement)
      : database_(&database), statement_(statement) {}
  void take_id(std::span<uint8_t, 16> bytes);

  Database* database_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
  int parameter_ = 0;
  int column_ = 0;
  int bind_error_ = 0;
  bool well_formed_ = true;
};

class Database {
 public:
  // Invariant: no statement of it lives.
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  static Result<std::unique_ptr<Database>> open(const std::string& path);
  Status execute(const char* sql);
  Result<Statement> prepare(const char* sql);
  // Rows that the last statement changed.
  int changed() const;
  // What SQLite says of the last error, as ours.
  Status error(std::string_view doing) const;

 private:
  Database(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  sqlite3* handle_;
  std::string path_;
};

}  // namespace varve::control
