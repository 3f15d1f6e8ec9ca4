// What a set of proposers and acceptors may not contradict, whatever happened to them.
//
// Nodes tell it what they see; it belongs to nobody and survives every crash. It knows three laws:
//   - a term is won once;
//   - an acknowledged record is acknowledged with the same bytes by everyone, for ever;
//   - no later term begins below an acknowledged record.
// At the end the scenario compares the log of each member with what was acknowledged.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/ids.h"
#include "base/lsn.h"

namespace varve::scenarios {

struct KnownRecord {
  Lsn start;
  uint32_t crc = 0;  // of the whole record
  bool operator==(const KnownRecord&) const = default;
};

class LogOracle {
 public:
  // Each returns what was contradicted, or nothing.
  std::optional<std::string> elected(Term term, Lsn start);
  // `term` is about to propose a record that ends at `end`.
  std::optional<std::string> proposed(Term term, Lsn end, const KnownRecord& record);
  // A quorum holds everything up to `end`, says the proposer of `term`.
  std::optional<std::string> acknowledged(Term term, Lsn end);

  // The record that `term` proposed with this end.
  std::optional<KnownRecord> find(Term term, Lsn end) const;
  const std::map<Lsn, KnownRecord>& acknowledged() const { return acknowledged_; }
  size_t elections() const { return elections_.size(); }

 private:
  std::map<Term, Lsn> elections_;
  std::map<std::pair<Term, Lsn>, KnownRecord> proposed_;
  std::map<Lsn, KnownRecord> acknowledged_;
  std::map<Lsn, Term> acknowledged_by_;
};

}  // namespace varve::scenarios
