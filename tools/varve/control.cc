// varve control: projects, branches and endpoints of an installation.
#include <CLI/CLI.hpp>

#include "control/control.h"
#include "control/store/sqlite_store.h"
#include "tools/varve/commands.h"
#include "tools/varve/daemon.h"
#include "tools/varve/initdb.h"

namespace varve::tool {
namespace {

// SQLite's thread: one, so that its calls come one after the other.
class StoreThread final : public control::BlockingThread {
 public:
  explicit StoreThread(real_io::Reactor& reactor) : thread_(reactor, 1) {}
  void run(std::function<void()> work) override { thread_.run(std::move(work)); }

 private:
  real_io::RealOffload thread_;
};

control::Fleet fleet_of(const Layout& layout) {
  control::Fleet fleet;
  for (int number = 1; number <= kSafekeepers; ++number) {
    const NodeId node(kFirstSafekeeperNode + static_cast<uint64_t>(number) - 1);
    fleet.safekeepers.push_back(
        {node, layout.safekeeper_rpc(number), layout.safekeeper_wal(number)});
  }
  fleet.pageserver = kPageserverNode;
  fleet.pageserver_rpc = layout.pageserver();
  fleet.supervisor = kSupervisorNode;
  fleet.supervisor_rpc = layout.supervisor();
  fleet.endpoint_listen = layout.control().host;
  fleet.endpoint_host = reachable_host(fleet.endpoint_listen);
  fleet.endpoint_ports = {layout.first_endpoint_port(), layout.last_endpoint_port()};
  return fleet;
}

Status run(Daemon& daemon) {
  VARVE_TRY_ASSIGN(const TokenSigner signer, daemon.layout.signer());
  StoreThread thread(daemon.real.reactor());
  VARVE_TRY_ASSIGN(
      const std::unique_ptr<control::Store> store,
      control::open_sqlite_store(daemon.layout.path("control/control.sqlite"), thread));
  InitdbOptions initdb;
  // Beside the computes' directories, which the Postgres user has to enter as well.
  initdb.scratch = daemon.layout.computes();
  initdb.binaries = daemon.settings.postgres_host.binaries;
  initdb.log = daemon.layout.log("initdb");
  const std::unique_ptr<control::ClusterSource> clusters =
      make_initdb_source(daemon.real, std::move(initdb));
  const control::Fleet fleet = fleet_of(daemon.layout);
  VARVE_TRY_ASSIGN(const std::unique_ptr<Listener> listener,
                   daemon.world.network.listen(daemon.layout.control()));
  return control::run_control({.world = daemon.world,
                               .store = *store,
                               .clusters = *clusters,
                               .fleet = fleet,
                               .signer = signer,
                               .verifier = daemon.verifier,
                               .token = daemon.token,
                               .identity = daemon.identity,
                               .memory = daemon.memory,
                               .options = daemon.settings.control,
                               .rpc = daemon.settings.rpc_server},
                              *listener);
}

int run_verb(DaemonFlags flags) {
  if (flags.node == 0) flags.node = kControlNode.value;
  return run_daemon(flags, "control", "control", run);
}

void add(CLI::App& app, Chosen& chosen) {
  static DaemonFlags flags;
  CLI::App* verb = app.add_subcommand(
      "control", "Keeps projects, branches and endpoints (started by 'varve up').");
  add_daemon_flags(*verb, flags);
  verb->callback([&chosen] { chosen = [] { return run_verb(flags); }; });
}

const Verb kVerb(VerbGroup::kDaemons, &add);

}  // namespace
}  // namespace varve::tool
