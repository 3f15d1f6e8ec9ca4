#include "compute/gate/gate.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace varve::compute {
namespace {

// The bytes at the place where a scan stopped, for the log of a compute that is about to be killed.
std::string hex(std::span<const uint8_t> bytes, size_t most) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (uint8_t byte : bytes.first(std::min(bytes.size(), most))) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace

const char* kill_reason_name(KillReason reason) {
  switch (reason) {
    case KillReason::kUnsettled:
      return "unsettled";
    case KillReason::kPoison:
      return "poison";
    case KillReason::kAudit:
      return "audit";
    case KillReason::kStale:
      return "stale";
    case KillReason::kUnappended:
      return "unappended";
    case KillReason::kStopped:
      return "stopped";
  }
  VARVE_UNREACHABLE("no such reason");
}

Gate::Gate(const GateOptions& options, const wal::LogIdentity& identity, Incarnation nonce,
           Term term, Lsn boundary, Lsn previous, Digest digest, GateFaults faults)
    : options_(options),
      faults_(faults),
      scanner_(identity, boundary, previous, std::move(digest)),
      committed_(boundary),
      rescan_(options.first_rescan) {
  word_.nonce = nonce;
  word_.term = term;
  word_.lsn = boundary;
}

LsnRange Gate::wanted(const TailSnapshot& tail) const {
  if (tail.torn || !word_.open) return {proposed(), proposed()};
  return scanner_.wanted(tail);
}

GateEffects Gate::on_tail(Instant now, const TailSnapshot& tail, std::span<const uint8_t> bytes) {
  GateEffects effects;
  if (!word_.open) return effects;
  tickets_ = std::max(tickets_, tail.tickets);
  if (tail.torn) {
    unsettled(now, Status(Code::kUnavailable, "the tail is being written").with_lsn(proposed()), {},
              effects);
    return effects;
  }
  const LsnRange range = wanted(tail);
  Scan scan = scanner_.scan(tail, bytes);
  effects.propose = scan.found;
  for (Lsn end : scan.record_ends) unpassed_ends_.push_back(end);
  effects.record_ends = std::move(scan.record_ends);
  effects.record_starts = std::move(scan.record_starts);
  audit(tail, effects);
  if (!word_.open) return effects;

  if (faults_.stop_is_done && scan.verdict == Verdict::kUnsettled) scan.verdict = Verdict::kSettled;
  switch (scan.verdict) {
    case Verdict::kPoison:
      close(effects, KillReason::kPoison, scan.reason.to_string());
      return effects;
    case Verdict::kUnsettled:
      unsettled(now, scan.reason, bytes.subspan(proposed() - range.start), effects);
      return effects;
    case Verdict::kSettled:
      break;
  }
  unsettled_since_.reset();
  rescan_ = options_.first_rescan;
  const uint64_t covered = pending_.empty() ? word_.answered : pending_.back().ticket;
  if (tickets_ > covered) {
    Lsn until = proposed();
    if (faults_.skip_one_record && unpassed_ends_.size() > 1)
      until = unpassed_ends_[unpassed_ends_.size() - 2];
    pending_.push_back({tickets_, until});
  }
  pass(effects);
  return effects;
}

GateEffects Gate::on_quorum(Term term, Lsn lsn) {
  GateEffects effects;
  if (!word_.open) return effects;
  if (!faults_.ignore_term) {
    if (term > word_.term) return on_higher_term(term);
    if (term < word_.term) return effects;  // an answer to somebody else's append
    if (lsn > proposed()) {
      close(effects, KillReason::kUnappended,
            "the quorum acknowledges " + lsn.to_string() + ", but only " + proposed().to_string() +
                " was proposed");
      return effects;
    }
  }
  committed_ = std::max(committed_, lsn);
  pass(effects);
  return effects;
}

GateEffects Gate::on_higher_term(Term term) {
  GateEffects effects;
  if (term <= word_.term) return effects;
  close(effects, KillReason::kStale,
        "term " + term.to_string() + " exists; this compute has term " + word_.term.to_string());
  return effects;
}

GateEffects Gate::on_stop(std::string why) {
  GateEffects effects;
  close(effects, KillReason::kStopped, std::move(why));
  return effects;
}

void Gate::close(GateEffects& effects, KillReason reason, std::string text) {
  if (!word_.open) return;
  word_.open = false;
  effects.word_changed = true;
  effects.look_at.reset();
  effects.kill = Kill{reason, std::move(text)};
}

// Nobody is hurt by an unsettled tail until somebody waits for it: without the write lock's holder
// at the gate, half-copied records behind a background write are the normal state of things.
void Gate::unsettled(Instant now, const Status& reason, std::span<const uint8_t> bytes,
                     GateEffects& effects) {
  const uint64_t covered = pending_.empty() ? word_.answered : pending_.back().ticket;
  if (tickets_ <= covered) {
    unsettled_since_.reset();
    return;
  }
  if (!unsettled_since_.has_value()) unsettled_since_ = now;
  if (now - *unsettled_since_ >= options_.unsettled_limit) {
    close(effects, KillReason::kUnsettled,
          "behind " + proposed().to_string() + ": " + reason.to_string() + "; bytes " +
              hex(bytes, 64));
    return;
  }
  ++word_.rewrite;
  effects.word_changed = true;
  effects.look_at = now + rescan_;
  rescan_ = std::min(rescan_ * 2, options_.longest_rescan);
}

// Postgres' own opinion of what is flushed may never include a record that the gate has not let
// pass.
void Gate::audit(const TailSnapshot& tail, GateEffects& effects) {
  while (!unpassed_ends_.empty() && unpassed_ends_.front() <= word_.lsn) unpassed_ends_.pop_front();
  if (unpassed_ends_.empty() || unpassed_ends_.front() > tail.flushed) return;
  close(effects, KillReason::kAudit,
        "Postgres believes to have flushed up to " + tail.flushed.to_string() +
            ", but the record that ends at " + unpassed_ends_.front().to_string() +
            " never passed the gate, which stands at " + word_.lsn.to_string());
}

void Gate::pass(GateEffects& effects) {
  while (!pending_.empty() && pending_.front().lsn <= committed_) {
    word_.answered = pending_.front().ticket;
    word_.lsn = std::max(word_.lsn, pending_.front().lsn);
    pending_.pop_front();
    effects.word_changed = true;
  }
}

}  // namespace varve::compute
