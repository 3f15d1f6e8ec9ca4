#include "compute/agent/proposer_log.h"

#include <algorithm>
#include <utility>

namespace varve::compute {

ProposerLog::ProposerLog(World& world, consensus::ProposerConfig config,
                         consensus::Credentials credentials,
                         const consensus::ProposerOptions& options, Scope& parent)
    : world_(world),
      credentials_(credentials),
      driver_(world, std::move(config), std::move(credentials), options, parent) {}

ProposerLog::~ProposerLog() {
  driver_.stop(Status(Code::kCancelled, "the compute's log goes away"));
}

Result<WonTerm> ProposerLog::elect() {
  VARVE_TRY_ASSIGN(const consensus::WonElection won, driver_.elect());
  return WonTerm{won.term, won.start};
}

Status ProposerLog::append(Bytes wal) {
  return driver_.append(std::move(wal));
}

CommitPosition ProposerLog::committed() const {
  return {driver_.core().term(), driver_.core().commit()};
}

Result<CommitPosition> ProposerLog::wait_beyond(Lsn lsn) {
  VARVE_TRY(driver_.wait_committed(lsn + 1));
  return committed();
}

void ProposerLog::announce() {
  driver_.heartbeat();
}

Lsn ProposerLog::ingested() const {
  return driver_.feedback().has_value() ? driver_.feedback()->received : Lsn();
}

Result<Bytes> ProposerLog::read_from(const consensus::Member& member, LsnRange range) {
  // With our term: a member sends what is durable there, whether or not it has heard that it is
  // committed, and stops when somebody else is elected.
  VARVE_TRY_ASSIGN(auto stream,
                   consensus::LogStream::open(world_.network, consensus::address_of(member),
                                              credentials_, range.start, driver_.core().term()));
  VARVE_TRY_ASSIGN(const std::vector<Bytes> pieces, stream->read(range.end - range.start));
  return concatenate(pieces);
}

Result<Bytes> ProposerLog::read(LsnRange range) {
  std::vector<consensus::Member> members = driver_.core().membership().all();
  const NodeId donor = driver_.core().donor();
  std::stable_partition(members.begin(), members.end(),
                        [donor](const consensus::Member& m) { return m.node == donor; });
  Status last(Code::kUnavailable, "no member to read from");
  for (const consensus::Member& member : members) {
    const DeadlineGuard attempt(Duration::seconds(5));
    auto bytes = read_from(member, range);
    if (bytes.ok()) return bytes;
    last = bytes.status();
    VARVE_TRY(driver_.closed());
  }
  return last;
}

Status ProposerLog::wait_closed() {
  return driver_.wait_closed();
}

void ProposerLog::stop(Status why) {
  driver_.stop(std::move(why));
}

}  // namespace varve::compute
