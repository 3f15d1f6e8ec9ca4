// `varve status`: the processes of a machine, and what storage could not digest.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>

#include "proto/host.pb.h"
#include "real_io/real_world.h"
#include "storage/client/timeline_client.h"
#include "supervisor/client/methods.h"
#include "tools/varve/commands.h"
#include "tools/varve/control_client.h"
#include "tools/varve/endpoint_files.h"
#include "tools/varve/layout.h"
#include "tools/varve/lock.h"
#include "tools/varve/output.h"
#include "wire/rpc_proto.h"

namespace varve::tool {
namespace {

struct StatusFlags {
  std::string data = ".varve";
  bool json = false;
};

const char* state_name(proto::ProcessState state) {
  switch (state) {
    case proto::PROCESS_STARTING:
      return "starting";
    case proto::PROCESS_RUNNING:
      return "running";
    case proto::PROCESS_WAITING:
      return "waiting";
    case proto::PROCESS_STOPPED:
      return "stopped";
    default:  // an enumeration of the wire is open
      return "unknown";
  }
}

Result<proto::HostStatusResponse> ask(real_io::RealWorld& real, const Layout& layout) {
  VARVE_TRY_ASSIGN(const std::string token, layout.admin_token());
  const DeadlineGuard deadline(Duration::seconds(10));
  Scope scope("ask the supervisor");
  RpcClientOptions options;
  options.expected_node = kSupervisorNode;
  World& world = real.world();
  RpcClient client(world.network, world.random, scope, layout.supervisor(), token,
                   RpcIdentity{NodeId(), Incarnation(), "varve"}, options);
  return call<proto::HostStatusResponse>(client, supervisor::kHostStatus,
                                         proto::HostStatusRequest());
}

using Rows = std::vector<std::vector<std::string>>;

// Of all branches, each note where its record stands.
Result<Rows> ask_quarantine(real_io::RealWorld& real, const Layout& layout) {
  VARVE_TRY_ASSIGN(const std::string token, layout.admin_token());
  const DeadlineGuard deadline(Duration::seconds(5));
  Scope scope("ask for quarantines");
  World& world = real.world();
  ControlClient control(world, scope, layout.control(), token);
  RpcClientOptions options;
  options.expected_node = kPageserverNode;
  RpcClient pageserver(world.network, world.random, scope, layout.pageserver(), token,
                       RpcIdentity{NodeId(), Incarnation(), "varve"}, options);
  Rows rows;
  VARVE_TRY_ASSIGN(const std::vector<ProjectInfo> projects, control.projects());
  for (const ProjectInfo& project : projects) {
    VARVE_TRY_ASSIGN(const std::vector<BranchInfo> branches, control.branches(project.name));
    for (const BranchInfo& branch : branches) {
      if (!branch.ready) continue;
      VARVE_TRY_ASSIGN(
          const std::vector<storage::QuarantineNote> notes,
          storage::quarantine(pageserver, TenantShardId{branch.tenant, 0, 1}, branch.timeline));
      for (const storage::QuarantineNote& note : notes) {
        if (!branch.parent.is_zero() && note.lsn <= branch.start) continue;  // its parent's
        rows.push_back({project.name, branch.name, note.lsn.to_string(), note.text});
      }
    }
  }
  return rows;
}

// What the computes say of their starts, by the names of their processes. Control may be just what
// does not answer.
std::map<std::string, Status> compute_troubles(real_io::RealWorld& real, const Layout& layout) {
  std::map<std::string, Status> troubles;
  const Result<std::string> token = layout.admin_token();
  if (!token.ok()) return troubles;
  const DeadlineGuard deadline(Duration::seconds(2));
  Scope scope("ask control");
  ControlClient control(real.world(), scope, layout.control(), *token);
  const auto projects = control.projects();
  if (!projects.ok()) return troubles;
  for (const ProjectInfo& project : *projects) {
    const auto endpoints = control.endpoints(project.name);
    if (!endpoints.ok()) continue;
    for (const EndpointInfo& endpoint : *endpoints) {
      if (!endpoint.failure.ok())
        troubles[compute_log_name(endpoint.tenant, endpoint.name)] = endpoint.failure;
    }
  }
  return troubles;
}

Status show(const StatusFlags& flags) {
  VARVE_TRY_ASSIGN(const Layout layout, Layout::open(flags.data));
  VARVE_TRY_ASSIGN(const pid_t pid, DirectoryLock::holder(layout.directory()));
  if (pid == 0) {
    return Status(Code::kUnavailable, "no Varve runs here")
        .with_object(layout.directory())
        .with_hint("start it with `varve up --data " + flags.data + "`");
  }
  real_io::RealOptions options;
  options.root = layout.directory();
  options.files = real_io::FileBackend::kThreads;
  options.file_threads = 1;
  options.offload_threads = 1;
  VARVE_TRY_ASSIGN(const std::unique_ptr<real_io::RealWorld> real,
                   real_io::RealWorld::create(options));
  Result<proto::HostStatusResponse> response = Status(Code::kInternal, "nothing was asked");
  Result<Rows> quarantine = Rows();
  std::map<std::string, Status> troubles;
  VARVE_TRY(real->run([&](real_io::RealWorld& world) {
    response = ask(world, layout);
    troubles = compute_troubles(world, layout);
    if (response.ok()) quarantine = ask_quarantine(world, layout);
    return response.status();
  }));
  Rows rows;
  rows.push_back(
      {"supervisor", "running", std::to_string(pid), "0", layout.supervisor().to_string(), ""});
  for (const proto::HostProcess& process : response->processes()) {
    std::string addresses;
    for (const std::string& address : process.addresses()) {
      addresses += (addresses.empty() ? "" : " ") + address;
    }
    std::string trouble = process.last_end().message();
    const auto told = troubles.find(process.name());
    if (told != troubles.end()) trouble = told->second.to_string();
    rows.push_back({process.name(), state_name(process.state()), std::to_string(process.pid()),
                    std::to_string(process.restarts()), addresses, trouble});
  }
  print_rows({"name", "state", "pid", "restarts", "addresses", "trouble"}, rows, flags.json);
  if (!quarantine.ok()) {
    std::fprintf(stderr, "varve: whether pages are unreadable is not known now: %s\n",
                 quarantine.status().message().c_str());
  } else if (!quarantine->empty()) {
    if (!flags.json) std::printf("\nrecords that storage could not digest:\n");
    print_rows({"project", "branch", "lsn", "quarantine"}, *quarantine, flags.json);
  }
  return Status();
}

void add(CLI::App& app, Chosen& chosen) {
  static StatusFlags flags;
  CLI::App* verb = app.add_subcommand("status", "The processes that `varve up` keeps.");
  verb->add_option("--data", flags.data, "the data directory")->capture_default_str();
  verb->add_flag("--json", flags.json, "one object a line");
  verb->callback([&chosen] { chosen = [] { return result(show(flags)); }; });
}

const Verb kVerb(VerbGroup::kMachine, &add);

}  // namespace
}  // namespace varve::tool
