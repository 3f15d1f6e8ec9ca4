#include "control/proposer_elector.h"

#include "consensus/client/safekeeper_client.h"

namespace varve::control {
namespace {

constexpr Duration kKnownPause = Duration::millis(5);
// How long a member that does not follow is waited for once a quorum does.
constexpr Duration kLaggardGrace = Duration::millis(500);

}  // namespace

Result<Lsn> ProposerElector::elect(const Project& project, const TenantTimelineId& timeline) {
  consensus::ProposerConfig config;
  config.id = timeline;
  config.membership = peers_.fleet().membership();
  config.server = {project.postgres_version, project.system_id, project.segment_size};
  consensus::ProposerDriver driver(world_, config, {timeline, peers_.token(), "varve-control"},
                                   options_, scope_);
  const auto settle = [&]() -> Result<Lsn> {
    VARVE_TRY_ASSIGN(const consensus::WonElection won, driver.elect());
    VARVE_TRY(driver.wait_committed(won.start));
    VARVE_TRY(wait_known(driver, timeline, won.start));
    world_.log.info("settled", "by an election, as nobody writes to the branch",
                    {{"timeline", timeline.timeline}, {"term", won.term}, {"lsn", won.start}});
    return won.start;
  };
  Result<Lsn> settled = settle();
  const Shield shield;
  driver.stop(Status(Code::kCancelled, "the timeline is settled"));
  return settled;
}

Status ProposerElector::wait_known(consensus::ProposerDriver& driver,
                                   const TenantTimelineId& timeline, Lsn lsn) {
  const size_t members = peers_.fleet().safekeepers.size();
  const Instant patience = now() + kLaggardGrace;
  for (;;) {
    driver.heartbeat();
    size_t know = 0;
    for (const SafekeeperPlace& place : peers_.fleet().safekeepers) {
      const auto report =
          ask_peer(peers_.safekeeper(place.node), kLaggardGrace,
                   [&](RpcClient& client) { return consensus::timeline_report(client, timeline); });
      if (report.ok() && report->commit >= lsn) ++know;
    }
    VARVE_TRY(check_cancelled());
    VARVE_TRY(driver.closed());
    if (know == members) return Status();
    if (know >= consensus::quorum_size(members) && now() > patience) return Status();
    VARVE_TRY(sleep_for(kKnownPause));
  }
}

}  // namespace varve::control
