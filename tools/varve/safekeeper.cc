// varve safekeeper: one member of the WAL service.
#include <CLI/CLI.hpp>

#include "consensus/safekeeper/server.h"
#include "consensus/safekeeper/service.h"
#include "tools/varve/commands.h"
#include "tools/varve/daemon.h"

namespace varve::tool {
namespace {

Status serve(Daemon& daemon, consensus::TimelineRegistry& registry,
             consensus::SafekeeperServer& wal, int number) {
  VARVE_TRY(registry.start());
  VARVE_TRY(wal.start(daemon.layout.safekeeper_wal(number)));
  RpcServer rpc(daemon.world.clock, daemon.world.log, daemon.world.metrics, daemon.identity,
                daemon.verifier, daemon.memory, daemon.settings.rpc_server);
  consensus::add_safekeeper_methods(rpc, registry);
  return serve_rpc(daemon, rpc, daemon.layout.safekeeper_rpc(number));
}

Status run(Daemon& daemon, int number) {
  const consensus::SafekeeperOptions& options = daemon.settings.safekeeper;
  consensus::SignedTokenCheck tokens(daemon.verifier, daemon.world.clock);
  Scope scope("safekeeper");
  consensus::TimelineRegistry registry(daemon.world, daemon.identity.node, options, scope);
  consensus::SafekeeperServer wal(daemon.world, registry, tokens, options, scope);
  const Status end = serve(daemon, registry, wal, number);
  wal.stop();
  registry.stop();
  return end;
}

int run_verb(DaemonFlags flags) {
  if (flags.node == 0) flags.node = kFirstSafekeeperNode;
  if (flags.node < kFirstSafekeeperNode || flags.node >= kFirstSafekeeperNode + kSafekeepers) {
    std::fprintf(stderr, "varve: safekeepers are the nodes %d to %d\n",
                 static_cast<int>(kFirstSafekeeperNode),
                 static_cast<int>(kFirstSafekeeperNode) + kSafekeepers - 1);
    return 2;
  }
  const int number = static_cast<int>(flags.node - kFirstSafekeeperNode) + 1;
  const std::string name = "safekeeper-" + std::to_string(number);
  return run_daemon(flags, name, name, [number](Daemon& daemon) { return run(daemon, number); });
}

void add(CLI::App& app, Chosen& chosen) {
  static DaemonFlags flags;
  CLI::App* verb = app.add_subcommand(
      "safekeeper", "Keeps the logs: one of the three members (started by 'varve up').");
  add_daemon_flags(*verb, flags);
  verb->callback([&chosen] { chosen = [] { return run_verb(flags); }; });
}

const Verb kVerb(VerbGroup::kDaemons, &add);

}  // namespace
}  // namespace varve::tool
