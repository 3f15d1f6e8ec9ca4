// Does a database hold what its clients were promised, and nothing else?
//
// One snapshot of both tables is read, through the heap and once more through the index, and
// compared with the journal. It shares no code with Varve and asks nothing of it but SQL.
#pragma once

#include <string>
#include <vector>

#include "tests/checker/connection.h"
#include "tests/checker/journal.h"

namespace varve::checker {

// The part of the journal that a database stands for. All that was acknowledged below `from` must
// be there, nothing that was sent from `until` on may be; what lies between may. For the branch
// that is written to both are journal.position(), taken before the proof; for a branch or a past
// position, the journal's positions just before and just after that position was taken.
struct Expectation {
  JournalPosition from = 0;
  JournalPosition until = 0;
};

struct Findings {
  uint64_t rows = 0;            // read
  uint64_t promised = 0;        // of them, those that had to be there
  uint64_t unknown_there = 0;   // without an answer, and there
  uint64_t unknown_absent = 0;  // without an answer, and not
  uint64_t violations = 0;
  std::vector<std::string> examples;  // the first of the violations, a sentence each

  bool hold() const { return violations == 0; }
  // "12,034 rows: 11,990 promised, all there; 44 of 61 without an answer are there".
  std::string summary() const;
};

// Unavailable or Refused when the tables can't be read (which proves nothing).
Result<Findings> prove(Connection& connection, const Journal& journal, Expectation expectation);

// prove() on the branch that is written to, while no session runs: unknown operations that are
// there are entered as seen, so that a later proof wants them.
Result<Findings> prove_and_remember(Connection& connection, Journal& journal);

}  // namespace varve::checker
