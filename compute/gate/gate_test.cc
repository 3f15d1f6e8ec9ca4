// Scanner and gate against a model of how Postgres writes its log.
//
// The model keeps what matters of XLogWrite: backends reserve places in log order and copy their
// records into shared pages piece by piece, in any interleaving; a flush waits for the insertions
// up to its target, then writes whole pages, with whatever half-copied records stand behind the
// target; a background process writes pages without syncing them; the process that comes to the
// gate need not be the one that wrote. Reads of the agent can be wrong: a flipped byte, a page of
// zeros. What must hold: whoever passes the gate with target T finds every record up to T
// acknowledged by the quorum, byte for byte; and without faults whoever waits does pass. Planted
// faults in the gate must break the first.
#include "compute/gate/gate.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>

#include "base/codec.h"
#include "base/random.h"
#include "wal/extent.h"
#include "wal/writer.h"

namespace varve::compute {
namespace {

constexpr uint32_t kSegment = 1 << 20;
constexpr Incarnation kNonce(77);
constexpr Term kTerm(5);

wal::LogIdentity identity() {
  return {wal::version_of_major(15), 0x1234567890ABCDEF, kSegment, 1};
}

Status accept_all(const wal::Record&) {
  return Status();
}

enum class ReadFault { kNone, kFlippedByte, kZeroPage };

struct Plan {
  uint64_t seed = 0;
  GateFaults faults = {};
  bool per_process_end = false;  // the tail is kept per process: a mutant of the shim
  ReadFault read_fault = ReadFault::kNone;
  bool read_fault_stays = false;
};

struct Outcome {
  std::string violation;
  bool killed = false;
  KillReason reason = KillReason::kStopped;
  uint64_t passed = 0;
  uint64_t rewrites = 0;
};

class Model {
 public:
  explicit Model(const Plan& plan)
      : plan_(plan),
        random_(plan.seed, "wal_tail"),
        start_(pick_start()),
        gate_({}, identity(), kNonce, kTerm, start_, start_previous(), accept_all, plan.faults) {
    origin_ = start_.page_start();
    make_records();
    const uint64_t pages = (truth_end() - origin_) / kWalPageSize + 2;
    memory_.assign(pages * kWalPageSize, 0);
    file_.assign(memory_.size(), 0);
    fill_foreign_prefix();
    written_ = flushed_ = start_;
    quorum_ = start_;
  }

  Outcome run() {
    for (int flush = 0; flush < 12 && outcome_.violation.empty() && !outcome_.killed; ++flush) {
      copy_some(1 + random_.below(6));
      if (random_.chance(300000)) background_write();
      const Lsn target = inserted();
      if (target <= flushed_) continue;
      flush_to(target);
    }
    outcome_.rewrites = gate_.word().rewrite;
    return outcome_;
  }

 private:
  struct Copy {
    LsnRange extent;
    Lsn done;  // bytes of `extent` in memory
  };

  Lsn pick_start() {
    // Anywhere 8-aligned that can be a boundary, often close to a page's or the segment's end.
    uint64_t value = 3ull * kSegment + random_.below(4) * kWalPageSize;
    if (random_.chance(300000)) value = 4ull * kSegment - (1 + random_.below(3)) * kWalPageSize;
    value += random_.chance(300000) ? kWalPageSize - 8 * (1 + random_.below(8))
                                    : random_.below(kWalPageSize);
    return wal::normalise(Lsn(value), kSegment);
  }
  Lsn start_previous() const { return Lsn(start_.value - 4096); }
  Lsn truth_end() const { return start_ + truth_.size(); }

  void make_records() {
    wal::LogWriter writer(identity(), start_, start_previous());
    for (int i = 0; i < 60; ++i) {
      const Lsn from = writer.boundary();
      if (random_.chance(15000) && from.segment_offset(kSegment) != 0) {
        writer.append_switch(truth_);
      } else {
        const uint64_t length = random_.chance(100000) ? random_.below(20000) : random_.below(1500);
        std::vector<uint8_t> data(length);
        for (uint8_t& byte : data) byte = static_cast<uint8_t>(random_.next());
        std::vector<uint8_t> raw = wal::build_record(
            *identity().version, {.xid = 700, .info = 0x20, .rmid = 0, .main_data = data});
        writer.append(raw, truth_);
      }
      copies_.push_back({{from, writer.boundary()}, from});
    }
  }

  // What stands on the first page before the compute starts; never looked at.
  void fill_foreign_prefix() {
    for (uint64_t i = 0; i < start_ - origin_; ++i)
      memory_[i] = static_cast<uint8_t>(random_.next());
    if (start_ > origin_) wal::write_page_header(identity(), origin_, 0, 0, memory_);
    file_ = memory_;
  }

  uint8_t* at(std::vector<uint8_t>& where, Lsn lsn) { return where.data() + (lsn - origin_); }

  // Up to four backends copy at a time; each step moves a piece of one record.
  void copy_some(uint64_t steps) {
    for (uint64_t i = 0; i < steps; ++i) {
      const size_t first = first_incomplete();
      if (first == copies_.size()) return;
      const size_t window = std::min<size_t>(4, copies_.size() - first);
      Copy& copy = copies_[first + random_.below(window)];
      for (size_t k = first; k < first + window; ++k) reserve(copies_[k].extent);
      uint64_t piece = copy.extent.end - copy.done;
      if (random_.chance(500000)) piece = std::min(piece, 1 + random_.below(600));
      std::memcpy(at(memory_, copy.done), truth_.data() + (copy.done - start_), piece);
      copy.done = copy.done + piece;
    }
  }

  // Reserving a place makes its pages: headers without what continues there.
  void reserve(LsnRange extent) {
    reserved_ = std::max(reserved_, extent.end);
    for (Lsn page = (extent.start + (kWalPageSize - 1)).page_start(); page < extent.end;
         page = page + kWalPageSize) {
      if (page < origin_ || load_le<uint16_t>(at(memory_, page)) != 0) continue;
      const bool switched = load_le<uint16_t>(truth_.data() + (page - start_)) == 0;
      if (switched) continue;  // behind a switch, headers are zero as well
      std::vector<uint8_t> header(wal::kLongHeaderSize);
      wal::write_page_header(identity(), page, 0, 0, header);
      std::memcpy(at(memory_, page), header.data(), wal::page_header_size(page, kSegment));
    }
  }

  size_t first_incomplete() const {
    size_t i = 0;
    while (i < copies_.size() && copies_[i].done == copies_[i].extent.end) ++i;
    return i;
  }
  // End of the last record before which everything is copied.
  Lsn inserted() const {
    const size_t i = first_incomplete();
    return i == 0 ? start_ : copies_[i - 1].extent.end;
  }

  // XLogWrite: whole pages from the last one that was not full, up to the page of `target`.
  void write_to(Lsn target, size_t process) {
    const Lsn from = written_.page_start();
    const Lsn end = (target + (kWalPageSize - 1)).page_start();
    if (end <= from) return;
    std::memcpy(at(file_, from), at(memory_, from), end - from);
    if (random_.chance(200000)) copy_some(1);  // between the write and the look for the last word
    TailSnapshot told;
    told.end = end;
    for (Lsn word = end; word > from;) {
      word = Lsn(word.value - 8);
      const uint64_t value = load_le<uint64_t>(at(memory_, word));
      if (value == 0) continue;
      told.nonzero_at = word;
      told.nonzero_value = value;
      break;
    }
    tails_[plan_.per_process_end ? process : 0] = told;
    last_end_ = end;
    written_ = target;
  }

  void background_write() {
    const Lsn target = inserted();
    if (target > written_) write_to(target, 1);
    look(false);
  }

  void flush_to(Lsn target) {
    if (target > written_) write_to(target, random_.chance(700000) ? 2 : 3);
    const uint64_t ticket = ++tickets_;
    const size_t syncer = 2;
    const Instant began = now_;
    bool passed = false;
    while (!passed) {
      TailSnapshot tail = tails_[plan_.per_process_end ? syncer : 0];
      tail.tickets = tickets_;
      tail.flushed = flushed_;
      tail.inserted = reserved_;
      look(true, tail);
      if (!outcome_.violation.empty() || outcome_.killed) return;
      passed = gate_.word().open && gate_.word().answered >= ticket;
      if (passed) break;
      acknowledge_some();
      if (!outcome_.violation.empty() || outcome_.killed) return;
      passed = gate_.word().open && gate_.word().answered >= ticket;
      if (passed) break;
      if (random_.chance(500000)) copy_some(1);
      if (gate_.word().rewrite > rewrites_done_) rewrite_last_page();
      now_ = now_ + Duration::millis(1 + static_cast<int64_t>(random_.below(40)));
      if (now_ - began > Duration::seconds(60)) {
        outcome_.violation = "waits for ever at the gate";
        return;
      }
    }
    ++outcome_.passed;
    if (quorum_ < target || !log_is_true(target)) {
      outcome_.violation = "passed with target " + target.to_string() + ", quorum at " +
                           quorum_.to_string() + first_difference();
    }
    flushed_ = std::max(flushed_, target);
  }

  void rewrite_last_page() {
    rewrites_done_ = gate_.word().rewrite;
    const Lsn page(last_end_.value - kWalPageSize);
    std::memcpy(at(file_, page), at(memory_, page), kWalPageSize);
    TailSnapshot& told = tails_[plan_.per_process_end ? 2 : 0];
    for (Lsn word = last_end_; word > page;) {
      word = Lsn(word.value - 8);
      if (load_le<uint64_t>(at(memory_, word)) == 0) continue;
      told.nonzero_at = word;
      told.nonzero_value = load_le<uint64_t>(at(memory_, word));
      break;
    }
  }

  void look(bool at_gate) {
    TailSnapshot tail = tails_[0];
    tail.tickets = tickets_;
    tail.flushed = flushed_;
    if (!plan_.per_process_end) look(at_gate, tail);
  }

  // The agent takes the bytes, through a reader that may lie.
  void look(bool at_gate, const TailSnapshot& tail) {
    const LsnRange range = gate_.wanted(tail);
    std::vector<uint8_t> bytes;
    if (!range.empty())
      bytes.assign(at(file_, range.start), at(file_, range.start) + (range.end - range.start));
    const bool wrong =
        at_gate && !bytes.empty() && (plan_.read_fault_stays || random_.chance(200000));
    if (wrong && plan_.read_fault == ReadFault::kFlippedByte) {
      const Lsn from = std::max(gate_.proposed(), range.start);
      const uint64_t offset =
          (from - range.start) + random_.below(std::min<uint64_t>(range.end - from, 200));
      // One bit of a page header is under no check, because Postgres sets it as it likes.
      const uint64_t bit = random_.below(8);
      const bool free_bit = (range.start + offset).page_offset() == 2 && bit == 2;
      if (!free_bit) bytes[offset] ^= static_cast<uint8_t>(1u << bit);
    }
    if (wrong && plan_.read_fault == ReadFault::kZeroPage) {
      const uint64_t page = random_.below(bytes.size() / kWalPageSize);
      std::fill_n(bytes.begin() + static_cast<int64_t>(page * kWalPageSize), kWalPageSize,
                  uint8_t{0});
    }
    GateEffects effects = gate_.on_tail(now_, tail, bytes);
    if (!effects.propose.empty()) {
      const auto* from = bytes.data() + (effects.propose.start - range.start);
      if (effects.propose.start != start_ + log_.size())
        outcome_.violation = "a proposal leaves a gap";
      log_.insert(log_.end(), from, from + (effects.propose.end - effects.propose.start));
    }
    note(effects);
  }

  void acknowledge_some() {
    const Lsn end = start_ + log_.size();
    if (end <= quorum_) return;
    quorum_ = random_.chance(500000) ? end : quorum_ + random_.between(1, end - quorum_);
    note(gate_.on_quorum(kTerm, quorum_));
  }

  void note(const GateEffects& effects) {
    if (!effects.kill.has_value()) return;
    outcome_.killed = true;
    outcome_.reason = effects.kill->reason;
  }

  std::string first_difference() const {
    for (size_t i = 0; i < std::min(log_.size(), truth_.size()); ++i) {
      if (log_[i] != truth_[i]) return ", first wrong byte at " + (start_ + i).to_string();
    }
    return "";
  }

  bool log_is_true(Lsn target) const {
    const size_t length = target - start_;
    return log_.size() >= length && std::memcmp(log_.data(), truth_.data(), length) == 0;
  }

  const Plan plan_;
  RandomStream random_;
  const Lsn start_;
  Lsn origin_;
  Gate gate_;
  std::vector<uint8_t> truth_;  // the log from start_ on
  std::vector<Copy> copies_;
  std::vector<uint8_t> memory_;  // Postgres' buffers, from origin_ on
  std::vector<uint8_t> file_;    // the segment files
  std::vector<uint8_t> log_;     // what was proposed
  std::map<size_t, TailSnapshot> tails_;
  Lsn written_, flushed_, quorum_, last_end_, reserved_;
  uint64_t tickets_ = 0;
  uint64_t rewrites_done_ = 0;
  Instant now_;
  Outcome outcome_;
};

// Runs seeds until the plan's fault shows; the number of seeds it took, or 0.
uint64_t seeds_until_violation(Plan plan, uint64_t most) {
  for (uint64_t seed = 1; seed <= most; ++seed) {
    plan.seed = seed;
    if (!Model(plan).run().violation.empty()) return seed;
  }
  return 0;
}

RC_GTEST_PROP(Gate, WhoeverPassesIsInTheQuorum, (uint64_t seed)) {
  const Outcome outcome = Model({.seed = seed}).run();
  RC_ASSERT(outcome.violation == "");
  RC_ASSERT(!outcome.killed);
}

RC_GTEST_PROP(Gate, WrongReadsNeverOpenIt, (uint64_t seed, bool zero_page, bool stays)) {
  const Outcome outcome =
      Model({.seed = seed,
             .read_fault = zero_page ? ReadFault::kZeroPage : ReadFault::kFlippedByte,
             .read_fault_stays = stays})
          .run();
  RC_ASSERT(outcome.violation == "");
  if (outcome.killed) RC_ASSERT(outcome.reason == KillReason::kUnsettled);
}

TEST(Gate, TheModelReachesWhatItShould) {
  uint64_t passed = 0, rewrites = 0, killed = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    const Outcome good = Model({.seed = seed}).run();
    EXPECT_EQ(good.violation, "") << seed;
    passed += good.passed;
    rewrites += good.rewrites;
    const Outcome bad =
        Model({.seed = seed, .read_fault = ReadFault::kFlippedByte, .read_fault_stays = true})
            .run();
    killed += bad.killed;
  }
  std::printf("%lu passes, %lu rewrites, %lu kills under wrong reads\n", passed, rewrites, killed);
  EXPECT_GT(passed, 1000u);
  EXPECT_GT(rewrites, 100u);
  EXPECT_GT(killed, 10u);
}

TEST(Gate, PlantedFaultsAreFound) {
  const uint64_t stop_is_done = seeds_until_violation(
      {.faults = {.stop_is_done = true}, .read_fault = ReadFault::kZeroPage}, 500);
  EXPECT_NE(stop_is_done, 0u);
  const uint64_t per_process = seeds_until_violation({.per_process_end = true}, 500);
  EXPECT_NE(per_process, 0u);
  const uint64_t skip = seeds_until_violation({.faults = {.skip_one_record = true}}, 500);
  EXPECT_NE(skip, 0u);
  std::printf("seeds needed: stop_is_done %lu, per_process_end %lu, skip_one_record %lu\n",
              stop_is_done, per_process, skip);
}

// A small real log for the tests below.
struct OneRecord {
  std::vector<uint8_t> page;
  Lsn start = Lsn(3 * kSegment + kWalPageSize + 24);
  LsnRange extent;
  TailSnapshot tail;

  OneRecord() {
    page.assign(kWalPageSize, 0);
    wal::write_page_header(identity(), start.page_start(), 0, 0, page);
    std::vector<uint8_t> raw =
        wal::build_record(*identity().version, {.info = 0x20, .rmid = 0, .main_data = page});
    raw = wal::build_record(*identity().version, {.xid = 9, .info = 0x20, .rmid = 0});
    std::vector<uint8_t> out;
    wal::LogWriter writer(identity(), boundary(), Lsn(start.value - 200));
    extent = writer.append(raw, out);
    std::memcpy(page.data() + boundary().page_offset(), out.data(), out.size());
    tail.tickets = 1;
    tail.end = start.page_start() + kWalPageSize;
    tail.nonzero_at = Lsn(extent.start.value + 16);
    tail.nonzero_value = load_le<uint64_t>(page.data() + tail.nonzero_at.page_offset());
  }
  Lsn boundary() const { return start + 64; }
  Gate gate(GateFaults faults = {}) const {
    return Gate({}, identity(), kNonce, kTerm, boundary(), Lsn(start.value - 200), accept_all,
                faults);
  }
};

// The old agent waits at a position that its own term never reached; a successor's term does.
TEST(Gate, AnotherTermsPositionNeverOpensIt) {
  const OneRecord log;
  for (bool mutant : {false, true}) {
    Gate gate = log.gate({.ignore_term = mutant});
    const GateEffects proposed = gate.on_tail(Instant{}, log.tail, log.page);
    EXPECT_EQ(proposed.propose.end, log.extent.end);
    const GateEffects effects = gate.on_quorum(Term(7), log.extent.end + 8192);
    if (mutant) {
      EXPECT_EQ(gate.word().answered, 1u) << "the planted fault must show";
      continue;
    }
    EXPECT_EQ(gate.word().answered, 0u);
    EXPECT_FALSE(gate.word().open);
    ASSERT_TRUE(effects.kill.has_value());
    EXPECT_EQ(effects.kill->reason, KillReason::kStale);
    gate.on_quorum(kTerm, log.extent.end);
    EXPECT_EQ(gate.word().answered, 0u) << "closed is final";
  }
}

TEST(Gate, LowerTermsAreNoAnswer) {
  const OneRecord log;
  Gate gate = log.gate();
  (void)gate.on_tail(Instant{}, log.tail, log.page);
  (void)gate.on_quorum(Term(4), log.extent.end);
  EXPECT_EQ(gate.word().answered, 0u);
  (void)gate.on_quorum(kTerm, log.extent.end);
  EXPECT_EQ(gate.word().answered, 1u);
  EXPECT_EQ(gate.word().lsn, log.extent.end);
}

TEST(Gate, ClosesOnWhatWasNeverProposed) {
  const OneRecord log;
  Gate gate = log.gate();
  (void)gate.on_tail(Instant{}, log.tail, log.page);
  const GateEffects effects = gate.on_quorum(kTerm, log.extent.end + 8);
  ASSERT_TRUE(effects.kill.has_value());
  EXPECT_EQ(effects.kill->reason, KillReason::kUnappended);
}

TEST(Gate, PostgresOwnPointerIsAudited) {
  const OneRecord log;
  Gate gate = log.gate();
  TailSnapshot tail = log.tail;
  tail.flushed = log.extent.end;  // but nobody ever let it pass
  const GateEffects effects = gate.on_tail(Instant{}, tail, log.page);
  ASSERT_TRUE(effects.kill.has_value());
  EXPECT_EQ(effects.kill->reason, KillReason::kAudit);
}

TEST(Gate, PoisonIsNotProposed) {
  const OneRecord log;
  Gate gate({}, identity(), kNonce, kTerm, log.boundary(), Lsn(log.start.value - 200),
            [](const wal::Record&) { return Status(Code::kUnsupported, "no such thing"); });
  const GateEffects effects = gate.on_tail(Instant{}, log.tail, log.page);
  EXPECT_TRUE(effects.propose.empty());
  ASSERT_TRUE(effects.kill.has_value());
  EXPECT_EQ(effects.kill->reason, KillReason::kPoison);
}

TEST(Gate, TornTailKillsAfterItsLimit) {
  const OneRecord log;
  Gate gate = log.gate();
  TailSnapshot tail = log.tail;
  tail.torn = true;
  Instant now;
  GateEffects effects = gate.on_tail(now, tail, {});
  EXPECT_FALSE(effects.kill.has_value());
  ASSERT_TRUE(effects.look_at.has_value());
  effects = gate.on_tail(now + Duration::millis(4999), tail, {});
  EXPECT_FALSE(effects.kill.has_value());
  effects = gate.on_tail(now + Duration::seconds(5), tail, {});
  ASSERT_TRUE(effects.kill.has_value());
  EXPECT_EQ(effects.kill->reason, KillReason::kUnsettled);
}

// A hole: everything reads as zeros behind the header, which looks like the end of the log.
TEST(Gate, AHoleIsNotTheEnd) {
  const OneRecord log;
  Gate gate = log.gate();
  std::vector<uint8_t> hole(kWalPageSize, 0);
  const GateEffects effects = gate.on_tail(Instant{}, log.tail, hole);
  EXPECT_EQ(gate.word().answered, 0u);
  EXPECT_TRUE(effects.look_at.has_value());
  EXPECT_EQ(gate.word().rewrite, 1u);
}

}  // namespace
}  // namespace varve::compute
