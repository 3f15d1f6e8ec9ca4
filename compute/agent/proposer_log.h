// The log service of an agent, over the proposer that speaks to the safekeepers.
#pragma once

#include "compute/agent/services.h"
#include "consensus/proposer/driver.h"

namespace varve::compute {

class ProposerLog : public LogService {
 public:
  // As consensus::ProposerDriver: connects at once, in fibers below `parent`; all references must
  // outlive it.
  ProposerLog(World& world, consensus::ProposerConfig config, consensus::Credentials credentials,
              const consensus::ProposerOptions& options, Scope& parent);
  // Stops the driver if nobody did (suspends).
  ~ProposerLog() override;

  Result<WonTerm> elect() override;
  Status append(Bytes wal) override;
  CommitPosition committed() const override;
  Result<CommitPosition> wait_beyond(Lsn lsn) override;
  void announce() override;
  Instant confirmed() const override { return driver_.confirmed(); }
  Lsn ingested() const override;
  // From the donor, else from any member that has it.
  Result<Bytes> read(LsnRange range) override;
  Status trouble(Lsn lsn) const override { return driver_.trouble(lsn + 1); }
  Status wait_closed() override;
  void stop(Status why) override;

 private:
  Result<Bytes> read_from(const consensus::Member& member, LsnRange range);

  World& world_;
  const consensus::Credentials credentials_;
  consensus::ProposerDriver driver_;
};

}  // namespace varve::compute
