#include "tests/checker/session.h"

#include <utility>

namespace varve::checker {

Status make_tables(Connection& connection, const Journal& journal) {
  const std::string statements[] = {
      "create table checker_operations (id bigint primary key, debit int not null,"
      " credit int not null, amount bigint not null, content text not null)",
      "create table checker_accounts (id int primary key, balance bigint not null)",
      "insert into checker_accounts select i, " + std::to_string(kOpeningBalance) +
          " from generate_series(1, " + std::to_string(journal.accounts()) + ") i"};
  for (const std::string& statement : statements) VARVE_TRY(connection.run(statement).status());
  return Status();
}

Session::Session(SessionOptions options, Journal& journal)
    : options_(std::move(options)),
      journal_(journal),
      random_(journal.seed() ^ journal.position(),
              "checker session " + std::to_string(options_.number)) {}

Result<Outcome> Session::insert() {
  VARVE_TRY(connect());
  Operation operation;
  VARVE_TRY(journal_.sent(options_.number, operation));
  const Answer answer = add_row(operation);
  switch (answer.ending()) {
    case Ending::kDone:
      return settle(operation, Outcome::kAcknowledged, answer);
    case Ending::kRefused:
      return settle(operation, Outcome::kRefused, answer);
    case Ending::kLost:
      return settle(operation, Outcome::kUnknown, answer);
  }
  VARVE_UNREACHABLE("an ending without a name");
}

Result<Outcome> Session::transfer() {
  VARVE_TRY(connect());
  Operation operation;
  operation.debit = 1 + static_cast<uint32_t>(random_.below(journal_.accounts()));
  operation.credit = 1 + static_cast<uint32_t>(random_.below(journal_.accounts() - 1));
  if (operation.credit >= operation.debit) ++operation.credit;
  operation.amount = static_cast<int64_t>(random_.between(1, 100));
  VARVE_TRY(journal_.sent(options_.number, operation));
  // Always the smaller account first, so that sessions don't deadlock.
  std::pair<uint32_t, int64_t> changes[] = {{operation.debit, -operation.amount},
                                            {operation.credit, operation.amount}};
  if (changes[0].first > changes[1].first) std::swap(changes[0], changes[1]);
  Answer answer = connection_->run("begin", {}, options_.statement_limit);
  if (answer.done()) answer = change(changes[0].first, changes[0].second);
  if (answer.done()) answer = change(changes[1].first, changes[1].second);
  if (answer.done()) answer = add_row(operation);
  if (!answer.done()) {
    // The commit was never sent, so whatever happened to the connection the answer is no.
    connection_.reset();
    return settle(operation, Outcome::kRefused, answer);
  }
  answer = connection_->run("commit", {}, options_.statement_limit);
  if (answer.ending() == Ending::kLost) return settle(operation, Outcome::kUnknown, answer);
  const bool committed = answer.done() && answer.tag() == "COMMIT";
  return settle(operation, committed ? Outcome::kAcknowledged : Outcome::kRefused, answer);
}

Status Session::connect() {
  if (connection_ && !connection_->lost()) return Status();
  VARVE_TRY_ASSIGN(connection_, Connection::open(options_.target));
  ++connections_;
  return Status();
}

Result<Outcome> Session::settle(const Operation& operation, Outcome outcome, const Answer& answer) {
  if (outcome != Outcome::kAcknowledged) last_trouble_ = answer.status().to_string();
  VARVE_TRY(journal_.answered(operation.id, outcome,
                              answer.sqlstate().empty() ? "-" : answer.sqlstate()));
  return outcome;
}

Answer Session::add_row(const Operation& operation) {
  return connection_->run("insert into checker_operations values ($1, $2, $3, $4, $5)",
                          {std::to_string(operation.id), std::to_string(operation.debit),
                           std::to_string(operation.credit), std::to_string(operation.amount),
                           content_of(journal_.seed(), operation.id)},
                          options_.statement_limit);
}

Answer Session::change(uint32_t account, int64_t amount) {
  return connection_->run("update checker_accounts set balance = balance + $2 where id = $1",
                          {std::to_string(account), std::to_string(amount)},
                          options_.statement_limit);
}

}  // namespace varve::checker
