// A session with a Postgres that may be killed at any moment, and what its answers prove.
//
// Plain blocking code over libpq for tests and tools; one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/time.h"

struct pg_conn;
struct pg_result;

namespace varve::checker {

enum class Ending : uint8_t {
  kDone,     // the server said so
  kRefused,  // an ERROR: the statement and the transaction it stood in have certainly no effect
  kLost,     // no answer, or the server's last word was that it dies: all is possible
};

class Answer {
 public:
  Ending ending() const { return ending_; }
  bool done() const { return ending_ == Ending::kDone; }
  // Five characters, or empty when the server said nothing.
  const std::string& sqlstate() const { return sqlstate_; }
  const std::string& message() const { return message_; }
  // "COMMIT", "INSERT 0 1".
  std::string_view tag() const;
  int rows() const;
  // A null is an empty text.
  std::string_view at(int row, int column) const;
  // Success, or Refused or Unavailable with the server's message.
  Status status() const;

 private:
  friend class Connection;
  Ending ending_ = Ending::kLost;
  std::string sqlstate_;
  std::string message_;
  std::shared_ptr<pg_result> result_;
};

class Connection {
 public:
  // `target`: a libpq connection string. Unavailable with libpq's message when no server is there
  // or it takes no connections yet; gives up after `limit` (whole seconds, at least 2).
  static Result<Connection> open(const std::string& target, Duration limit = Duration::seconds(10));
  // As open, again and again until `patience` is over: for a server that is being started.
  static Result<Connection> open_patiently(const std::string& target, Duration patience);

  // One statement with text parameters ($1 ...). After `limit` without an answer the connection is
  // closed and the answer is lost. On a closed connection everything is lost.
  Answer run(const std::string& statement, const std::vector<std::string>& parameters = {},
             Duration limit = Duration::seconds(60));
  // run() where anything but success is an error; the first column of the first row, or "".
  Result<std::string> value(const std::string& statement);

  bool lost() const { return connection_ == nullptr; }
  // Ends it without a word to the server.
  void close() { connection_.reset(); }
  int server_process() const;

 private:
  struct Finish {
    void operator()(pg_conn* connection) const;
  };
  explicit Connection(pg_conn* connection) : connection_(connection) {}
  Answer collect(Duration limit);
  bool wait_readable(int64_t deadline_millis);

  std::unique_ptr<pg_conn, Finish> connection_;
};

}  // namespace varve::checker
