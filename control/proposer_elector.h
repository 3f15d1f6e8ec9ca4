// Elections by the library that computes use, without a Postgres.
#pragma once

#include <string>

#include "consensus/proposer/driver.h"
#include "control/elector.h"
#include "control/peers.h"

namespace varve::control {

class ProposerElector final : public Elector {
 public:
  // All must outlive it.
  ProposerElector(World& world, Peers& peers, Scope& scope)
      : world_(world), peers_(peers), scope_(scope) {}
  // Success only after every member that answers, and a quorum at least, says that the log is
  // committed to its end: storage reads from any one of them.
  Result<Lsn> elect(const Project& project, const TenantTimelineId& timeline) override;

 private:
  Status wait_known(consensus::ProposerDriver& driver, const TenantTimelineId& timeline, Lsn lsn);

  World& world_;
  Peers& peers_;
  Scope& scope_;
  consensus::ProposerOptions options_;
};

}  // namespace varve::control
