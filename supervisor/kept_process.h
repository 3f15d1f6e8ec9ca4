// One process that is wanted: begun again, under a new incarnation, whenever a life ends without
// being asked to, until stop() or kill().
//
//     kStarting ──answers──▶ kRunning
//        ▲  │ends               │ends
//        │  ▼                   ▼
//     kWaiting ◀──────────── (judged) ──not wanted, or done──▶ kStopped
//
// One fiber does all of it and alone writes the state; the others only say what they want and wait.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "base/ids.h"
#include "runtime/process.h"
#include "runtime/sync.h"
#include "runtime/world.h"
#include "supervisor/options.h"

namespace varve::supervisor {

struct ProcessSpec {
  std::string name;  // "safekeeper-1"; names its log file
  // `--incarnation N` is put behind them; [0] is the executable's path.
  std::vector<std::string> arguments;
  std::map<std::string, std::string> environment;
  // Where it answers our RPC's hello as `node`, which is what makes it ready. Node 0: it is ready
  // when it was spawned.
  NodeId node;
  Address address;
  std::vector<Address> addresses;  // all that it listens on, for people
  Duration stop_limit;             // from the stop signal to the kill
  // Exit code 0 is its own decision and is respected (a compute that nobody wants any more).
  bool may_end = false;
};

enum class ProcessState : uint8_t { kStarting, kRunning, kWaiting, kStopped };

// What happened to a process, for whoever watches.
struct ProcessEvent {
  enum class Kind : uint8_t {
    kReady,    // answers; `took` since it was spawned
    kEnded,    // without being asked to; `why`, and the next life begins in `took`
    kStopped,  // as asked; `took` since then
    kKilled,   // did not stop in time
  };
  Kind kind;
  const ProcessSpec& process;
  Duration took;
  Status why;
};
using ProcessObserver = std::function<void(const ProcessEvent&)>;  // must not suspend

// What all processes of a supervisor share. Everything must outlive them.
struct ProcessContext {
  World& world;
  ProcessHost& host;
  const SupervisorOptions& options;
  std::string token;         // node scope, for the hello
  NodeId node;               // the supervisor's
  ProcessObserver observer;  // may be empty
};

class KeptProcess {
 public:
  // Begins at once. The keeping fiber runs in `scope`; cancelling that kills the process.
  // `context` and `scope` must outlive this.
  KeptProcess(const ProcessContext& context, ProcessSpec spec, Scope& scope);
  // Invariant: stopped() holds.
  ~KeptProcess();
  KeptProcess(const KeptProcess&) = delete;
  KeptProcess& operator=(const KeptProcess&) = delete;

  // Asks it to stop and waits for its end; after the spec's limit it is killed. Suspends; an error
  // only when the caller is cancelled or late, and then the stop goes on. May be called again.
  Status stop();
  // The same without asking: never suspends. stopped() comes to hold soon after.
  void kill();
  bool stopped() const { return state_ == ProcessState::kStopped; }
  Status wait_stopped();
  // Until the first spawn succeeded or failed; the error of the latter. Suspends.
  Status wait_spawned();
  // Until it answers for the first time. The last life's end when start_attempts of them ended
  // first, Cancelled when it is stopped meanwhile. Suspends.
  Status wait_ready(Instant deadline);

  const ProcessSpec& spec() const { return spec_; }
  ProcessState state() const { return state_; }
  int64_t pid() const { return process_ == nullptr ? 0 : process_->pid(); }
  Incarnation incarnation() const { return incarnation_; }
  uint64_t restarts() const { return lives_ == 0 ? 0 : lives_ - 1; }
  const Status& last_end() const { return last_end_; }

 private:
  void keep();
  Status live();
  void probe();
  void limit_stop();
  bool pause_before_next();
  void change(ProcessState state);
  void tell(ProcessEvent::Kind kind, Duration took, const Status& why = {});
  void send_stop();

  const ProcessContext& context_;
  ProcessSpec spec_;
  ProcessState state_ = ProcessState::kStarting;
  bool wanted_ = true;
  bool kill_ = false;
  bool was_ready_ = false;
  uint64_t lives_ = 0;
  Incarnation incarnation_;
  Instant begun_;       // the current life
  Instant stop_asked_;  // unless wanted
  Status last_end_;
  Backoff backoff_;
  std::unique_ptr<Process> process_;
  WaitQueue changed_;
  WaitQueue unwanted_;  // woken once, when it is wanted no more
};

// "killed by signal 9", "ended with exit code 1", as the reason of an unexpected end.
Status describe_end(const ProcessSpec& spec, int code);

}  // namespace varve::supervisor
