#include "tools/varve/daemon.h"

#include <CLI/CLI.hpp>

#include "tools/varve/commands.h"
#include "tools/varve/files.h"

namespace varve::tool {
namespace {

// Until each pool has a limit of its own, what requests and windows may take of a process.
constexpr uint64_t kProcessMemory = uint64_t{1} << 30;

struct Opened {
  Layout layout;
  Settings settings;
  TokenVerifier verifier;
  std::string token;
};

Result<Opened> open_all(const DaemonFlags& flags, const std::string& root, bool with_token) {
  VARVE_TRY_ASSIGN(Layout layout, Layout::open(flags.data));
  VARVE_TRY_ASSIGN(Settings settings, load_settings(layout.settings()));
  VARVE_TRY_ASSIGN(TokenVerifier verifier, layout.verifier());
  std::string token;
  if (with_token) {
    VARVE_TRY_ASSIGN(token, layout.node_token());
  }
  VARVE_TRY(make_directory(layout.path(root), 0700));
  return Opened{std::move(layout), std::move(settings), std::move(verifier), std::move(token)};
}

// `on_stop` empty: a stop signal cancels the root scope.
int run_with(const DaemonFlags& flags, const std::string& name, const std::string& root,
             const std::function<Status(Daemon&)>& body, real_io::StopHandler on_stop) {
  const bool with_token = flags.node != 0;
  Result<Opened> opened = open_all(flags, root, with_token);
  if (!opened.ok()) return fail(opened.status());
  real_io::RealOptions options = opened->settings.io;
  options.root = opened->layout.path(root);
  const std::function<Status(real_io::RealWorld&)> run = [&](real_io::RealWorld& real) -> Status {
    World& world = real.world();
    Incarnation incarnation(flags.incarnation);
    while (incarnation.value == 0) {
      incarnation = Incarnation(world.random.below(UINT64_MAX, "incarnation"));
    }
    Budget memory(name, kProcessMemory);
    Daemon daemon{.real = real,
                  .world = world,
                  .layout = opened->layout,
                  .settings = opened->settings,
                  .verifier = opened->verifier,
                  .token = opened->token,
                  .identity = RpcIdentity{NodeId(flags.node), incarnation, name},
                  .memory = memory};
    world.log.info("started", name, {{"incarnation", incarnation.to_string()}});
    const Status status = body(daemon);
    world.log.info("ended", name);
    return status;
  };
  if (!on_stop) return real_io::run_real(std::move(options), run);
  return real_io::run_real(std::move(options), run, std::move(on_stop));
}

}  // namespace

void add_daemon_flags(CLI::App& verb, DaemonFlags& flags) {
  verb.add_option("--data", flags.data, "the data directory")->capture_default_str();
  verb.add_option("--node", flags.node, "this process' place in the fleet");
  verb.add_option("--incarnation", flags.incarnation, "this life's number; drawn if none is given");
}

int run_daemon(const DaemonFlags& flags, const std::string& name, const std::string& root,
               std::function<Status(Daemon&)> body) {
  return run_with(flags, name, root, body, {});
}

int run_daemon(const DaemonFlags& flags, const std::string& name, const std::string& root,
               std::function<Status(Daemon&, Event& stop)> body) {
  Event stop;
  return run_with(
      flags, name, root, [&](Daemon& daemon) { return body(daemon, stop); },
      [&stop](real_io::RealWorld& real, uint64_t count) {
        if (count == 1) real.world().log.info("stopping", "a stop signal came");
        stop.set();
      });
}

Status serve_rpc(Daemon& daemon, RpcServer& server, const Address& address) {
  VARVE_TRY_ASSIGN(const std::unique_ptr<Listener> listener, daemon.world.network.listen(address));
  daemon.world.log.info("listening", address.to_string());
  return server.serve(*listener);
}

std::unique_ptr<RpcClient> connect_to(Daemon& daemon, Scope& scope, const Address& address,
                                      NodeId expected) {
  RpcClientOptions options = daemon.settings.rpc_client;
  options.expected_node = expected;
  return std::make_unique<RpcClient>(daemon.world.network, daemon.world.random, scope, address,
                                     daemon.token, daemon.identity, options);
}

}  // namespace varve::tool
