// varve pageserver: pages of every tenant that control gives to this node.
#include <CLI/CLI.hpp>

#include "control/client/methods.h"
#include "objects/dir_store.h"
#include "proto/control.pb.h"
#include "real_io/hold_until_sync.h"
#include "storage/service/methods.h"
#include "tools/varve/commands.h"
#include "tools/varve/daemon.h"
#include "tools/varve/files.h"
#include "wire/rpc_proto.h"

namespace varve::tool {
namespace {

constexpr Duration kAskAgain = Duration::millis(200);

// What control gives this life: tenants with generations that nobody else has, and where logs are.
struct Registration {
  std::vector<std::pair<TenantShardId, Generation>> tenants;
  std::vector<Address> safekeepers;
};

Result<Registration> register_once(Daemon& daemon, RpcClient& control) {
  proto::RegisterPageserverRequest request;
  request.set_node(daemon.identity.node.value);
  request.set_incarnation(daemon.identity.incarnation.value);
  VARVE_TRY_ASSIGN(const auto response, call<proto::RegisterPageserverResponse>(
                                            control, control::kRegisterPageserver, request));
  Registration registration;
  for (const proto::Attachment& attachment : response.attachments()) {
    TenantShardId shard{{}, 0, 1};
    if (attachment.tenant().size() != shard.tenant.bytes.size()) {
      return Status(Code::kCorrupt, "control names a tenant whose id is not 16 bytes");
    }
    std::memcpy(shard.tenant.bytes.data(), attachment.tenant().data(), shard.tenant.bytes.size());
    registration.tenants.emplace_back(shard, Generation(attachment.generation()));
  }
  for (const proto::NodeAddress& node : response.safekeepers()) {
    registration.safekeepers.push_back({node.host(), static_cast<uint16_t>(node.postgres_port())});
  }
  return registration;
}

// Until control answers: without it nobody knows which generation is ours.
Result<Registration> register_with_control(Daemon& daemon) {
  Scope scope("register with control");
  const std::unique_ptr<RpcClient> control =
      connect_to(daemon, scope, daemon.layout.control(), kControlNode);
  Status told;
  for (;;) {
    Result<Registration> registration = register_once(daemon, *control);
    VARVE_TRY(check_cancelled());
    if (registration.ok()) return registration;
    if (registration.code() != told.code()) {
      told = registration.status();
      daemon.world.log.warning("not_registered", "control does not answer; asking again",
                               {{"why", told}});
    }
    VARVE_TRY(sleep_for(kAskAgain));
  }
}

// The object store's disk. Nobody but the pageserver writes there, so where a killed process stands
// for a power cut it holds back what is not synced, like the process' own directory: then an object
// that was answered for without being durable is lost, and a test sees it.
struct ObjectDisk {
  std::unique_ptr<Disk> real;
  std::unique_ptr<Disk> held;
  Disk& disk() { return held != nullptr ? *held : *real; }
};

Result<ObjectDisk> open_objects(Daemon& daemon) {
  const std::string path = daemon.layout.objects();
  VARVE_TRY(make_directory(path, 0700));
  ObjectDisk objects;
  VARVE_TRY_ASSIGN(objects.real, daemon.real.open_directory(path));
  if (daemon.real.holds_until_sync()) objects.held = real_io::hold_until_sync(*objects.real);
  return objects;
}

Status run_pageserver(Daemon& daemon) {
  VARVE_TRY_ASSIGN(ObjectDisk disk, open_objects(daemon));
  objects::DirStore objects(disk.disk(), daemon.world.random);
  VARVE_TRY_ASSIGN(const Registration registration, register_with_control(daemon));
  storage::LogSource source;
  source.safekeepers = registration.safekeepers;
  source.credentials.token = daemon.token;
  source.credentials.application = "varve-pageserver";
  Scope scope("pageserver");
  storage::Pageserver pageserver(daemon.world, objects, daemon.settings.pageserver,
                                 std::move(source), scope);
  pageserver.attach_all(registration.tenants);
  RpcServer server(daemon.world.clock, daemon.world.log, daemon.world.metrics, daemon.identity,
                   daemon.verifier, daemon.memory, daemon.settings.rpc_server);
  storage::add_pageserver_methods(server, pageserver);
  const Status status = serve_rpc(daemon, server, daemon.layout.pageserver());
  pageserver.flush_and_stop();
  return status;
}

void add(CLI::App& app, Chosen& chosen) {
  static DaemonFlags flags;
  flags.node = kPageserverNode.value;
  CLI::App* verb = app.add_subcommand("pageserver", "Serves pages.");
  add_daemon_flags(*verb, flags);
  verb->callback([&chosen] {
    chosen = [] { return run_daemon(flags, "pageserver-1", "pageserver-1", run_pageserver); };
  });
}
const Verb kVerb(VerbGroup::kDaemons, &add);

}  // namespace
}  // namespace varve::tool
