// The commit gate's mind: decides what of the local log is proposed, and when whoever waits at the
// gate may go on.
//
// One Gate is one agent life, one won election and one Postgres; it is never reused. Inputs come
// from the arena (tail snapshots with the bytes behind the boundary) and from the proposer (quorum
// positions). It fails closed: whoever came with ticket t may pass only after a scan that covered
// every write before t was settled, and after the quorum acknowledged, in this gate's own term,
// every record that this scan knew. What stays unsettled for too long, a record that ingest can't
// digest, a flush pointer of Postgres' own that is ahead of the gate, a higher term, an
// acknowledgement of bytes that were never proposed: each closes the gate for ever and kills the
// compute.
//
// Pure: no clock, no I/O, never suspends. Its effects are for the caller to carry out in this
// order: word, proposal, kill.
#pragma once

#include <deque>
#include <optional>
#include <string>

#include "base/ids.h"
#include "base/time.h"
#include "compute/gate/scanner.h"
#include "compute/gate/tail.h"

namespace varve::compute {

struct GateOptions {
  Duration unsettled_limit = Duration::seconds(5);
  Duration first_rescan = Duration::millis(1);
  Duration longest_rescan = Duration::millis(50);
  template <class V>
  static void describe(V&& v) {
    v(&GateOptions::unsettled_limit,
      {"gate_unsettled_limit", "ms", 10, 60000,
       "a half-copied record is done in 5 ms; what stays is damage"});
    v(&GateOptions::first_rescan,
      {"gate_first_rescan", "ms", 1, 1000, "first look again at an unsettled tail"});
    v(&GateOptions::longest_rescan,
      {"gate_longest_rescan", "ms", 1, 1000, "looks again double up to this"});
  }
};

// What stands in the arena for the shim to read. `open` never turns true again.
struct GateWord {
  Incarnation nonce;
  Term term;
  Lsn lsn;                // the quorum holds every record that ends here or before
  uint64_t answered = 0;  // highest ticket that may pass
  uint64_t rewrite = 0;   // grows when the last page should be written again from its buffer
  bool open = true;
  bool operator==(const GateWord&) const = default;
};

enum class KillReason : uint8_t {
  kUnsettled,   // bytes behind the last record stayed unexplained
  kPoison,      // a record that ingest can't digest
  kAudit,       // Postgres believes something flushed that the gate never let pass
  kStale,       // a higher term exists
  kUnappended,  // an acknowledgement of bytes that were never proposed
  kStopped,     // the agent's own will
};
const char* kill_reason_name(KillReason reason);

struct Kill {
  KillReason reason;
  std::string text;  // with LSN and bytes where there are any
};

// What to do now. An empty proposal has range.empty().
struct GateEffects {
  bool word_changed = false;     // put word() into the arena and wake who waits
  LsnRange propose;              // complete records; the bytes are those just scanned
  std::vector<Lsn> record_ends;  // in `propose`
  std::vector<Lsn> record_starts;
  std::optional<Kill> kill;        // the word is closed already: SIGKILL everything
  std::optional<Instant> look_at;  // take a new snapshot then, even if nobody rings
};

// Faults that tests plant to see them found. All false outside tests.
struct GateFaults {
  bool stop_is_done = false;     // wherever the scanner stops counts as settled
  bool ignore_term = false;      // the gate compares positions only
  bool skip_one_record = false;  // the last record of each scan is not waited for
};

class Gate {
 public:
  // `boundary`, `previous`: end and start of the forged checkpoint, which the quorum holds already.
  Gate(const GateOptions& options, const wal::LogIdentity& identity, Incarnation nonce, Term term,
       Lsn boundary, Lsn previous, Digest digest, GateFaults faults = {});

  // The range of the local log to read for on_tail(tail); may be empty.
  LsnRange wanted(const TailSnapshot& tail) const;

  // A new snapshot, with the bytes of wanted(tail) as the segment files hold them, read after the
  // snapshot was taken.
  GateEffects on_tail(Instant now, const TailSnapshot& tail, std::span<const uint8_t> bytes);

  // The quorum of `term` holds everything below `lsn`.
  GateEffects on_quorum(Term term, Lsn lsn);

  // Someone with a higher term was seen, or an append was refused.
  GateEffects on_higher_term(Term term);

  // The agent wants to end the compute.
  GateEffects on_stop(std::string why);

  const GateWord& word() const { return word_; }
  // End of what was proposed.
  Lsn proposed() const { return scanner_.boundary(); }
  bool waiting() const { return tickets_ > word_.answered; }

 private:
  struct Pending {
    uint64_t ticket;
    Lsn lsn;  // passes when the quorum holds this
  };

  void close(GateEffects& effects, KillReason reason, std::string text);
  void unsettled(Instant now, const Status& reason, std::span<const uint8_t> bytes,
                 GateEffects& effects);
  void audit(const TailSnapshot& tail, GateEffects& effects);
  void pass(GateEffects& effects);

  const GateOptions options_;
  const GateFaults faults_;
  Scanner scanner_;
  GateWord word_;
  uint64_t tickets_ = 0;  // highest seen
  Lsn committed_;
  std::deque<Pending> pending_;
  std::deque<Lsn> unpassed_ends_;  // of records behind what the gate has let pass
  std::optional<Instant> unsettled_since_;
  Duration rescan_;
};

}  // namespace varve::compute
