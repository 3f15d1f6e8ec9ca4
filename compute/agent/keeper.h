// Keeps a compute running for as long as its endpoint is wanted: life after life, each from a fresh
// answer of control, until somebody says stop.
//
//   Keeper keeper(world, host, verifier, memory, config, options);
//   return keeper.run(stop);
//
// What one life is, is the Agent's; here is what lies between and around lives. After a life that
// ended without being asked to, a short pause, then the next one with everything new. Two rules:
//   - no life begins before control has answered a report made after the last one ended. So a
//     compute whose place was taken learns that before it campaigns again, and one that can't reach
//     control does not fight its successor for the term;
//   - control that is away ends nothing that runs.
// A stop is a fast stop of Postgres under a deadline; during a start it is a cancelled start.
//
// Serves compute/client/methods.h on a port that the world chooses and control is told.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "compute/agent/agent.h"
#include "compute/agent/kept_settings.h"
#include "consensus/proposer/driver.h"
#include "runtime/budget.h"
#include "runtime/world.h"
#include "wire/rpc_client.h"
#include "wire/rpc_server.h"

namespace varve::proto {
class ComputeSpec;
class ReportComputeRequest;
}  // namespace varve::proto

namespace varve::compute {

struct KeeperConfig {
  TenantTimelineId id;
  std::string endpoint;
  std::string token;     // timeline scope; for control, safekeepers and the pageserver
  RpcIdentity identity;  // of this process
  Address control;
  NodeId control_node;       // that must answer there
  std::string listen;        // where Postgres and this process' RPC listen
  ComputeSettings settings;  // without address and port, which come from `listen` and from control
};

struct KeeperOptions {
  AgentOptions agent;
  consensus::ProposerOptions proposer;
  Duration report_interval = Duration::seconds(1);
  Duration control_attempt = Duration::seconds(5);
  Duration slow_step = Duration::seconds(5);
  Duration life_pause = Duration::millis(100);
  Duration longest_life_pause = Duration::seconds(5);

  template <class V>
  static void describe(V&& v) {
    v(&KeeperOptions::report_interval,
      OptionInfo{"compute_report_interval", "ms", 10, 60000,
                 "control hears of a compute this often; how late a stop is heard of"});
    v(&KeeperOptions::control_attempt,
      OptionInfo{"compute_control_attempt", "ms", 10, 60000, "one question to control"});
    v(&KeeperOptions::slow_step,
      OptionInfo{"compute_slow_step", "ms", 10, 600000,
                 "a step of a start that takes longer is told of, with what it waits for"});
    v(&KeeperOptions::life_pause,
      OptionInfo{"compute_life_pause", "ms", 1, 60000,
                 "before the next life of Postgres; doubles while lives end early"});
    v(&KeeperOptions::longest_life_pause,
      OptionInfo{"compute_longest_life_pause", "ms", 1, 600000, "what the pause grows to"});
  }
};

class Keeper {
 public:
  // All references must outlive it. The world's disk is this endpoint's own.
  Keeper(World& world, PostgresHost& host, const TokenVerifier& verifier, Budget& memory,
         KeeperConfig config, const KeeperOptions& options);
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // Lives until `stop` is set or control says stop; then everything has ended. Success after a
  // clean stop, or why the last life did not end cleanly. An error before the first life: the RPC
  // port can't be opened. Once. Suspends.
  Status run(Event& stop);

  // Of the running life; null between two. For tests and for who watches.
  Agent* agent() const { return agent_; }

 private:
  enum class State : uint8_t { kStarting, kRunning, kStopping, kStopped, kFailed };

  Status lives();
  Status one_life();
  Status run_life(Agent& agent);
  Result<std::unique_ptr<proto::ComputeSpec>> ask_for_spec();
  ComputeSettings settings_for(const proto::ComputeSpec& spec) const;
  void keep_settings(Agent& agent);
  Status watch_start(const Agent& agent);
  Status pause(bool lasted);
  void note_end(Status why);
  Status until_stop(const char* label, const std::function<Status()>& body);

  void tell(State state, std::string phase);
  std::unique_ptr<proto::ReportComputeRequest> report() const;
  Status send_report();
  Status report_fiber();
  Status wait_answered();
  void add_methods(RpcServer& server);

  World& world_;
  PostgresHost& host_;
  const TokenVerifier& verifier_;
  Budget& memory_;
  const KeeperConfig config_;
  const KeeperOptions& options_;
  Scope scope_;
  RpcClient control_;
  Backoff backoff_;
  KeptSettings kept_;
  Event stop_;
  Agent* agent_ = nullptr;
  bool ready_ = false;  // this life has taken connections
  uint64_t lives_ = 0;
  Status end_;  // of the last life
  // What control is told.
  State state_ = State::kStarting;
  std::string phase_;
  Status failure_;
  Address rpc_;
  uint16_t port_ = 0;
  uint64_t version_ = 1;         // of the above
  Watch<uint64_t> answered_{0};  // version of the newest report that control has answered
  WaitQueue told_;
};

}  // namespace varve::compute
