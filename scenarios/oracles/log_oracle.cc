#include "scenarios/oracles/log_oracle.h"

namespace varve::scenarios {

std::optional<std::string> LogOracle::elected(Term term, Lsn start) {
  if (!elections_.emplace(term, start).second) {
    return "term " + term.to_string() + " was won twice";
  }
  for (const auto& [end, by] : acknowledged_by_) {
    if (by < term && end > start) {
      return "term " + term.to_string() + " begins at " + start.to_string() +
             ", below a record that term " + by.to_string() + " acknowledged up to " +
             end.to_string();
    }
  }
  return std::nullopt;
}

std::optional<std::string> LogOracle::proposed(Term term, Lsn end, const KnownRecord& record) {
  const auto [place, fresh] = proposed_.emplace(std::make_pair(term, end), record);
  if (!fresh && place->second != record) {
    return "term " + term.to_string() + " proposed two records that end at " + end.to_string();
  }
  return std::nullopt;
}

std::optional<std::string> LogOracle::acknowledged(Term term, Lsn end) {
  const auto proposal = proposed_.find({term, end});
  if (proposal == proposed_.end()) {
    return "term " + term.to_string() + " acknowledged " + end.to_string() +
           ", which it never proposed";
  }
  const auto [place, fresh] = acknowledged_.emplace(end, proposal->second);
  if (!fresh && place->second != proposal->second) {
    return "two different records that end at " + end.to_string() + " were acknowledged";
  }
  acknowledged_by_.emplace(end, term);
  for (auto later = elections_.upper_bound(term); later != elections_.end(); ++later) {
    if (later->second < end) {
      return "term " + term.to_string() + " acknowledged up to " + end.to_string() +
             " although term " + later->first.to_string() + " began at " +
             later->second.to_string();
    }
  }
  return std::nullopt;
}

std::optional<KnownRecord> LogOracle::find(Term term, Lsn end) const {
  const auto found = proposed_.find({term, end});
  if (found == proposed_.end()) return std::nullopt;
  return found->second;
}

}  // namespace varve::scenarios
