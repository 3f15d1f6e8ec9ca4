#include "consensus/core/term_history.h"

#include <algorithm>

namespace varve::consensus {

bool TermHistory::well_formed(const std::vector<TermStart>& entries) {
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].term <= entries[i - 1].term || entries[i].start < entries[i - 1].start) {
      return false;
    }
  }
  return true;
}

TermHistory::TermHistory(std::vector<TermStart> entries) : entries_(std::move(entries)) {
  VARVE_CHECK_MSG(well_formed(entries_), "a term history is out of order");
}

const TermStart& TermHistory::last() const {
  VARVE_CHECK(!entries_.empty());
  return entries_.back();
}

TermHistory TermHistory::up_to(Lsn flush) const {
  TermHistory cut;
  for (const TermStart& entry : entries_) {
    if (entry.start > flush) break;
    cut.entries_.push_back(entry);
  }
  return cut;
}

Term TermHistory::last_term(Lsn flush) const {
  Term term;
  for (const TermStart& entry : entries_) {
    if (entry.start > flush) break;
    term = entry.term;
  }
  return term;
}

TermHistory TermHistory::extended(Term term, Lsn start) const {
  TermHistory longer = *this;
  longer.entries_.push_back({term, start});
  VARVE_CHECK_MSG(well_formed(longer.entries_), "a new term must continue the history");
  return longer;
}

std::string TermHistory::to_string() const {
  std::string text;
  for (const TermStart& entry : entries_) {
    if (!text.empty()) text += ", ";
    text += entry.term.to_string() + "@" + entry.start.to_string();
  }
  return text;
}

std::optional<Lsn> highest_common_point(const TermHistory& proposer, const TermHistory& member,
                                        Lsn flush) {
  const auto& theirs = proposer.entries();
  const auto& ours = member.entries();
  size_t common = 0;
  while (common < theirs.size() && common < ours.size() &&
         theirs[common].term == ours[common].term) {
    if (theirs[common].start != ours[common].start) return std::nullopt;
    ++common;
  }
  if (theirs.empty()) return std::nullopt;
  if (common == 0) return theirs[0].start;
  const Lsn own_end = common < ours.size() ? ours[common].start : flush;
  if (common == theirs.size()) return own_end;
  return std::min(theirs[common].start, own_end);
}

}  // namespace varve::consensus
