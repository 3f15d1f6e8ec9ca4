// What the daemons of the one binary have in common: their flags, their world, their RPC port.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "real_io/main_world.h"
#include "runtime/budget.h"
#include "runtime/sync.h"
#include "tools/varve/layout.h"
#include "tools/varve/settings.h"
#include "wire/rpc_client.h"
#include "wire/rpc_server.h"

namespace CLI {
class App;
}

namespace varve::tool {

struct DaemonFlags {
  std::string data = ".varve";
  uint64_t node = 0;
  uint64_t incarnation = 0;  // 0: one is drawn
};

// --data, --node, --incarnation. `flags` must outlive the parsing.
void add_daemon_flags(CLI::App& verb, DaemonFlags& flags);

// What a daemon's body works with. Lives as long as the process does.
struct Daemon {
  real_io::RealWorld& real;
  World& world;
  const Layout& layout;
  const Settings& settings;
  const TokenVerifier& verifier;
  const std::string& token;  // node scope; empty for a compute
  RpcIdentity identity;
  Budget& memory;  // of the process
};

// Opens the layout, the keys and varve.toml, makes `root` below the data directory, builds the
// world on it (its log goes to stderr, which the supervisor appends to the process' log file) and
// runs `body` as the first fiber. Returns the exit code.
int run_daemon(const DaemonFlags& flags, const std::string& name, const std::string& root,
               std::function<Status(Daemon&)> body);
// For a body that has something to end in order: a stop signal sets the event and cancels nothing.
int run_daemon(const DaemonFlags& flags, const std::string& name, const std::string& root,
               std::function<Status(Daemon&, Event& stop)> body);

// Listens at `address` and serves until the scope is cancelled. Exists names a port that is taken.
Status serve_rpc(Daemon& daemon, RpcServer& server, const Address& address);

// A client with the daemon's own token and identity. `scope` must outlive it.
std::unique_ptr<RpcClient> connect_to(Daemon& daemon, Scope& scope, const Address& address,
                                      NodeId expected);

}  // namespace varve::tool
