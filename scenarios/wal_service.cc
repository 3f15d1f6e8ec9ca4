#include "scenarios/wal_service.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/crc32c.h"
#include "consensus/client/connection.h"
#include "consensus/proposer/driver.h"
#include "scenarios/oracles/log_oracle.h"
#include "scenarios/safekeeper_node.h"
#include "wal/decoder.h"
#include "wal/version.h"
#include "wal/writer.h"

namespace varve::scenarios {
namespace {

using consensus::ProposerDriver;
using sim::Simulation;

constexpr uint16_t kPort = 5454;
constexpr uint32_t kSegmentSize = 1 << 20;
constexpr uint64_t kMembers = 3;

// What all nodes of one run share. It outlives them and holds no fiber.
class Fleet {
 public:
  explicit Fleet(Simulation& simulation) : simulation_(simulation) {
    RandomStream draw = simulation.fork("wal_service");
    identity_.version = wal::version_of_major(15);
    identity_.system_id = 42;
    identity_.segment_size = kSegmentSize;
    id_.tenant.bytes[0] = 1;
    id_.timeline.bytes[0] = 2;
    // On a segment's edge, or somewhere in the middle of a page.
    start_ = Lsn(uint64_t{3} * kSegmentSize);
    if (draw.chance(500000)) {
      const uint64_t page = draw.below(20);
      start_ = start_ + 8192 * page + 64 + 8 * draw.below(1000);
    }
    consensus::Membership membership;
    membership.generation = Configuration(1);
    for (uint64_t i = 1; i <= kMembers; ++i) {
      membership.members.push_back({NodeId(i), "safekeeper-" + std::to_string(i), kPort});
    }
    config_ = {id_, membership, {150000, identity_.system_id, kSegmentSize}};
    wanted_ = {{{id_, membership, config_.server, start_, Bytes()}}, true};
    draw_options(safekeeper_options_, draw);
    proposer_options_.reconnect_pause =
        Duration::millis(static_cast<int64_t>(draw.between(20, 500)));
    proposer_options_.heartbeat = Duration::millis(static_cast<int64_t>(draw.between(50, 1000)));
    proposer_options_.silence = Duration::millis(static_cast<int64_t>(draw.between(2000, 8000)));
    record_limit_ = draw.between(16, 20000);
  }

  void add_nodes();
  void run();
  WalServiceReport report() const {
    return {oracle_.elections(), oracle_.acknowledged().size(), verified_};
  }

 private:
  void compute(World& world);
  Status one_term(World& world);
  Status lead(World& world, ProposerDriver& driver);
  Status append_batch(World& world, ProposerDriver& driver, wal::LogWriter& writer);
  Result<Lsn> previous_record(const ProposerDriver& driver, Lsn at);
  Status verify(World& world);
  Status verify_member(World& world, const consensus::Member& member, Lsn end, uint32_t& digest);
  Status verify_records(const consensus::Member& member, std::span<const uint8_t> log);
  // Tells the run what an oracle said; an error ends the caller's term.
  Status judge(std::optional<std::string> contradiction);
  consensus::Credentials credentials() const { return {id_, std::string(kToken), "scenario"}; }

  Simulation& simulation_;
  wal::LogIdentity identity_;
  TenantTimelineId id_;
  Lsn start_;
  consensus::ProposerConfig config_;
  consensus::SafekeeperOptions safekeeper_options_;
  consensus::ProposerOptions proposer_options_;
  uint64_t record_limit_ = 0;
  WantedTimelines wanted_;
  LogOracle oracle_;
  std::vector<NodeId> safekeepers_;
  std::vector<NodeId> computes_;
  NodeId verifier_;
  bool calm_ = false;
  bool verified_ = false;
};

Status Fleet::judge(std::optional<std::string> contradiction) {
  if (!contradiction) return Status();
  simulation_.violation(*contradiction);
  return Status(Code::kInternal, *contradiction);
}

void Fleet::add_nodes() {
  for (const consensus::Member& member : config_.membership.members) {
    safekeepers_.push_back(add_safekeeper(simulation_, member, safekeeper_options_, wanted_));
  }
  for (const char* name : {"compute-1", "compute-2"}) {
    computes_.push_back(simulation_.add_node(name, [this](World& world) { compute(world); }));
  }
  verifier_ = simulation_.add_node("verifier", [this](World& world) {
    while (!verified_) {
      const Status status = verify(world);
      if (status.ok() || status.is(Code::kCancelled) || simulation_.failure()) return;
      if (!sleep_for(Duration::millis(200)).ok()) return;
    }
  });
}

void Fleet::compute(World& world) {
  while (!calm_) {
    const Status end = one_term(world);
    if (end.is(Code::kCancelled)) return;
    const auto pause = static_cast<int64_t>(1 + world.random.below(1500, "pause between terms"));
    if (!sleep_for(Duration::millis(pause)).ok()) return;
  }
}

Status Fleet::one_term(World& world) {
  Scope scope("term");
  ProposerDriver driver(world, config_, credentials(), proposer_options_, scope);
  Status status;
  {
    DeadlineGuard patience(Duration::seconds(20));
    status = lead(world, driver);
  }
  driver.stop(Status(Code::kCancelled, "the term is over"));
  return check_cancelled().ok() ? (status.is(Code::kCancelled) ? Status() : status)
                                : check_cancelled();
}

// The start of the record that ends at `at`: that of the newest term which wrote something before
// `at`.
Result<Lsn> Fleet::previous_record(const ProposerDriver& driver, Lsn at) {
  if (at == start_) return Lsn();
  const auto& entries = driver.core().history().entries();
  for (size_t i = entries.size() - 1; i-- > 0;) {
    if (entries[i].start >= at) continue;
    const auto record = oracle_.find(entries[i].term, at);
    if (record) return record->start;
    break;
  }
  return judge("a term begins at " + at.to_string() + ", where no proposed record ends");
}

Status Fleet::lead(World& world, ProposerDriver& driver) {
  VARVE_TRY_ASSIGN(const consensus::WonElection won, driver.elect());
  VARVE_TRY(judge(oracle_.elected(won.term, won.start)));
  VARVE_TRY(driver.wait_committed(won.start));
  VARVE_TRY_ASSIGN(const Lsn previous, previous_record(driver, won.start));
  wal::LogWriter writer(identity_, won.start, previous);
  const uint64_t batches = 1 + world.random.below(60, "batches of a term");
  for (uint64_t i = 0; i < batches && !calm_; ++i) VARVE_TRY(append_batch(world, driver, writer));
  return Status();
}

Status Fleet::append_batch(World& world, ProposerDriver& driver, wal::LogWriter& writer) {
  const Term term = driver.core().term();
  std::vector<uint8_t> bytes;
  std::vector<Lsn> ends;
  const uint64_t records = 1 + world.random.below(8, "records of a batch");
  for (uint64_t i = 0; i < records; ++i) {
    LsnRange extent;
    uint32_t crc = 0;
    const bool at_edge = writer.boundary().segment_offset(kSegmentSize) == 0;
    if (!at_edge && world.random.below(200, "switch") == 0) {
      extent = writer.append_switch(bytes);
    } else {
      const std::vector<uint8_t> data(world.random.below(record_limit_, "record size"),
                                      static_cast<uint8_t>(term.value));
      wal::RecordParts parts;
      parts.rmid = static_cast<uint8_t>(wal::Rmgr::kLogicalMessage);
      parts.xid = static_cast<uint32_t>(term.value);
      parts.main_data = data;
      std::vector<uint8_t> raw = wal::build_record(*identity_.version, parts);
      extent = writer.append(raw, bytes);
      crc = crc32c(raw);
    }
    VARVE_TRY(judge(oracle_.proposed(term, extent.end, {extent.start, crc})));
    ends.push_back(extent.end);
  }
  VARVE_TRY(driver.append(Bytes::copy(bytes)));
  VARVE_TRY(driver.wait_committed(ends.back()));
  for (const Lsn end : ends) VARVE_TRY(judge(oracle_.acknowledged(term, end)));
  simulation_.mark(ends.back().value);
  return Status();
}

Status Fleet::verify(World& world) {
  Scope scope("verify");
  ProposerDriver driver(world, config_, credentials(), proposer_options_, scope);
  Status status = [&]() -> Status {
    DeadlineGuard patience(Duration::seconds(30));
    VARVE_TRY_ASSIGN(const consensus::WonElection won, driver.elect());
    VARVE_TRY(judge(oracle_.elected(won.term, won.start)));
    VARVE_TRY(driver.wait_committed(won.start));
    driver.heartbeat();
    std::optional<uint32_t> first;
    for (const consensus::Member& member : config_.membership.members) {
      uint32_t digest = 0;
      VARVE_TRY(verify_member(world, member, won.start, digest));
      if (first && *first != digest) {
        return judge("the log of " + member.host + " differs from that of " +
                     config_.membership.members[0].host);
      }
      first = digest;
    }
    verified_ = true;
    return Status();
  }();
  driver.stop(Status(Code::kCancelled, "verified"));
  return status;
}

Status Fleet::verify_member(World& world, const consensus::Member& member, Lsn end,
                            uint32_t& digest) {
  if (end == start_) return Status();
  VARVE_TRY_ASSIGN(auto stream,
                   consensus::LogStream::open(world.network, consensus::address_of(member),
                                              credentials(), start_, std::nullopt));
  VARVE_TRY_ASSIGN(const std::vector<Bytes> pieces, stream->read(end - start_));
  const Bytes log = concatenate(pieces);
  digest = crc32c(log);
  return verify_records(member, log);
}

Status Fleet::verify_records(const consensus::Member& member, std::span<const uint8_t> log) {
  wal::DecoderOptions options;
  options.identity = identity_;
  wal::Decoder decoder(options);
  decoder.reset(start_, std::nullopt);
  decoder.feed(decoder.fed_to(), log);
  std::map<Lsn, KnownRecord> found;
  wal::Record record;
  while (decoder.next(record) == wal::Step::kRecord) {
    const bool is_switch = record.is(wal::Rmgr::kXlog) && record.operation() == 0x40;
    found[record.end] = {record.start, is_switch ? 0 : crc32c(record.raw)};
  }
  if (!decoder.status().ok()) {
    return judge("the log of " + member.host + ": " + decoder.status().to_string());
  }
  for (const auto& [end, expected] : oracle_.acknowledged()) {
    const auto place = found.find(end);
    if (place == found.end() || place->second != expected) {
      return judge("the record acknowledged up to " + end.to_string() + " is not in the log of " +
                   member.host);
    }
  }
  return Status();
}

void Fleet::run() {
  add_nodes();
  for (const NodeId node : safekeepers_) simulation_.start(node);
  for (const NodeId node : computes_) simulation_.start(node);
  RandomStream draw = simulation_.fork("restart of all");
  simulation_.unleash(sim::FaultPlan::draw(simulation_.fork("plan")));
  const auto crash_all_at = Duration::millis(static_cast<int64_t>(draw.between(2000, 12000)));
  simulation_.at(crash_all_at, [this] {
    for (const NodeId node : safekeepers_) {
      if (simulation_.up(node)) {
        simulation_.restart(node, sim::Crash::kPowerCut, Duration::millis(300));
      }
    }
  });
  if (!simulation_.run_for(Duration::seconds(15))) return;
  simulation_.heal();
  calm_ = true;
  simulation_.start(verifier_);
  (void)simulation_.run_until([this] { return verified_; }, Duration::seconds(120));
}

}  // namespace

WalServiceReport wal_service(Simulation& simulation) {
  Fleet fleet(simulation);
  fleet.run();
  return fleet.report();
}

}  // namespace varve::scenarios
