// `varve up`: the supervisor. Runs in the foreground until it is asked to stop.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "real_io/main_world.h"
#include "supervisor/log_keeper.h"
#include "supervisor/service.h"
#include "supervisor/supervisor.h"
#include "tools/varve/checks.h"
#include "tools/varve/commands.h"
#include "tools/varve/control_client.h"
#include "tools/varve/endpoint_files.h"
#include "tools/varve/files.h"
#include "tools/varve/layout.h"
#include "tools/varve/lock.h"
#include "tools/varve/machine.h"
#include "tools/varve/settings.h"
#include "wire/rpc_server.h"

extern char** environ;

namespace varve::tool {
namespace {

using supervisor::ProcessEvent;
using supervisor::ProcessSpec;
using supervisor::Supervisor;

constexpr int kControlStage = 0;
constexpr int kSafekeeperStage = 1;
constexpr int kPageserverStage = 2;
// How long ports may stay taken by what is just ending.
constexpr int kPortPatienceMillis = 3000;
constexpr uint64_t kRpcMemory = 64 << 20;

struct UpFlags {
  std::string data = ".varve";
  uint16_t port = 0;
  std::string project = "main";
  std::string branch;  // whose endpoint is started, too
};

struct Prepared {
  DirectoryLock lock;
  Layout layout;
  std::string executable;
  std::string token;
  TokenVerifier verifier;
  Settings settings;
};

void say(const std::string& line) {
  std::fprintf(stderr, "%s\n", line.c_str());
}

std::string in_millis(Duration duration) {
  return std::to_string(duration.to_millis()) + " ms";
}

// Processes of a supervisor that was killed die by the kernel's hand, but not at once.
Status wait_for_ports(const Layout& layout) {
  Status status;
  for (int waited = 0; waited < kPortPatienceMillis; waited += 20) {
    status = layout.check_ports();
    if (status.ok()) return status;
    ::usleep(20000);
  }
  return status;
}

Result<Prepared> prepare(const UpFlags& flags) {
  VARVE_TRY_ASSIGN(const std::string directory, Layout::prepare(flags.data));
  VARVE_TRY_ASSIGN(DirectoryLock lock, DirectoryLock::take(directory));
  // Read before anything is made: a mistake in it is found here and not by one of the daemons.
  VARVE_TRY_ASSIGN(Settings settings, load_settings(directory + "/varve.toml"));
  VARVE_TRY(check_postgres(settings).status());
  VARVE_TRY(check_postgres_user(directory).status());
  LayoutOptions options;
  options.listen = settings.listen;
  options.base_port = flags.port;
  VARVE_TRY_ASSIGN(Layout layout, Layout::create_or_open(directory, options));
  VARVE_TRY(make_directory(layout.path("log"), 0755));
  const std::vector<Leftover> leftovers = find_leftovers(directory);
  for (const Leftover& leftover : leftovers) {
    say("ending a leftover " + leftover.verb + " (pid " + std::to_string(leftover.pid) +
        ", incarnation " + leftover.incarnation + ")");
  }
  VARVE_TRY(end_leftovers(leftovers));
  VARVE_TRY(wait_for_ports(layout));
  VARVE_TRY_ASSIGN(std::string executable, executable_path());
  VARVE_TRY(check_shim().status());
  VARVE_TRY_ASSIGN(std::string token, layout.node_token());
  VARVE_TRY_ASSIGN(TokenVerifier verifier, layout.verifier());
  return Prepared{std::move(lock),  std::move(layout),   std::move(executable),
                  std::move(token), std::move(verifier), std::move(settings)};
}

// Switches of ours that the user has set are meant for the daemons, too.
std::map<std::string, std::string> passed_on() {
  std::map<std::string, std::string> passed;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (text.starts_with("VARVE_") && equals != std::string::npos) {
      passed[text.substr(0, equals)] = text.substr(equals + 1);
    }
  }
  return passed;
}

// "compute main" instead of the name with the tenant's id, which log files have.
std::string short_name(const std::string& name) {
  constexpr size_t kIdEnd = sizeof("compute-") - 1 + 32;
  return name.starts_with("compute-") && name.size() > kIdEnd + 1
             ? "compute " + name.substr(kIdEnd + 1)
             : name;
}

void tell(const ProcessEvent& event) {
  const std::string name = short_name(event.process.name);
  switch (event.kind) {
    case ProcessEvent::Kind::kReady:
      return say(name + (event.process.node.value == 0 ? " begun" : " ready") + " (" +
                 in_millis(event.took) + ")");
    case ProcessEvent::Kind::kEnded:
      return say(event.why.message() + "; the next life begins in " + in_millis(event.took));
    case ProcessEvent::Kind::kStopped:
      return say(name + " stopped (" + in_millis(event.took) + ")");
    case ProcessEvent::Kind::kKilled:
      return say(name + " did not stop in " + in_millis(event.took) + " and is killed");
  }
  VARVE_UNREACHABLE("no such event of a process");
}

// The supervisor at work, in the real world.
class Up {
 public:
  Up(real_io::RealWorld& real, const UpFlags& flags, const Prepared& prepared,
     Watch<uint64_t>& stop_signals)
      : real_(real),
        world_(real.world()),
        flags_(flags),
        prepared_(prepared),
        stop_signals_(stop_signals),
        begun_(now()),
        options_(prepared.settings.supervisor),
        threads_(real.reactor(), 1),
        supervisor_({world_, real.processes(), options_, prepared.token, kSupervisorNode,
                     [this](const ProcessEvent& event) {
                       tell(event);
                       note(event);
                     }},
                    {{prepared.executable, "compute", "--data", prepared.layout.directory()},
                     passed_on(),
                     [this](const TenantId& tenant, const std::string& endpoint) {
                       return forget_endpoint(world_.disk, threads_, prepared_.layout, tenant,
                                              endpoint);
                     }}) {}

  Status run() {
    world_.log.info("begun", "varve up", {{"pid", static_cast<int64_t>(::getpid())}});
    while (identity_.incarnation.value == 0) {
      identity_.incarnation = Incarnation(world_.random.below(UINT64_MAX, "incarnation"));
    }
    Budget memory("supervisor", kRpcMemory);
    RpcServer server(world_.clock, world_.log, world_.metrics, identity_, prepared_.verifier,
                     memory, prepared_.settings.rpc_server);
    supervisor::add_methods(server, supervisor_);
    VARVE_TRY_ASSIGN(const std::unique_ptr<Listener> listener,
                     world_.network.listen(prepared_.layout.supervisor()));
    Scope serving("serve the supervisor");
    serving.spawn("rpc", [&] { return server.serve(*listener); });
    serving.spawn("logs", [&] { return supervisor::keep_logs(world_, options_, "log"); });
    add_daemons();
    const Status started = start();
    const Status stopped = stop();
    serving.cancel();
    serving.join().ignore("it was cancelled");
    VARVE_TRY(started);
    return stopped;
  }

 private:
  // For log/supervisor.log: what people saw, with a time.
  void note(const ProcessEvent& event) {
    const Field name("process", event.process.name);
    const Field took("took_us", event.took);
    switch (event.kind) {
      case ProcessEvent::Kind::kReady:
        return world_.log.info("process_ready", "it answers", {name, took});
      case ProcessEvent::Kind::kEnded:
        return world_.log.warning("process_ended", event.why.message(), {name, took});
      case ProcessEvent::Kind::kStopped:
        return world_.log.info("process_stopped", "as asked", {name, took});
      case ProcessEvent::Kind::kKilled:
        return world_.log.warning("process_killed", "it did not stop in time", {name, took});
    }
    VARVE_UNREACHABLE("no such event of a process");
  }

  ProcessSpec daemon(const std::string& verb, const std::string& name, NodeId node,
                     std::vector<Address> addresses) const {
    ProcessSpec spec;
    spec.name = name;
    spec.arguments = {prepared_.executable,         verb,     "--data",
                      prepared_.layout.directory(), "--node", node.to_string()};
    spec.environment = passed_on();
    spec.node = node;
    spec.address = addresses.front();
    spec.addresses = std::move(addresses);
    spec.stop_limit = options_.daemon_stop_limit;
    return spec;
  }

  void add_daemons() {
    const Layout& layout = prepared_.layout;
    supervisor_.add(daemon("control", "control", kControlNode, {layout.control()}), kControlStage);
    for (int i = 1; i <= kSafekeepers; ++i) {
      const NodeId node(kFirstSafekeeperNode + static_cast<uint64_t>(i) - 1);
      supervisor_.add(daemon("safekeeper", "safekeeper-" + std::to_string(i), node,
                             {layout.safekeeper_rpc(i), layout.safekeeper_wal(i)}),
                      kSafekeeperStage);
    }
    supervisor_.add(daemon("pageserver", "pageserver-1", kPageserverNode, {layout.pageserver()}),
                    kPageserverStage);
  }

  // Until a stop signal, or an error that makes going on pointless.
  Status start() {
    Status failed;
    Scope starting("start");
    starting.spawn("start", [&] {
      failed = bring_up();
      if (!failed.ok()) stop_signals_.set(stop_signals_.get() + 1);
    });
    const Status waited =
        stop_signals_.wait_until([](uint64_t count) { return count > 0; }, "a stop signal");
    starting.cancel();
    starting.join().ignore("what it found is in `failed`");
    VARVE_TRY(waited);
    return failed.is(Code::kCancelled) ? Status() : failed;
  }

  Status bring_up() {
    const Status ready = supervisor_.wait_ready();
    if (!ready.ok()) {
      show_last_words();
      return ready;
    }
    say("varve is up (" + in_millis(now() - begun_) + "), data in " + prepared_.layout.directory());
    if (!flags_.branch.empty()) {
      VARVE_TRY(start_endpoint());
    }
    say("ready; Ctrl-C stops it");
    return Status();
  }

  // Of the daemons that have ended: why is in their logs, and people should not have to look there.
  void show_last_words() const {
    constexpr size_t kTail = 600;
    for (const auto* process : supervisor_.processes()) {
      if (process->last_end().ok()) continue;
      const Result<std::string> log = read_file(prepared_.layout.log(process->spec().name));
      if (!log.ok() || log->empty()) continue;
      const size_t from = log->size() > kTail ? log->find('\n', log->size() - kTail) + 1 : 0;
      say("--- the end of log/" + process->spec().name + ".log:\n" + log->substr(from));
    }
  }

  Status start_endpoint() {
    VARVE_TRY_ASSIGN(const std::string token, prepared_.layout.admin_token());
    Scope scope("start an endpoint");
    ControlClient control(world_, scope, prepared_.layout.control(), token);
    const Instant before = now();
    VARVE_TRY(control.ensure_project(flags_.project).status());
    const Instant between = now();
    say("project " + flags_.project + " is there (" + in_millis(between - before) + ")");
    VARVE_TRY_ASSIGN(const EndpointInfo endpoint,
                     control.ensure_running(flags_.project, flags_.branch));
    say("endpoint " + endpoint.name + " runs (" + in_millis(now() - between) + ")");
    std::printf("%s\n", endpoint.connection_string.c_str());
    (void)std::fflush(stdout);
    say_what_next(endpoint.connection_string);
    return Status();
  }

  void say_what_next(const std::string& target) const {
    const std::string varve = prepared_.executable;
    const std::string data = " --data " + prepared_.layout.directory();
    say("\nIn another terminal:\n"
        "  psql " +
        target +
        "\n"
        "  " +
        varve + " branch create test" + data +
        "     a copy of everything, at once\n"
        "  " +
        varve + " psql test" + data +
        "\n"
        "  " +
        varve + " status" + data + "\n");
  }

  Status stop() {
    const Instant before = now();
    say("stopping (again: kill at once)");
    Scope stopping("stop");
    stopping.spawn("stop in order", [&] { return supervisor_.stop(); });
    const uint64_t asked = stop_signals_.get();
    stopping.spawn("watch for a second signal", [&] {
      const Status again = stop_signals_.wait_until([&](uint64_t count) { return count > asked; },
                                                    "a second stop signal");
      if (!again.ok()) return;
      say("killing");
      supervisor_.kill();
    });
    while (!all_stopped()) VARVE_TRY(sleep_for(Duration::millis(2)));
    stopping.cancel();
    stopping.join().ignore("all have stopped");
    say("stopped (" + in_millis(now() - before) + ")");
    return Status();
  }

  bool all_stopped() const {
    const auto all = supervisor_.processes();
    return std::all_of(all.begin(), all.end(), [](const auto* p) { return p->stopped(); });
  }

  real_io::RealWorld& real_;
  World& world_;
  const UpFlags& flags_;
  const Prepared& prepared_;
  Watch<uint64_t>& stop_signals_;
  Instant begun_;
  const supervisor::SupervisorOptions& options_;
  real_io::ThreadPool threads_;
  RpcIdentity identity_{kSupervisorNode, Incarnation(), "supervisor"};
  Supervisor supervisor_;
};

int up(const UpFlags& flags) {
  Result<Prepared> prepared = prepare(flags);
  if (!prepared.ok()) return fail(prepared.status());
  real_io::RealOptions options = prepared->settings.io;
  options.root = prepared->layout.directory();
  options.files = real_io::FileBackend::kThreads;  // it starts processes and writes a log
  options.log.path = prepared->layout.log("supervisor");
  Watch<uint64_t> stop_signals(0);
  Status status;
  const int code = real_io::run_real(
      std::move(options),
      [&](real_io::RealWorld& real) {
        status = Up(real, flags, *prepared, stop_signals).run();
        return Status();
      },
      [&](real_io::RealWorld&, uint64_t) { stop_signals.set(stop_signals.get() + 1); });
  return status.ok() ? code : fail(status);
}

void add(CLI::App& app, Chosen& chosen) {
  static UpFlags flags;
  CLI::App* verb = app.add_subcommand("up", "Starts everything, in the foreground.");
  verb->add_option("--data", flags.data, "the data directory; made if there is none")
      ->capture_default_str();
  verb->add_option("--port", flags.port, "first of 500 ports, when the directory is made");
  verb->add_option("--project", flags.project, "of --endpoint")->capture_default_str();
  verb->add_option("--endpoint", flags.branch,
                   "starts an endpoint of this branch, too, and prints its connection string");
  verb->callback([&chosen] { chosen = [] { return up(flags); }; });
}

const Verb kVerb(VerbGroup::kMachine, &add);

}  // namespace
}  // namespace varve::tool
