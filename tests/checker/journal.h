// What the checker's sessions did, in the order it happened, in memory and in a file that is only
// appended to.
//
// Law: an operation is in the file before a byte of it is sent, and its outcome before the session
// does anything else. Each entry is one write(2), so the file tells the truth after the death of
// the client at any moment (it is not synced: the machine itself is not what is killed here).
//
// A position counts entries. "Everything that was acknowledged below p" is therefore a fact, and so
// is "nothing of what was sent from q on": between them lies what a branch may or may not hold.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/status.h"

namespace varve::checker {

using JournalPosition = uint64_t;

enum class Outcome : uint8_t {
  kUnknown,       // no answer, or none yet: there or not, but not both
  kAcknowledged,  // must be there
  kRefused,       // must not
};
const char* outcome_name(Outcome outcome);

// One row of checker_operations. A transfer moves `amount` from one account to another in the same
// transaction; a plain insert has amount 0 and no accounts (0).
struct Operation {
  uint64_t id = 0;
  uint32_t debit = 0;
  uint32_t credit = 0;
  int64_t amount = 0;
};

struct OperationRecord {
  Operation operation;
  Outcome outcome = Outcome::kUnknown;
  JournalPosition sent = 0;
  JournalPosition answered = 0;  // of the outcome; meaningless while unknown
  // A proof saw this unknown one on the branch that is written to: from then on it must be there.
  bool seen = false;
  JournalPosition seen_at = 0;
};

// What a row with this id holds besides the operation: text of 16 to 400 characters.
std::string content_of(uint64_t seed, uint64_t id);

// Thread-safe.
class Journal {
 public:
  // A new file; Exists if there is one.
  static Result<std::unique_ptr<Journal>> create(const std::string& path, uint64_t seed,
                                                 uint32_t accounts);
  // An earlier one, to be continued. A torn last line is cut off; anything else that does not parse
  // is Corrupt.
  static Result<std::unique_ptr<Journal>> open(const std::string& path);
  // The journal of a database that was branched from this one's between two positions: what was
  // answered before `from` is known there, what was sent before `until` is unknown, the rest does
  // not exist. Its sessions must have numbers that no session of this journal has, so that a row
  // that leaks from one database to the other is found out.
  Result<std::unique_ptr<Journal>> fork(const std::string& path, JournalPosition from,
                                        JournalPosition until) const;
  ~Journal();

  uint64_t seed() const { return seed_; }
  // Numbered from 1; at least 2.
  uint32_t accounts() const { return accounts_; }
  JournalPosition position() const;

  // Draws the session's next id; `operation.id` is set and the entry written.
  Status sent(uint32_t session, Operation& operation);
  // `why`: one word, a SQLSTATE or such.
  Status answered(uint64_t id, Outcome outcome, const std::string& why);
  Status seen(uint64_t id);
  // A line for the human reader.
  Status remark(const std::string& text);

  // A copy, so that sessions may go on while a proof reads it.
  std::map<uint64_t, OperationRecord> operations() const;

 private:
  Journal(std::string path, int file, uint64_t seed, uint32_t accounts)
      : path_(std::move(path)), file_(file), seed_(seed), accounts_(accounts) {}
  // Into the file, then into memory.
  Status enter(const std::string& line);
  Status enter_locked(const std::string& line);
  Status replay(const std::string& content);
  Status replay_line(const std::string& line);

  const std::string path_;
  const int file_;
  const uint64_t seed_;
  const uint32_t accounts_;
  mutable std::mutex mutex_;
  JournalPosition position_ = 0;
  std::map<uint64_t, OperationRecord> operations_;
  std::map<uint32_t, uint32_t> last_;  // of each session
};

}  // namespace varve::checker
