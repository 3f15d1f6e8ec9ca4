#include "tests/checker/proof.h"

#include <charconv>
#include <map>
#include <optional>
#include <sstream>

#include "tests/checker/session.h"

namespace varve::checker {
namespace {

constexpr size_t kExamples = 20;

template <class T>
T number(std::string_view text) {
  T value{};
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

struct Row {
  Operation operation;
  std::string content;
};

struct Snapshot {
  std::vector<Row> rows;
  std::vector<uint64_t> index;  // ids in the order of the index
  std::map<uint32_t, int64_t> balances;
};

Result<Snapshot> read_snapshot(Connection& connection) {
  Snapshot snapshot;
  for (const char* statement :
       {"begin isolation level repeatable read read only", "set local enable_indexscan = off",
        "set local enable_indexonlyscan = off", "set local enable_bitmapscan = off"})
    VARVE_TRY(connection.run(statement).status());
  const Duration limit = Duration::seconds(300);
  const Answer heap = connection.run(
      "select id, debit, credit, amount, content from checker_operations", {}, limit);
  VARVE_TRY(heap.status());
  for (int i = 0; i < heap.rows(); ++i) {
    Row row;
    row.operation = {number<uint64_t>(heap.at(i, 0)), number<uint32_t>(heap.at(i, 1)),
                     number<uint32_t>(heap.at(i, 2)), number<int64_t>(heap.at(i, 3))};
    row.content = heap.at(i, 4);
    snapshot.rows.push_back(std::move(row));
  }
  const Answer accounts = connection.run("select id, balance from checker_accounts", {}, limit);
  VARVE_TRY(accounts.status());
  for (int i = 0; i < accounts.rows(); ++i)
    snapshot.balances[number<uint32_t>(accounts.at(i, 0))] = number<int64_t>(accounts.at(i, 1));
  for (const char* statement : {"set local enable_seqscan = off", "set local enable_sort = off",
                                "set local enable_indexscan = on"})
    VARVE_TRY(connection.run(statement).status());
  const Answer index = connection.run("select id from checker_operations order by id", {}, limit);
  VARVE_TRY(index.status());
  for (int i = 0; i < index.rows(); ++i) snapshot.index.push_back(number<uint64_t>(index.at(i, 0)));
  VARVE_TRY(connection.run("commit").status());
  return snapshot;
}

class Judge {
 public:
  Judge(const Journal& journal, Expectation expectation)
      : seed_(journal.seed()),
        accounts_(journal.accounts()),
        expected_(journal.operations()),
        expectation_(expectation) {}

  Findings judge(const Snapshot& snapshot) {
    findings_.rows = snapshot.rows.size();
    for (const Row& row : snapshot.rows) judge_row(row);
    for (const auto& [id, record] : expected_) judge_absent(id, record);
    judge_index(snapshot);
    judge_balances(snapshot);
    return std::move(findings_);
  }
  const std::map<uint64_t, uint64_t>& there() const { return there_; }

 private:
  void violation(const std::string& text) {
    ++findings_.violations;
    if (findings_.examples.size() < kExamples) findings_.examples.push_back(text);
  }
  static std::string row_name(uint64_t id) {
    return "row " + std::to_string(id) + " (session " + std::to_string(id >> 32) + ", operation " +
           std::to_string(id & 0xFFFFFFFF) + ")";
  }
  bool must_be_there(const OperationRecord& record) const {
    if (record.outcome == Outcome::kAcknowledged) return record.answered < expectation_.from;
    return record.seen && record.seen_at < expectation_.from;
  }

  void judge_row(const Row& row) {
    const uint64_t id = row.operation.id;
    if (++there_[id] > 1) return violation(row_name(id) + " is there twice");
    const auto known = expected_.find(id);
    if (known == expected_.end()) return violation(row_name(id) + " was never sent");
    const OperationRecord& record = known->second;
    if (record.sent >= expectation_.until)
      violation(row_name(id) + " is there, and was sent only later");
    if (record.outcome == Outcome::kRefused) violation(row_name(id) + " is there, and was refused");
    if (record.operation.debit != row.operation.debit ||
        record.operation.credit != row.operation.credit ||
        record.operation.amount != row.operation.amount)
      violation(row_name(id) + " has other numbers than were sent");
    if (row.content != content_of(seed_, id))
      violation(row_name(id) + " has another content than was sent");
    if (must_be_there(record)) ++findings_.promised;
    if (record.outcome == Outcome::kUnknown) ++findings_.unknown_there;
  }

  void judge_absent(uint64_t id, const OperationRecord& record) {
    if (there_.contains(id)) return;
    if (must_be_there(record)) {
      violation(row_name(id) + " is lost: it was " +
                (record.outcome == Outcome::kAcknowledged ? "acknowledged" : "there once"));
    } else if (record.outcome == Outcome::kUnknown && record.sent < expectation_.until) {
      ++findings_.unknown_absent;
    }
  }

  void judge_index(const Snapshot& snapshot) {
    std::map<uint64_t, uint64_t> indexed;
    for (const uint64_t id : snapshot.index) ++indexed[id];
    if (indexed == there_) return;
    for (const auto& [id, times] : there_)
      if (!indexed.contains(id)) return violation(row_name(id) + " is not found by the index");
    violation("the index finds rows that the table does not hold");
  }

  // The rows that are there say what each account must hold, committed or not in our view.
  void judge_balances(const Snapshot& snapshot) {
    std::map<uint32_t, int64_t> expected;
    for (uint32_t account = 1; account <= accounts_; ++account) expected[account] = kOpeningBalance;
    for (const Row& row : snapshot.rows) {
      if (row.operation.amount == 0) continue;
      expected[row.operation.debit] -= row.operation.amount;
      expected[row.operation.credit] += row.operation.amount;
    }
    for (const auto& [account, balance] : expected) {
      const auto found = snapshot.balances.find(account);
      if (found == snapshot.balances.end()) {
        violation("account " + std::to_string(account) + " is lost");
      } else if (found->second != balance) {
        violation("account " + std::to_string(account) + " holds " + std::to_string(found->second) +
                  ", and its transfers make it " + std::to_string(balance));
      }
    }
    for (const auto& [account, balance] : snapshot.balances)
      if (!expected.contains(account))
        violation("account " + std::to_string(account) + " was never opened");
  }

  const uint64_t seed_;
  const uint32_t accounts_;
  const std::map<uint64_t, OperationRecord> expected_;
  const Expectation expectation_;
  std::map<uint64_t, uint64_t> there_;  // id to number of rows
  Findings findings_;
};

}  // namespace

std::string Findings::summary() const {
  std::ostringstream out;
  out << rows << " rows, " << promised << " of them promised; " << unknown_there << " of "
      << unknown_there + unknown_absent << " without an answer are there";
  if (violations > 0) out << "; " << violations << " VIOLATIONS, the first: " << examples.front();
  return out.str();
}

Result<Findings> prove(Connection& connection, const Journal& journal, Expectation expectation) {
  VARVE_TRY_ASSIGN(const Snapshot snapshot, read_snapshot(connection));
  return Judge(journal, expectation).judge(snapshot);
}

Result<Findings> prove_and_remember(Connection& connection, Journal& journal) {
  const JournalPosition now = journal.position();
  VARVE_TRY_ASSIGN(const Snapshot snapshot, read_snapshot(connection));
  Judge judge(journal, {now, now});
  Findings findings = judge.judge(snapshot);
  for (const auto& [id, record] : journal.operations())
    if (record.outcome == Outcome::kUnknown && !record.seen && judge.there().contains(id))
      VARVE_TRY(journal.seen(id));
  return findings;
}

}  // namespace varve::checker
