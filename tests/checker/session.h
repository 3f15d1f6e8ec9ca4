// One client: it inserts rows and moves money, and writes down what it may believe.
//
// It never repeats an operation whose outcome it does not know: each has an id of its own, so that
// a proof can tell "twice" from "two".
#pragma once

#include <optional>
#include <string>

#include "base/random.h"
#include "tests/checker/connection.h"
#include "tests/checker/journal.h"

namespace varve::checker {

inline constexpr int64_t kOpeningBalance = 1000;
// Makes checker_operations and checker_accounts, which holds the journal's accounts with their
// opening balances. Refused if they exist.
Status make_tables(Connection& connection, const Journal& journal);

struct SessionOptions {
  std::string target;  // libpq connection string
  uint32_t number = 1;
  Duration statement_limit = Duration::seconds(60);
};

class Session {
 public:
  // `journal` must outlive it.
  Session(SessionOptions options, Journal& journal);

  // Connects if need be, without patience: an error means that nothing was sent. Otherwise how the
  // operation ended; Internal only if the journal can't be written.
  Result<Outcome> insert();
  Result<Outcome> transfer();

  uint64_t connections() const { return connections_; }
  // Why the last operation was not acknowledged.
  const std::string& last_trouble() const { return last_trouble_; }

 private:
  Status connect();
  Result<Outcome> settle(const Operation& operation, Outcome outcome, const Answer& answer);
  Answer add_row(const Operation& operation);
  Answer change(uint32_t account, int64_t amount);

  const SessionOptions options_;
  Journal& journal_;
  RandomStream random_;
  std::optional<Connection> connection_;
  uint64_t connections_ = 0;
  std::string last_trouble_;
};

}  // namespace varve::checker
