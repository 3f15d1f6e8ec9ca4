// Real processes of one Varve around one endpoint: three safekeepers, a pageserver, a compute, and
// in this process as much of control as they ask.
//
// So a compute is tested with everything that it really speaks to, and with a control that does
// what the test wants of it.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "base/lsn.h"
#include "real_io/real_world.h"
#include "runtime/sync.h"
#include "tests/wal/stock_server.h"
#include "tools/varve/layout.h"
#include "wire/rpc_server.h"

namespace varve::test {

// What the compute last told control.
struct ComputeSeen {
  std::string state;  // "STARTING", "RUNNING", ...
  std::string phase;
  std::string failure;
  uint64_t lives = 0;
  uint64_t reports = 0;
  uint32_t rpc_port = 0;
};

class Cluster {
 public:
  // Makes a project from a fresh initdb, on which `prepare` (SQL, in database postgres) has been
  // run. Ends the test program if it can't.
  explicit Cluster(const std::string& prepare = "");
  // Kills what runs and removes all files, unless VARVE_KEEP is in the environment.
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  void start_safekeeper(int number);
  void kill_safekeeper(int number);
  void pause_safekeeper(int number);   // SIGSTOP: it holds its connections and says nothing
  void resume_safekeeper(int number);  // SIGCONT
  void start_pageserver();
  void kill_pageserver();

  // `endpoint` names its directory; there may be several processes.
  pid_t start_compute(const std::string& endpoint = "main");
  // SIGTERM; the exit code, or -1 if it does not end in time.
  int stop_compute(const std::string& endpoint = "main", int seconds = 30);
  void kill_compute(const std::string& endpoint = "main");
  bool compute_runs(const std::string& endpoint = "main");
  // Since the call: a report that says so comes. False after `seconds`.
  bool wait_state(const std::string& state, double seconds = 60,
                  const std::string& endpoint = "main");
  ComputeSeen seen(const std::string& endpoint = "main");
  // Control answers the next reports of it with stop.
  void say_stop(const std::string& endpoint = "main");
  // Control is away: it neither accepts nor answers.
  void hide_control(bool hidden);

  // Of the Postgres that runs; 0 when there is none.
  pid_t postmaster(const std::string& endpoint = "main");
  std::string life_directory(const std::string& endpoint = "main");
  std::string target() const;  // libpq connection string
  // One of Postgres' programs as its user, connected to the endpoint.
  CommandResult tool(const std::string& command_line) const;
  // Of one psql; empty lines at the end are cut. `failed` statements give psql's output.
  std::string sql(const std::string& statements) const;
  // Asks the compute's own port.
  Result<Lsn> settle(const std::string& endpoint = "main");

  const tool::Layout& layout() const { return *layout_; }
  const std::string& directory() const { return directory_; }
  TenantTimelineId id() const { return id_; }
  std::string log(const std::string& process) const;

 private:
  struct Endpoint {
    ComputeSeen seen;
    bool stop = false;
  };

  pid_t spawn(const std::string& name, const std::vector<std::string>& arguments,
              const std::vector<std::string>& environment = {});
  void end(const std::string& name, int signal);
  Status run_control(real_io::RealWorld& real);
  Status make_project(real_io::RealWorld& real);
  void add_methods(RpcServer& server);
  void on_control(const std::function<Status(real_io::RealWorld&)>& task, Status& result);

  std::string directory_;
  std::optional<tool::Layout> layout_;
  std::string binary_;
  TenantTimelineId id_;
  std::unique_ptr<StockServer> original_;
  uint64_t system_id_ = 0;
  uint32_t segment_size_ = 0;
  std::map<std::string, pid_t> processes_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Endpoint> endpoints_;
  uint64_t generation_ = 1;
  bool made_ = false;
  bool hidden_ = false;
  bool ending_ = false;
  Status problem_;
  std::optional<std::pair<std::function<Status(real_io::RealWorld&)>, Status*>> task_;
  bool task_done_ = false;
  std::thread control_;
};

}  // namespace varve::test
