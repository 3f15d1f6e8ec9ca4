// Three safekeepers and some computes in the simulated world, with what must hold whatever happens
// to them. Test support: a compute is a writer that wins elections, learns the log from its quorum,
// appends real records and remembers what was committed.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "consensus/proposer/driver.h"
#include "consensus/safekeeper/server.h"
#include "sim/world.h"
#include "wal/decoder.h"
#include "wal/page.h"
#include "wal/writer.h"

namespace varve::consensus::testing {

inline constexpr Lsn kStart{0x1000000};  // a log without a past, in end form
inline constexpr uint16_t kPort = 5454;

inline TenantTimelineId timeline_id() {
  TenantTimelineId id;
  id.tenant.bytes.fill(0xA1);
  id.timeline.bytes.fill(0xB2);
  return id;
}

inline ServerInfo server_info() {
  return {150008, 7001, 1 << 20};
}

inline wal::LogIdentity identity() {
  return {wal::version_of_major(15), server_info().system_id, server_info().segment_size, 1};
}

inline Membership three_members() {
  Membership membership;
  membership.generation = Configuration(1);
  for (uint64_t i = 1; i <= 3; ++i)
    membership.members.push_back({NodeId(i), "sk" + std::to_string(i), kPort});
  return membership;
}

inline Credentials credentials() {
  return {timeline_id(), "token", "test"};
}

// What must hold. Outside of all nodes: survives them.
class Oracle : public ProtocolObserver {
 public:
  explicit Oracle(sim::Simulation& sim) : sim_(sim) {}

  // The compute of `term` was told that everything below `end` is committed; `log` is what it
  // believes the log to be, from kStart on.
  void acknowledged(Term term, const std::vector<uint8_t>& log, Lsn end) {
    Lsn& acknowledged = acknowledged_[term.value];
    acknowledged = std::max(acknowledged, end);
    for (const auto& [later, start] : winners_) {
      if (later > term.value && start < end)
        sim_.violation("a later proposer began below what was acknowledged");
    }
    const size_t size = end - kStart;
    VARVE_CHECK(size <= log.size());
    const size_t common = std::min(size, committed_.size());
    if (!std::equal(log.begin(), log.begin() + static_cast<long>(common), committed_.begin())) {
      return sim_.violation("two contents were acknowledged at one position");
    }
    if (size > committed_.size())
      committed_.assign(log.begin(), log.begin() + static_cast<long>(size));
  }
  // Somebody read this from a safekeeper as committed.
  void read_as_committed(Lsn begin, std::span<const uint8_t> bytes) {
    read_.push_back({begin, {bytes.begin(), bytes.end()}});
  }
  // At the end, with everything committed: was everything that was read part of it?
  void judge_readers() {
    for (const auto& [begin, bytes] : read_) {
      if (begin < kStart) continue;  // in front of the log
      const size_t offset = begin - kStart;
      if (offset + bytes.size() > committed_.size() ||
          !std::equal(bytes.begin(), bytes.end(), committed_.begin() + static_cast<long>(offset))) {
        return sim_.violation("a reader was given what was never committed, " +
                              std::to_string(bytes.size()) + " bytes at " + begin.to_string() +
                              "; committed is " + committed().to_string());
      }
    }
  }
  Lsn committed() const { return kStart + committed_.size(); }
  const std::vector<uint8_t>& log() const { return committed_; }
  uint64_t elections() const { return winners_.size(); }
  uint64_t cuts() const { return cuts_; }

  void on(const ProtocolEvent& event) override {
    if (const auto* won = std::get_if<ProposerWon>(&event)) {
      if (!winners_.emplace(won->term.value, won->start).second)
        sim_.violation("a term was won twice");
      // Only earlier terms: a campaign may learn late that it has won, when others have won after
      // it.
      for (const auto& [term, end] : acknowledged_) {
        if (term < won->term.value && won->start < end) {
          sim_.violation("a proposer begins below what was acknowledged before its term");
        }
      }
    } else if (const auto* vote = std::get_if<VoteGranted>(&event)) {
      Term& promised = promised_[vote->node.value];
      if (vote->term <= promised) sim_.violation("a safekeeper broke its promise");
      promised = vote->term;
      if (vote->flush < flushed_[vote->node.value]) {
        sim_.violation("a safekeeper forgot what it had acknowledged");
      }
    } else if (const auto* flushed = std::get_if<LogFlushed>(&event)) {
      Lsn& flush = flushed_[flushed->node.value];
      flush = std::max(flush, flushed->flush);
    } else if (const auto* cut = std::get_if<LogTruncated>(&event)) {
      flushed_[cut->node.value] = cut->to;
      if (cut->to < cut->from) ++cuts_;
    }
  }

 private:
  sim::Simulation& sim_;
  std::vector<uint8_t> committed_;
  std::vector<std::pair<Lsn, std::vector<uint8_t>>> read_;
  std::map<uint64_t, Lsn> winners_;       // term: start
  std::map<uint64_t, Lsn> acknowledged_;  // term: how far
  std::map<uint64_t, Term> promised_;
  std::map<uint64_t, Lsn> flushed_;
  uint64_t cuts_ = 0;
};

class TakeAnyToken : public TokenCheck {
 public:
  Status check(std::string_view token, const TenantTimelineId&) override {
    return token == "token" ? Status() : Status(Code::kRefused, "wrong token");
  }
};

// A safekeeper's whole life.
inline void run_safekeeper(World& world, NodeId node, const SafekeeperOptions& options,
                           Oracle& oracle) {
  Scope root("safekeeper");
  TimelineRegistry registry(world, node, options, root, &oracle);
  TakeAnyToken tokens;
  SafekeeperServer server(world, registry, tokens, options, root);
  const auto live = [&]() -> Status {
    VARVE_TRY(registry.start());
    Status created = registry.create({timeline_id(), three_members(), server_info(), kStart, {}});
    while (!created.ok()) {
      VARVE_TRY(sleep_for(Duration::millis(50)));
      created = registry.create({timeline_id(), three_members(), server_info(), kStart, {}});
    }
    while (!server.start({"sk" + node.to_string(), kPort}).ok())
      VARVE_TRY(sleep_for(Duration::millis(50)));
    Event never;
    return never.wait("the end of the safekeeper");
  };
  const Status end = live();
  if (!end.is(Code::kCancelled))
    world.log.warning("safekeeper_gave_up", "no way to serve", {{"status", end}});
  server.stop();
  registry.stop();
}

// One compute, from its election until it loses it or has written enough.
class Writer {
 public:
  Writer(World& world, sim::Simulation& sim, const ProposerOptions& options, Oracle& oracle)
      : world_(world), sim_(sim), options_(options), oracle_(oracle) {}

  // Writes `records` records and waits for each to be committed. The error says why it stopped.
  Status run(uint64_t records) {
    Scope root("compute");
    ProposerConfig config{timeline_id(), three_members(), server_info()};
    ProposerDriver driver(world_, config, credentials(), options_, root, &oracle_);
    const Status status = write(driver, records);
    driver.stop(Status(Code::kCancelled, "the compute stops"));
    return status;
  }
  const std::vector<uint8_t>& log() const { return log_; }
  Lsn won_at() const { return won_at_; }

 private:
  Status write(ProposerDriver& driver, uint64_t records) {
    VARVE_TRY_ASSIGN(const WonElection won, driver.elect());
    won_at_ = won.start;
    VARVE_TRY(driver.wait_committed(won.start));
    VARVE_TRY_ASSIGN(const Lsn previous, learn(driver, won));
    oracle_.acknowledged(won.term, log_, won.start);
    wal::LogWriter writer(identity(), won.start, previous);
    for (uint64_t i = 0; i < records; ++i) {
      VARVE_TRY_ASSIGN(const Lsn end, append(driver, writer));
      VARVE_TRY(driver.wait_committed(end));
      oracle_.acknowledged(won.term, log_, end);
    }
    return Status();
  }

  // Like a base backup: the whole log up to the start, from whoever has it committed.
  Result<Lsn> learn(ProposerDriver& driver, const WonElection& won) {
    log_.clear();
    if (won.start == kStart) return Lsn();
    for (;;) {
      const auto& members = driver.core().membership().members;
      const Member& member = members[world_.random.below(members.size(), "member to read from")];
      auto learnt = read_log(member, won.start);
      if (learnt.ok()) return learnt;
      if (!driver.closed().ok()) return driver.closed();
      VARVE_TRY(sleep_for(Duration::millis(50)));
    }
  }

  Result<Lsn> read_log(const Member& member, Lsn end) {
    const DeadlineGuard deadline(Duration::seconds(5));
    VARVE_TRY_ASSIGN(auto stream, LogStream::open(world_.network, address_of(member), credentials(),
                                                  kStart, std::nullopt));
    VARVE_TRY_ASSIGN(const auto pieces, stream->read(end - kStart));
    log_.clear();
    for (const Bytes& piece : pieces)
      log_.insert(log_.end(), piece.data(), piece.data() + piece.size());
    wal::Decoder decoder({identity(), wal::Depth::kFull, {}});
    decoder.reset(kStart, std::nullopt);
    decoder.feed(kStart, log_);
    wal::Record record;
    wal::Step step = decoder.next(record);
    while (step == wal::Step::kRecord) step = decoder.next(record);
    if (step == wal::Step::kCorrupt || decoder.boundary() != end) {
      sim_.violation("the committed log does not decode up to " + end.to_string() + ": " +
                     decoder.status().to_string());
    }
    return decoder.previous().value_or(Lsn());
  }

  Result<Lsn> append(ProposerDriver& driver, wal::LogWriter& writer) {
    const uint64_t kind = world_.random.below(20, "record kind");
    std::vector<uint8_t> bytes;
    LsnRange extent;
    if (kind == 0 &&
        writer.boundary().segment_offset(server_info().segment_size) > wal::kLongHeaderSize) {
      extent = writer.append_switch(bytes);
    } else {
      const uint64_t longest = kind < 3 ? 300000 : 3000;
      std::vector<uint8_t> payload(world_.random.below(longest, "record size"));
      const uint64_t salt = world_.random.below(1u << 30, "record content");
      for (size_t i = 0; i < payload.size(); ++i)
        payload[i] = static_cast<uint8_t>(salt >> (i % 4 * 8)) ^ static_cast<uint8_t>(i);
      // A logical message: any bytes make one, and nobody replays them.
      wal::RecordParts parts;
      parts.rmid = static_cast<uint8_t>(wal::Rmgr::kLogicalMessage);
      parts.main_data = payload;
      auto raw = wal::build_record(*identity().version, parts);
      extent = writer.append(raw, bytes);
    }
    log_.insert(log_.end(), bytes.begin(), bytes.end());
    VARVE_TRY(driver.append(Bytes::copy(bytes)));
    return extent.end;
  }

  World& world_;
  sim::Simulation& sim_;
  const ProposerOptions& options_;
  Oracle& oracle_;
  std::vector<uint8_t> log_;
  Lsn won_at_;
};

// Reads committed WAL for as long as it lives, from wherever it can.
inline void run_reader(World& world, Oracle& oracle) {
  const auto members = three_members().members;
  Lsn at = kStart;
  for (;;) {
    const Member& member = members[world.random.below(members.size(), "member to follow")];
    const auto follow = [&]() -> Status {
      const DeadlineGuard deadline(Duration::seconds(3));
      VARVE_TRY_ASSIGN(auto stream, LogStream::open(world.network, address_of(member),
                                                    credentials(), at, std::nullopt));
      for (;;) {
        VARVE_TRY_ASSIGN(const auto piece, stream->next());
        if (!piece) continue;
        oracle.read_as_committed(at, piece->span());
        at = at + piece->size();
      }
    };
    follow().ignore("it tries elsewhere");
    if (!sleep_for(Duration::millis(100)).ok()) return;
  }
}

}  // namespace varve::consensus::testing
