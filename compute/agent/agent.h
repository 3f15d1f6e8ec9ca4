// One life of one compute: an election that is won once, a Postgres that is started once, and an
// end that is final.
//
//   Agent agent(services, settings, options, parent);
//   VARVE_TRY(agent.start());     // elected, L committed, backup at L, record in the quorum,
//   running const AgentEnd& end = agent.wait_end();
//
// Everything here lives and dies together: agent, election, Postgres. Whatever ends first ends the
// rest, in this order: the gate is closed, every process is killed, the log is stopped. Nothing is
// adopted and nothing is tried again inside a life: after any refusal the caller makes a new Agent,
// with a new LogService, from the election on, and throws all away that the old one knew.
//
// The sequence of start(), in which each step rests on the one before:
//   1. elect                    term T, L, and that nobody of an older term commits any more
//   2. L committed              members that lag are fed by the donor, empty appends raise commit
//   3. base backup at L         sizes, counters and small files; storage beyond L is an alarm
//   4. forge [L, E), append     once: the same bytes go to the log and to the segment
//   5. E committed              else a rival would leave Postgres on a history that does not exist
//   6. pages of critical reads  and the plan of the directory
//   7. the host starts Postgres pg_control last; the gate is served from here on
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "compute/agent/options.h"
#include "compute/agent/page_server.h"
#include "compute/agent/plan.h"
#include "compute/agent/services.h"
#include "compute/gate/gate.h"
#include "runtime/clock.h"
#include "runtime/postgres_host.h"
#include "runtime/random.h"
#include "runtime/scope.h"
#include "runtime/sync.h"
#include "runtime/telemetry.h"

namespace varve::compute {

enum class AgentPhase : uint8_t {
  kNew,
  kElecting,
  kCommittingStart,
  kBackup,
  kForging,
  kStarting,
  kRunning,
  kStopping,  // Postgres was asked to end
  kEnded,
};
const char* agent_phase_name(AgentPhase phase);

struct AgentServices {
  LogService& log;
  PageService& pages;
  PostgresHost& host;
  Clock& clock;
  Random& random;
  Log& events;
  // Called at each change of the phase; must not suspend. May be empty.
  std::function<void(AgentPhase)> entered = {};
  Metrics* metrics = nullptr;  // compute/agent/metrics.h
};

struct AgentEnd {
  bool clean = false;  // Postgres ended as asked for, and the quorum holds all of its log
  Status why;          // success when clean
};

// Planted bugs, each a way in which careful people get this wrong. All false outside tests.
struct AgentFaults {
  GateFaults gate = {};
  PageFaults pages = {};
  bool backup_at_newest = false;     // the base backup is taken wherever storage stands
  bool start_before_quorum = false;  // Postgres is started before E is committed
};

class Agent {
 public:
  // All references must outlive it; fibers run below `parent`.
  Agent(AgentServices services, ComputeSettings settings, const AgentOptions& options,
        Scope& parent, AgentFaults faults = {});
  // Kills what still runs (suspends).
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // Steps 1 to 7, bounded by the fiber's deadline. At most once. On error everything is ended.
  Status start();
  // Suspends until Postgres takes connections; why not, if the life ends before.
  Status wait_ready();
  // Fast stop: Postgres writes its last checkpoint through the gate, the quorum holds it, all ends.
  // After options.stop_limit it is a kill. Returns the end. Suspends; idempotent.
  const AgentEnd& stop();
  // Closes the gate now; the rest of the end follows by itself. Never suspends.
  void doom(Status why);
  // Suspends until all has ended.
  const AgentEnd& wait_end();

  // "Now" of this timeline, for who branches or reads: a position at or above everything that was
  // acknowledged before the call. The members are told of it, so that storage reaches it soon.
  // Unavailable unless running. Never suspends.
  Result<Lsn> settle();

  // postgresql.auto.conf as it stands. Unavailable unless Postgres was started. Suspends; after the
  // end too.
  Result<Bytes> auto_conf();

  AgentPhase phase() const { return phase_; }
  // What the present phase of a start waits for, for people; success when nothing is known. Never
  // suspends.
  Status trouble() const;
  WonTerm won() const { return won_; }
  Lsn first_lsn() const { return first_lsn_; }  // E; invalid before step 4
  // Where the gate stands; null before Postgres runs.
  const Gate* gate() const { return gate_.has_value() ? &*gate_ : nullptr; }
  const PageServer* page_server() const { return pages_.get(); }

 private:
  Status run_steps();
  Status while_open(const std::function<Status()>& work);
  Result<Manifest> backup();
  Status load_first_pages();
  void enter(AgentPhase phase);
  Status gate_fiber();
  Result<std::optional<Instant>> look();
  Status quorum_fiber();
  Status hold_back(Lsn committed);
  void closed_fiber();
  Status lease_fiber();
  void exit_fiber();
  void end_fiber();
  void notes_fiber();
  void carry_out(GateEffects& effects, const Bytes& bytes, Lsn first, Status& append_status);
  void publish_word();

  AgentServices services_;
  const ComputeSettings settings_;
  const AgentOptions& options_;
  const AgentFaults faults_;
  AgentPhase phase_ = AgentPhase::kNew;
  Instant began_, entered_;  // the start; the phase
  WonTerm won_;
  Lsn first_lsn_;
  Incarnation nonce_;
  StartPlan plan_;
  std::optional<Gate> gate_;
  std::unique_ptr<PageServer> pages_;
  std::unique_ptr<PostgresLife> life_;
  AgentEnd end_;
  bool clean_exit_ = false;
  bool held_back_ = false;  // storage lags, and the log has been told
  Mutex looking_;           // a look spans waits, and the next begins where it ends
  Event doomed_, ended_;
  Scope scope_;
};

}  // namespace varve::compute
