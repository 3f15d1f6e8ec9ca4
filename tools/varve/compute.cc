// varve compute: runs an endpoint's Postgres for as long as the endpoint is wanted.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "base/random.h"
#include "compute/agent/keeper.h"
#include "real_io/postgres/host.h"
#include "tools/varve/commands.h"
#include "tools/varve/daemon.h"
#include "tools/varve/endpoint_files.h"
#include "tools/varve/files.h"

namespace varve::tool {
namespace {

constexpr const char* kTokenVariable = "VARVE_COMPUTE_TOKEN";
constexpr size_t kLongestName = 63;

struct ComputeFlags {
  DaemonFlags daemon;
  std::string endpoint;
  std::string tenant;
  std::string timeline;
};

bool is_loopback(const std::string& host) {
  return host == "127.0.0.1" || host == "::1" || host == "localhost";
}

// Who may connect. On the loopback whoever can reach the port is on this machine, where the data
// directory's owner can read every page anyway, and a password would have to lie in a file beside
// it; so it is trusted, as initdb does it. From elsewhere nobody comes in without a password that
// somebody has set with ALTER ROLE.
std::vector<std::string> host_rules(const std::string& listen) {
  std::vector<std::string> rules = {"local all all trust", "host all all 127.0.0.1/32 trust",
                                    "host all all ::1/128 trust"};
  if (!is_loopback(listen)) rules.emplace_back("host all all all scram-sha-256");
  return rules;
}

// `own` are the user's, from varve.toml; what the gate rests on the agent refuses by name.
compute::ComputeSettings settings(const std::string& listen,
                                  const std::vector<std::pair<std::string, std::string>>& own) {
  compute::ComputeSettings settings;
  settings.parameters = {
      {"shared_buffers", "128MB"},
      // A start never replays, so checkpoints only bound what the log takes on the local disk.
      {"checkpoint_timeout", "30min"},
      {"max_wal_size", "1GB"},
      {"password_encryption", "scram-sha-256"},
  };
  for (const auto& parameter : own) {
    std::erase_if(settings.parameters, [&](const auto& p) { return p.first == parameter.first; });
    settings.parameters.push_back(parameter);
  }
  settings.host_rules = host_rules(listen);
  return settings;
}

// The number of a user that no other endpoint has, of any directory on this machine: tenants are
// drawn at random. Nobody gives out numbers of this range, which lies above those of containers.
uint32_t own_user(const TenantId& tenant, const std::string& endpoint) {
  constexpr uint32_t kFirst = 0x70000000;
  constexpr uint32_t kCount = 0x0FF00000;
  return kFirst +
         static_cast<uint32_t>(mix64(hash_label(tenant.to_string() + "/" + endpoint)) % kCount);
}

Status keep(Daemon& daemon, Event& stop, const ComputeFlags& flags, const TenantTimelineId& id,
            const std::string& token) {
  const std::string listen = daemon.layout.control().host;
  VARVE_TRY(make_directory(daemon.layout.path("log"), 0755));
  // Postgres runs as another user, who has to get through to his own directories.
  VARVE_TRY(make_directory(daemon.layout.computes(), 0711));
  real_io::PostgresHostOptions host_options = daemon.settings.postgres_host;
  host_options.directory = compute_place(daemon.layout, id.tenant, flags.endpoint);
  host_options.own_user = own_user(id.tenant, flags.endpoint);
  host_options.output_path = daemon.layout.log(postgres_log_name(id.tenant, flags.endpoint));
  VARVE_TRY_ASSIGN(host_options.shim, shim_path());
  VARVE_TRY_ASSIGN(
      const std::unique_ptr<PostgresHost> host,
      real_io::make_postgres_host(daemon.real.reactor(), daemon.world.log, host_options));
  compute::Keeper keeper(daemon.world, *host, daemon.verifier, daemon.memory,
                         {.id = id,
                          .endpoint = flags.endpoint,
                          .token = token,
                          .identity = daemon.identity,
                          .control = daemon.layout.control(),
                          .control_node = kControlNode,
                          .listen = listen,
                          .settings = settings(listen, daemon.settings.postgres)},
                         daemon.settings.compute);
  const Status end = keeper.run(stop);
  // Whoever asked for a stop has got it; what a killed Postgres had not committed was promised to
  // nobody.
  if (!end.ok()) daemon.world.log.warning("compute_stopped", "not a clean stop", {{"why", end}});
  return Status();
}

int usage(const std::string& what) {
  std::fprintf(stderr, "varve: %s\n", what.c_str());
  return 2;
}

// Becomes part of paths.
bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kLongestName && name.front() != '-' &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyz"
             "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == std::string::npos;
}

int run_verb(const ComputeFlags& flags) {
  const auto tenant = TenantId::parse(flags.tenant);
  const auto timeline = TimelineId::parse(flags.timeline);
  if (!tenant || !timeline) return usage("--tenant and --timeline are 32 hexadecimal digits");
  if (!is_name(flags.endpoint)) return usage("--endpoint is letters, digits, '-' and '_'");
  const char* given = std::getenv(kTokenVariable);
  if (given == nullptr || *given == '\0')
    return usage(std::string(kTokenVariable) + " must hold a token of this timeline");
  const std::string token = given;
  // Not for our children, whose environments others may read.
  (void)::unsetenv(kTokenVariable);
  return run_daemon(flags.daemon, "compute-" + flags.endpoint,
                    endpoint_directory(*tenant, flags.endpoint), [&](Daemon& daemon, Event& stop) {
                      return keep(daemon, stop, flags, {*tenant, *timeline}, token);
                    });
}

void add(CLI::App& app, Chosen& chosen) {
  static ComputeFlags flags;
  CLI::App* verb =
      app.add_subcommand("compute", "Runs one endpoint's Postgres (started by control).");
  add_daemon_flags(*verb, flags.daemon);
  verb->add_option("--endpoint", flags.endpoint, "its name")->required();
  verb->add_option("--tenant", flags.tenant, "the project's id")->required();
  verb->add_option("--timeline", flags.timeline, "the branch's id")->required();
  verb->callback([&chosen] { chosen = [] { return run_verb(flags); }; });
}

const Verb kVerb(VerbGroup::kDaemons, &add);

}  // namespace
}  // namespace varve::tool
