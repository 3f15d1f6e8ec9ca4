// All processes of a machine: daemons in stages, computes by endpoint.
//
// Daemons are added in the order in which they may rely on each other: those of a later stage are
// stopped first. Computes come and go as control asks, and are stopped before any daemon, since
// Postgres' last checkpoint goes through the gate and so through safekeepers.
//
// Fibers only; nothing blocks. Never destroyed with processes left: stop() or kill() comes first.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "runtime/scope.h"
#include "runtime/sync.h"
#include "supervisor/kept_process.h"

namespace varve::supervisor {

struct ComputeStart {
  TenantId tenant;
  TimelineId timeline;
  std::string endpoint;
  uint64_t start = 0;  // grows with each start of the endpoint
  std::string token;   // timeline scope
};

// How computes are begun: all but what a ComputeStart says.
struct ComputeTemplate {
  std::vector<std::string> arguments;  // executable, verb, data directory
  std::map<std::string, std::string> environment;
  // Removes what an endpoint's processes have left for the next ones, durably. May be repeated, may
  // suspend.
  std::function<Status(const TenantId&, const std::string& endpoint)> forget = {};
};

// What can be an argument and part of a file name: letters, digits, '-' and '_', at most 63 of
// them, the first one a letter or digit.
bool is_endpoint_name(std::string_view name);

class Supervisor {
 public:
  // Everything must outlive this.
  Supervisor(ProcessContext context, ComputeTemplate computes);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Begins a daemon, which is kept from now on. Stages count from 0. Invariant: not stopping.
  void add(ProcessSpec spec, int stage);
  // Until each daemon has answered for the first time. The error is of the first that can't.
  // Suspends.
  Status wait_ready();

  // Spawns the endpoint's compute; ends one of an earlier start first. The same start again is a
  // success that changes nothing. Stale when a later start, or the stop of this one, was seen;
  // Unavailable when everything is being stopped. Suspends.
  Status start_compute(const ComputeStart& request);
  // Until none of the endpoint is left. Stale when a later start was seen. Suspends.
  Status stop_compute(const TenantId& tenant, const std::string& endpoint, uint64_t start,
                      bool immediately);
  // Removes what the endpoint's processes have left; the start and all before it are over.
  // Stale when a later start was seen, Refused while a process runs. May be repeated. Suspends.
  Status forget_compute(const TenantId& tenant, const std::string& endpoint, uint64_t start);

  // Stops all, computes first, then daemons from the last stage to the first; what doesn't stop in
  // time is killed. Suspends; an error only when the caller is cancelled. May be called again.
  Status stop();
  // Kills all now. Never suspends; may be called while stop() waits, which then ends soon.
  void kill();

  // Daemons in the order in which they were added, then computes by name.
  std::vector<const KeptProcess*> processes() const;

 private:
  // The lives of one endpoint. Stays when no process is left: it knows which starts are old.
  struct Endpoint {
    uint64_t start = 0;    // the latest that was seen
    bool stopped = false;  // it was asked to stop; it may not begin again
    Mutex changing;
    std::unique_ptr<KeptProcess> process;
    uint64_t process_start = 0;  // the start that `process` belongs to
  };
  struct Daemon {
    int stage;
    std::unique_ptr<KeptProcess> process;
  };
  using EndpointKey = std::pair<TenantId, std::string>;

  ProcessSpec spec_of(const ComputeStart& request) const;
  Status stop_together(const std::vector<KeptProcess*>& group);

  ProcessContext context_;
  ComputeTemplate computes_;
  bool stopping_ = false;
  std::vector<Daemon> daemons_;
  std::map<EndpointKey, Endpoint> endpoints_;
  Scope scope_;  // last: its fibers use the rest
};

}  // namespace varve::supervisor
