// Computes in the simulated world: real agents over real proposers and safekeepers, a model
// Postgres, a model of storage that follows the safekeepers.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compute/agent/agent.h"
#include "compute/agent/proposer_log.h"
#include "consensus/safekeeper/server.h"
#include "sim/model_postgres.h"
#include "sim/world.h"
#include "tests/compute/storage_model.h"

namespace varve::test {

using compute::Agent;
using compute::AgentFaults;
using compute::AgentOptions;
using compute::AgentPhase;
using compute::CommitPosition;
using compute::LogService;
using compute::PageQuery;
using compute::PageService;
using compute::ProposerLog;
using compute::WonTerm;

inline constexpr uint16_t kTestPort = 5454;

inline TenantTimelineId test_timeline() {
  TenantTimelineId id;
  id.tenant.bytes.fill(0xA1);
  id.timeline.bytes.fill(0xB2);
  return id;
}
inline consensus::ServerInfo test_server() {
  return {150008, kSystemId, kTestSegment};
}
inline consensus::Membership test_members() {
  consensus::Membership members;
  members.generation = Configuration(1);
  for (uint64_t i = 1; i <= 3; ++i)
    members.members.push_back({NodeId(i), "sk" + std::to_string(i), kTestPort});
  return members;
}
inline consensus::Credentials test_credentials() {
  return {test_timeline(), "token", "test"};
}

class AnyToken : public consensus::TokenCheck {
 public:
  Status check(std::string_view, const TenantTimelineId&) override { return Status(); }
};

// What clients were told, and what the safekeepers hold. Outside of all nodes.
class FleetOracle : public consensus::ProtocolObserver {
 public:
  explicit FleetOracle(sim::Simulation& sim) : sim_(sim) {}

  void on(const consensus::ProtocolEvent& event) override {
    if (const auto* flushed = std::get_if<consensus::LogFlushed>(&event)) {
      durable_[flushed->node.value] = flushed->flush;
    } else if (const auto* cut = std::get_if<consensus::LogTruncated>(&event)) {
      durable_[cut->node.value] = std::min(durable_[cut->node.value], cut->to);
    }
  }
  void acknowledged(const sim::ModelCommit& commit) { commits_.push_back(commit); }
  // Postgres may believe only what two of three hold.
  void flushed(Lsn lsn) {
    int holders = 0;
    for (const auto& [node, durable] : durable_) holders += durable >= lsn ? 1 : 0;
    if (holders < 2) sim_.violation("woken at the gate before the quorum, " + lsn.to_string());
  }
  const std::vector<sim::ModelCommit>& commits() const { return commits_; }

 private:
  sim::Simulation& sim_;
  std::map<uint64_t, Lsn> durable_;
  std::vector<sim::ModelCommit> commits_;
};

// The page service of one compute.
class TestPages : public PageService {
 public:
  TestPages(World& world, StorageModel& storage, Term& highest, bool fences)
      : world_(world), storage_(storage), highest_(highest), fences_(fences) {}

  Result<Manifest> manifest(Lsn at) override {
    while (storage_.ingested() < at) VARVE_TRY(sleep_for(Duration::millis(3)));
    Manifest manifest = storage_.manifest();
    if (at.valid()) manifest.lsn = at;
    return manifest;
  }

  Result<std::vector<ServedPage>> pages(const PageQuery& query) override {
    VARVE_TRY(sleep_for(
        Duration::micros(static_cast<int64_t>(100 + world_.random.below(3000, "time of a page")))));
    if (world_.random.below(10, "storage is away") == 0)
      return Status(Code::kUnavailable, "storage is away");
    if (fences_ && query.term < highest_) return Status(Code::kStale, "a newer term asked");
    highest_ = std::max(highest_, query.term);
    while (storage_.ingested() < query.not_modified_since)
      VARVE_TRY(sleep_for(Duration::millis(3)));
    std::vector<ServedPage> pages;
    for (const PageKey& key : query.keys) pages.push_back(storage_.page(key, query.at));
    if (world_.random.below(20, "a wrong checksum") == 0) pages[0].crc ^= 1;
    return pages;
  }

 private:
  World& world_;
  StorageModel& storage_;
  Term& highest_;
  const bool fences_;
};

// The bug of hole 2: a log that campaigns again when it has lost its term, and tells the new term's
// positions to an agent that waits for the old one's.
class ReelectingLog : public LogService {
 public:
  using Make = std::function<std::unique_ptr<LogService>()>;
  explicit ReelectingLog(Make make) : make_(std::move(make)), log_(make_()) {}

  Result<WonTerm> elect() override { return log_->elect(); }
  Status append(Bytes wal) override {
    // What the old term's Postgres writes has no place in the new term's log; the bug is that
    // nobody looks.
    if (old_.empty()) log_->append(std::move(wal)).ignore("as above");
    return Status();
  }
  CommitPosition committed() const override { return log_->committed(); }
  Result<CommitPosition> wait_beyond(Lsn lsn) override {
    for (;;) {
      auto position = log_->wait_beyond(lsn);
      if (position.ok() || !position.is(Code::kStale)) return position;
      auto fresh = make_();
      VARVE_TRY(fresh->elect().status());
      old_.push_back(std::move(log_));
      log_ = std::move(fresh);
    }
  }
  void announce() override { log_->announce(); }
  Instant confirmed() const override { return log_->confirmed(); }
  Lsn ingested() const override { return log_->ingested(); }
  Result<Bytes> read(LsnRange range) override { return log_->read(range); }
  Status wait_closed() override {
    Event never;
    return never.wait("nothing closes it");
  }
  void stop(Status why) override { log_->stop(std::move(why)); }

 private:
  Make make_;
  std::unique_ptr<LogService> log_;
  std::vector<std::unique_ptr<LogService>> old_;
};

// Hands log lines on, and tells which phase the agent entered, and when it lost its lease and got
// it back.
class PhaseLog : public Log {
 public:
  PhaseLog(Log& to, std::function<void(const std::string&)> entered)
      : to_(to), entered_(std::move(entered)) {}
  void write(Severity severity, std::string_view event, std::string_view message,
             std::vector<Field> fields) override {
    if (event == "compute_phase" && entered_) entered_(std::get<std::string>(fields[0].value));
    if (event.starts_with("lease_") && entered_) entered_(std::string(event));
    to_.write(severity, event, message, std::move(fields));
  }

 private:
  Log& to_;
  std::function<void(const std::string&)> entered_;
};

// One compute's place: a node that starts agents until it is told to stop.
struct Seat : sim::ModelPostgresObserver {
  Seat(sim::Simulation& s, FleetOracle& o, bool count_acks = true)
      : sim(s), oracle(o), counts(count_acks) {}
  void acknowledged(const sim::ModelCommit& commit) override {
    ++acks;
    if (counts) oracle.acknowledged(commit);
  }
  void flushed(Lsn lsn) override { oracle.flushed(lsn); }
  void violation(const std::string& what) override { sim.violation(what); }

  sim::Simulation& sim;
  FleetOracle& oracle;
  bool counts;
  NodeId node;
  AgentFaults faults;
  bool reelects = false;
  std::function<void(const std::string&)> entered;  // each phase
  uint64_t acks = 0;
  uint64_t wanted_acks = UINT64_MAX;  // then it stops cleanly
  bool finished = false;
  std::string last_end;
};

struct FleetFaults {
  bool storage_fences = true;
  Duration ingest_pause = Duration::millis(20);
  bool storage_reports = false;  // how far it has read
  AgentOptions agent = {};
};

class Fleet {
 public:
  explicit Fleet(uint64_t seed, FleetFaults faults = {})
      : Fleet(std::make_unique<sim::Simulation>(seed, log_options()), nullptr, faults) {}
  // In a world that somebody else has made, and which outlives this.
  explicit Fleet(sim::Simulation& world, FleetFaults faults = {})
      : Fleet(nullptr, &world, faults) {}

 private:
  Fleet(std::unique_ptr<sim::Simulation> own, sim::Simulation* other, FleetFaults faults)
      : own_(std::move(own)),
        sim(own_ != nullptr ? *own_ : *other),
        oracle(sim),
        storage([this](const std::string& what) { sim.violation(what); }),
        faults_(faults) {
    for (uint64_t i = 1; i <= 3; ++i) {
      safekeepers.push_back(sim.add_node(
          "sk" + std::to_string(i), [this, i](World& world) { run_safekeeper(world, NodeId(i)); }));
    }
    storage_node = sim.add_node("storage", [this](World& world) { run_storage(world); });
  }

 public:
  static sim::SimulationOptions log_options() {
    sim::SimulationOptions options;
    options.print_log = std::getenv("VARVE_PRINT_LOG") != nullptr;
    return options;
  }

  Seat& add_seat(const std::string& name) {
    seats_.push_back(std::make_unique<Seat>(sim, oracle));
    Seat& seat = *seats_.back();
    seat.node = sim.add_node(name, [this, &seat](World& world) { run_compute(world, seat); });
    return seat;
  }

  void start_services() {
    for (NodeId node : safekeepers) sim.start(node);
    sim.start(storage_node);
  }

  // Storage has read everything that was acknowledged.
  bool caught_up() const {
    return std::all_of(
        oracle.commits().begin(), oracle.commits().end(),
        [&](const sim::ModelCommit& c) { return c.record.end <= storage.ingested(); });
  }
  // Everything acknowledged is in the log, at its place and with its bytes.
  void judge() {
    for (const sim::ModelCommit& commit : oracle.commits()) {
      if (storage.holds(commit)) continue;
      return sim.violation("an acknowledged commit is not in the log: xid " +
                           std::to_string(commit.xid) + " at " + commit.record.end.to_string());
    }
  }

 private:
  std::unique_ptr<sim::Simulation> own_;  // of a fleet that was made from a seed

 public:
  sim::Simulation& sim;
  FleetOracle oracle;
  StorageModel storage;
  std::vector<NodeId> safekeepers;
  NodeId storage_node;
  // When the world is well again, for whoever unleashed faults.
  Duration well_at;
  // Run beside the storage's receiver, in each of its lives; may be empty.
  std::function<void(World&)> storage_serves;

 private:
  void run_safekeeper(World& world, NodeId node) {
    Scope root("safekeeper");
    consensus::TimelineRegistry registry(world, node, safekeeper_options_, root, &oracle);
    AnyToken tokens;
    consensus::SafekeeperServer server(world, registry, tokens, safekeeper_options_, root);
    const auto live = [&]() -> Status {
      VARVE_TRY(registry.start());
      while (!registry.create({test_timeline(), test_members(), test_server(), kLogStart, {}}).ok())
        VARVE_TRY(sleep_for(Duration::millis(50)));
      while (!server.start({"sk" + node.to_string(), kTestPort}).ok())
        VARVE_TRY(sleep_for(Duration::millis(50)));
      Event never;
      return never.wait("the end of the safekeeper");
    };
    const Status end = live();
    const Shield orderly;
    server.stop();
    registry.stop();
    if (end.is(Code::kCancelled)) return;
    // What a supervisor does: a process that ended is started again.
    const NodeId machine = safekeepers[node.value - 1];
    sim.at(Duration::millis(200), [this, machine] {
      if (!sim.up(machine)) sim.start(machine);
    });
  }

  // Follows the committed log of whichever member answers.
  void run_storage(World& world) {
    const auto members = test_members().members;
    Scope serving("storage serves");
    if (storage_serves) serving.spawn("pages", [&] { storage_serves(world); });
    for (;;) {
      const consensus::Member& member = members[world.random.below(3, "member to follow")];
      const auto follow = [&]() -> Status {
        const DeadlineGuard deadline(Duration::seconds(2));
        VARVE_TRY_ASSIGN(auto stream, consensus::LogStream::open(
                                          world.network, consensus::address_of(member),
                                          test_credentials(), storage.fed(), std::nullopt));
        for (;;) {
          VARVE_TRY_ASSIGN(const auto piece, stream->next());
          if (!piece) continue;
          const auto pause = static_cast<uint64_t>(faults_.ingest_pause.to_micros());
          VARVE_TRY(sleep_for(
              Duration::micros(static_cast<int64_t>(world.random.below(pause + 1, "ingest")))));
          storage.feed(piece->span());
          if (!faults_.storage_reports) continue;
          consensus::PageserverFeedback feedback;
          feedback.received = storage.ingested();
          VARVE_TRY(stream->report(feedback));
        }
      };
      follow().ignore("it tries elsewhere");
      if (!sleep_for(Duration::millis(20)).ok()) break;
    }
    serving.cancel();
  }

  void run_compute(World& world, Seat& seat) {
    while (check_cancelled().ok() && !seat.finished) {
      one_life(world, seat);
      if (!sleep_for(Duration::millis(50)).ok()) return;
    }
  }

  void one_life(World& world, Seat& seat) {
    Scope root("compute");
    const auto make_log = [&]() -> std::unique_ptr<LogService> {
      return std::make_unique<ProposerLog>(
          world, consensus::ProposerConfig{test_timeline(), test_members(), test_server()},
          test_credentials(), proposer_options_, root);
    };
    std::unique_ptr<LogService> owned =
        seat.reelects ? std::make_unique<ReelectingLog>(make_log) : make_log();
    LogService& log = *owned;
    TestPages pages(world, storage, highest_term_, faults_.storage_fences);
    PhaseLog events(world.log, seat.entered);
    sim::ModelPostgresOptions model;
    model.blocks = kTestBlocks;
    model.transactions = 1000000;
    sim::ModelPostgresHost host(model, world.random.below(UINT64_MAX, "model"), root, seat);
    Agent agent({log, pages, host, world.clock, world.random, events}, {}, faults_.agent, root,
                seat.faults);
    const Status started = agent.start();
    if (!started.ok()) {
      seat.last_end = started.to_string();
      return;
    }
    while (agent.phase() == AgentPhase::kRunning && seat.acks < seat.wanted_acks) {
      if (!sleep_for(Duration::millis(5)).ok()) break;
    }
    if (seat.acks >= seat.wanted_acks) {
      seat.finished = agent.stop().clean;
    } else if (agent.phase() != AgentPhase::kEnded) {
      agent.doom(Status(Code::kCancelled, "the node stops"));
    }
    seat.last_end = agent.wait_end().why.to_string();
  }

  const FleetFaults faults_;
  consensus::SafekeeperOptions safekeeper_options_;
  consensus::ProposerOptions proposer_options_;
  Term highest_term_;
  std::vector<std::unique_ptr<Seat>> seats_;
};

}  // namespace varve::test
