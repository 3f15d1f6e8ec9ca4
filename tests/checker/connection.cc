#include "tests/checker/connection.h"

#include <libpq-fe.h>
#include <poll.h>

#include <chrono>
#include <cstring>
#include <thread>

namespace varve::checker {
namespace {

int64_t now_millis() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string trimmed(const char* text) {
  std::string out = text == nullptr ? "" : text;
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

std::string field(const PGresult* result, int code) {
  const char* text = PQresultErrorField(result, code);
  return text == nullptr ? "" : text;
}

}  // namespace

std::string_view Answer::tag() const {
  return result_ == nullptr ? std::string_view() : PQcmdStatus(result_.get());
}

int Answer::rows() const {
  return result_ == nullptr ? 0 : PQntuples(result_.get());
}

std::string_view Answer::at(int row, int column) const {
  return {PQgetvalue(result_.get(), row, column),
          static_cast<size_t>(PQgetlength(result_.get(), row, column))};
}

Status Answer::status() const {
  switch (ending_) {
    case Ending::kDone:
      return Status();
    case Ending::kRefused:
      return Status(Code::kRefused, sqlstate_ + ": " + message_);
    case Ending::kLost:
      return Status(Code::kUnavailable, "the connection was lost: " + message_);
  }
  VARVE_UNREACHABLE("an ending without a name");
}

void Connection::Finish::operator()(pg_conn* connection) const {
  PQfinish(connection);
}

Result<Connection> Connection::open(const std::string& target, Duration limit) {
  const std::string seconds = std::to_string(std::max<int64_t>(2, limit.to_millis() / 1000));
  // Later entries win over the expanded connection string.
  const char* const keywords[] = {"dbname", "application_name", "connect_timeout", nullptr};
  const char* const values[] = {target.c_str(), "checker", seconds.c_str(), nullptr};
  Connection opened(PQconnectdbParams(keywords, values, 1));
  if (PQstatus(opened.connection_.get()) != CONNECTION_OK)
    return Status(Code::kUnavailable, trimmed(PQerrorMessage(opened.connection_.get())));
  PQsetNoticeProcessor(
      opened.connection_.get(), [](void*, const char*) {}, nullptr);
  return opened;
}

Result<Connection> Connection::open_patiently(const std::string& target, Duration patience) {
  const int64_t deadline = now_millis() + patience.to_millis();
  for (;;) {
    Result<Connection> opened = open(target);
    if (opened.ok() || now_millis() > deadline) return opened;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

Answer Connection::run(const std::string& statement, const std::vector<std::string>& parameters,
                       Duration limit) {
  Answer lost;
  lost.message_ = "the connection was closed before";
  if (connection_ == nullptr) return lost;
  std::vector<const char*> values;
  for (const std::string& parameter : parameters) values.push_back(parameter.c_str());
  if (PQsendQueryParams(connection_.get(), statement.c_str(), static_cast<int>(values.size()),
                        nullptr, values.data(), nullptr, nullptr, 0) == 1)
    return collect(limit);
  // Part of the statement may be on its way.
  lost.message_ = trimmed(PQerrorMessage(connection_.get()));
  close();
  return lost;
}

Result<std::string> Connection::value(const std::string& statement) {
  const Answer answer = run(statement);
  VARVE_TRY(answer.status());
  return answer.rows() == 0 ? std::string() : std::string(answer.at(0, 0));
}

int Connection::server_process() const {
  return connection_ == nullptr ? 0 : PQbackendPID(connection_.get());
}

Answer Connection::collect(Duration limit) {
  const int64_t deadline = now_millis() + limit.to_millis();
  Answer answer;
  bool answered = false;
  while (wait_readable(deadline)) {
    PGresult* result = PQgetResult(connection_.get());
    if (result == nullptr) {
      // ReadyForQuery came, or the connection is gone.
      if (!answered || PQstatus(connection_.get()) != CONNECTION_OK) break;
      return answer;
    }
    std::shared_ptr<pg_result> owned(result, PQclear);
    const ExecStatusType kind = PQresultStatus(result);
    answered = true;
    if (kind == PGRES_COMMAND_OK || kind == PGRES_TUPLES_OK) {
      answer.ending_ = Ending::kDone;
      answer.result_ = std::move(owned);
      continue;
    }
    answer.sqlstate_ = field(result, PG_DIAG_SQLSTATE);
    answer.message_ = field(result, PG_DIAG_MESSAGE_PRIMARY);
    if (answer.message_.empty()) answer.message_ = trimmed(PQresultErrorMessage(result));
    answer.ending_ =
        field(result, PG_DIAG_SEVERITY_NONLOCALIZED) == "ERROR" ? Ending::kRefused : Ending::kLost;
    if (answer.ending_ == Ending::kLost) break;
  }
  // "INSERT 0 1" alone is no promise: a statement outside a transaction commits after it, and only
  // ReadyForQuery says that this went well.
  answer.ending_ = Ending::kLost;
  answer.result_.reset();
  if (answer.message_.empty()) answer.message_ = trimmed(PQerrorMessage(connection_.get()));
  if (answer.message_.empty()) answer.message_ = "no answer in time";
  close();
  return answer;
}

// True when PQgetResult will not block (an ended connection counts); false at the deadline.
bool Connection::wait_readable(int64_t deadline_millis) {
  for (;;) {
    const bool sent = PQflush(connection_.get()) == 0;
    if (PQisBusy(connection_.get()) == 0) return true;
    const int64_t left = deadline_millis - now_millis();
    if (left <= 0) return false;
    pollfd socket{PQsocket(connection_.get()), static_cast<short>(sent ? POLLIN : POLLIN | POLLOUT),
                  0};
    if (poll(&socket, 1, static_cast<int>(left)) < 0 && errno != EINTR) return false;
    if (PQconsumeInput(connection_.get()) == 0) return true;
  }
}

}  // namespace varve::checker
