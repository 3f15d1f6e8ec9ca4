// Which term wrote which part of the log.
//
// Entry i says: the log from entries[i].start on, up to entries[i + 1].start, was written under
// entries[i].term. Terms strictly ascend, starts never descend (a term may have written nothing).
// Two members that share an entry hold the same bytes up to the next entry of either: that is what
// makes the highest common point of two logs a function of two histories.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"

namespace varve::consensus {

struct TermStart {
  Term term;
  Lsn start;
  constexpr auto operator<=>(const TermStart&) const = default;
};

class TermHistory {
 public:
  TermHistory() = default;
  // Invariant: `entries` is well formed (see `well_formed`).
  explicit TermHistory(std::vector<TermStart> entries);

  // Terms strictly ascend and starts never descend.
  static bool well_formed(const std::vector<TermStart>& entries);

  const std::vector<TermStart>& entries() const { return entries_; }
  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  // Invariant: not empty.
  const TermStart& last() const;

  // The entries with start <= flush: what a member whose durable log ends at `flush` may claim. An
  // entry at exactly `flush` counts: a term that has written nothing is still known.
  TermHistory up_to(Lsn flush) const;
  // The term of the last entry with start <= flush; zero when there is none.
  Term last_term(Lsn flush) const;
  // The term that wrote the byte at `lsn`; zero before the first entry.
  Term term_at(Lsn lsn) const { return last_term(lsn); }

  // This history, continued by a new proposer. Invariant: term is above the last one, start not
  // below its.
  TermHistory extended(Term term, Lsn start) const;

  bool operator==(const TermHistory&) const = default;
  std::string to_string() const;  // "1@0/10, 3@0/40"

 private:
  std::vector<TermStart> entries_;
};

// The last position up to which a member's log equals the proposer's: where the member is cut and
// streaming begins. `member` is the member's history cut to its `flush` (TermHistory::up_to).
//
// Walks the longest prefix of equal terms. Behind its last entry the two logs agree until either
// moves on to another term or the member's log ends; without a common entry they agree on nothing
// before the proposer's first entry. Nothing when the two contradict each other (equal term,
// different start), which honest peers of one timeline never do.
std::optional<Lsn> highest_common_point(const TermHistory& proposer, const TermHistory& member,
                                        Lsn flush);

}  // namespace varve::consensus
