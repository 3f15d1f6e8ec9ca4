// A whole Varve on a data directory of its own, as a user has it: `varve up` and what it starts.
// Its parts can be killed by name.
//
// Parts are "supervisor", "control", "safekeeper-1" to "-3", "pageserver-1", "compute-ENDPOINT" and
// "postgres-ENDPOINT" (the postmaster). They are found in /proc, not asked of Varve.
//
// Plain blocking code for tests and tools; one thread at a time unless stated otherwise.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "tests/programs/child_process.h"
#include "tools/varve/control_client.h"

namespace varve::product {

// A fresh directory under /var/tmp that user postgres may enter, removed with all that is in it.
class ScratchDirectory {
 public:
  explicit ScratchDirectory(const std::string& name);
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  const std::string& path() const { return path_; }
  // Leaves it behind, for a look at what went wrong.
  void keep() { kept_ = true; }

 private:
  std::string path_;
  bool kept_ = false;
};

struct ClusterOptions {
  std::string executable;  // varve
  std::string directory;   // the data directory; made if absent
  std::vector<std::pair<std::string, std::string>> environment = {};
};

class Cluster {
 public:
  // `varve up`, until it says that all are ready. What it says goes to "<directory>.out".
  static Result<std::unique_ptr<Cluster>> start(ClusterOptions options);
  // kill_everything().
  ~Cluster();

  const std::string& directory() const { return options_.directory; }
  // As Ctrl-C does it. An error if it takes longer than `limit` or ends with an error.
  Status stop(Duration limit = Duration::seconds(60));
  // After stop() or kill_everything().
  Status start_again();
  // For the next start_again().
  void set_environment(std::vector<std::pair<std::string, std::string>> environment) {
    options_.environment = std::move(environment);
  }

  // May be called from any thread. NotFound while it has no life.
  Result<pid_t> pid_of(const std::string& part) const;
  // SIGKILL; the process number that it had. May be called from any thread.
  Result<pid_t> kill(const std::string& part) const;
  // Until the part lives in another process than `former`.
  Status wait_for_next_life(const std::string& part, pid_t former, Duration limit) const;
  // SIGKILL to every process at once: with VARVE_DISK=hold-until-sync, a power cut.
  void kill_everything();
  // The number of processes of this directory, Postgres' included.
  size_t processes() const;

  // Asks control in a world of its own.
  Status control(const std::function<Status(tool::ControlClient&)>& body) const;
  // A running endpoint of the branch, made if need be: its connection string.
  Result<std::string> endpoint(const std::string& branch) const;
  static constexpr char kProject[] = "main";

  // Internal when one of the daemons ended by a broken invariant, which nothing that is done to it
  // excuses: the supervisor hides it by starting it again.
  Status no_aborts() const;
  // What `varve up` said so far.
  std::string said() const;

 private:
  explicit Cluster(ClusterOptions options) : options_(std::move(options)) {}
  std::map<std::string, pid_t> parts() const;
  std::vector<pid_t> family() const;

  ClusterOptions options_;
  std::optional<programs::ChildProcess> supervisor_;
};

}  // namespace varve::product
