#include "tests/compute/cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "compute/client/methods.h"
#include "consensus/client/methods.h"
#include "control/client/methods.h"
#include "proto/compute.pb.h"
#include "proto/control.pb.h"
#include "proto/safekeeper_service.pb.h"
#include "storage/client/import_client.h"
#include "storage/client/methods.h"
#include "storage/client/timeline_client.h"
#include "wire/rpc_frame.h"
#include "wire/rpc_proto.h"

namespace varve::test {
namespace {

namespace fs = std::filesystem;
using tool::kControlNode;
using tool::kPageserverNode;
using tool::kSafekeepers;

constexpr char kPrograms[] = "/usr/lib/postgresql/15/bin/";

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

template <class T>
T must(Result<T> result, const char* what) {
  if (!result.ok()) fail(std::string(what) + ": " + result.status().to_string());
  return std::move(*result);
}

template <class Message>
void name_timeline(const TenantTimelineId& id, Message& message) {
  message.set_tenant(id.tenant.bytes.data(), id.tenant.bytes.size());
  message.set_timeline(id.timeline.bytes.data(), id.timeline.bytes.size());
}

std::string text_of(const proto::Status& status) {
  std::string bytes;
  if (!status.SerializeToString(&bytes)) return "?";
  return rpc::parse_status(Bytes::copy(bytes)).to_string();
}

std::string trimmed(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// A stopped cluster's files, one piece after the other.
class Directory final : public storage::FileSource {
 public:
  explicit Directory(const std::string& data) : data_(data) {
    for (const auto& entry : fs::recursive_directory_iterator(data)) {
      if (entry.is_regular_file()) paths_.push_back(entry.path().lexically_relative(data).string());
    }
  }
  Result<std::optional<storage::FilePiece>> next() override {
    if (at_ == paths_.size()) return std::optional<storage::FilePiece>();
    if (offset_ == 0) content_ = read_file(data_ + "/" + paths_[at_]);
    const size_t here = std::min(content_.size() - offset_, storage::kStreamPieceBytes);
    storage::FilePiece piece{paths_[at_], offset_,
                             Bytes::copy(std::span(content_).subspan(offset_, here))};
    offset_ += here;
    if (offset_ == content_.size()) {
      ++at_;
      offset_ = 0;
    }
    return std::optional<storage::FilePiece>(std::move(piece));
  }

 private:
  const std::string data_;
  std::vector<std::string> paths_;
  std::vector<uint8_t> content_;
  size_t at_ = 0;
  uint64_t offset_ = 0;
};

RpcClient client_of(real_io::RealWorld& real, Scope& scope, const Address& address, NodeId node,
                    const std::string& token) {
  RpcClientOptions options;
  options.expected_node = node;
  return {real.world().network,
          real.world().random,
          scope,
          address,
          token,
          {kControlNode, Incarnation(1), "test control"},
          options};
}

Status until(double seconds, const std::function<Status()>& attempt) {
  const Instant limit = now() + Duration::millis(static_cast<int64_t>(seconds * 1000));
  for (;;) {
    Status status = attempt();
    if (status.ok() || now() >= limit) return status;
    VARVE_TRY(sleep_for(Duration::millis(20)));
  }
}

}  // namespace

// ---- processes ----

pid_t Cluster::spawn(const std::string& name, const std::vector<std::string>& arguments,
                     const std::vector<std::string>& environment) {
  std::vector<std::string> all = {binary_};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& argument : all) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  const std::string log = layout_->log(name);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) fail("fork");
  if (pid == 0) {
    ::setsid();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    for (const std::string& variable : environment) ::putenv(const_cast<char*>(variable.c_str()));
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  processes_[name] = pid;
  return pid;
}

void Cluster::end(const std::string& name, int signal) {
  const auto found = processes_.find(name);
  if (found == processes_.end()) return;
  ::kill(found->second, signal);
  if (signal == SIGSTOP || signal == SIGCONT) return;
  int status = 0;
  (void)::waitpid(found->second, &status, 0);
  processes_.erase(found);
}

void Cluster::start_safekeeper(int number) {
  spawn("safekeeper-" + std::to_string(number),
        {"safekeeper", "--data", layout_->directory(), "--node",
         std::to_string(tool::kFirstSafekeeperNode + static_cast<uint64_t>(number) - 1)});
}
void Cluster::kill_safekeeper(int number) {
  end("safekeeper-" + std::to_string(number), SIGKILL);
}
void Cluster::pause_safekeeper(int number) {
  end("safekeeper-" + std::to_string(number), SIGSTOP);
}
void Cluster::resume_safekeeper(int number) {
  end("safekeeper-" + std::to_string(number), SIGCONT);
}
void Cluster::start_pageserver() {
  spawn("pageserver-1", {"pageserver", "--data", layout_->directory()});
}
void Cluster::kill_pageserver() {
  end("pageserver-1", SIGKILL);
}

pid_t Cluster::start_compute(const std::string& endpoint) {
  {
    const std::lock_guard lock(mutex_);
    endpoints_[endpoint] = Endpoint();
  }
  TokenClaims claims;
  claims.tenant = id_.tenant;
  claims.timeline = id_.timeline;
  claims.issued_to = "compute-" + endpoint;
  const std::string token = must(layout_->signer(), "the signing key").sign(claims);
  return spawn("compute-" + endpoint,
               {"compute", "--data", layout_->directory(), "--endpoint", endpoint, "--tenant",
                id_.tenant.to_string(), "--timeline", id_.timeline.to_string()},
               {"VARVE_COMPUTE_TOKEN=" + token});
}

int Cluster::stop_compute(const std::string& endpoint, int seconds) {
  const auto found = processes_.find("compute-" + endpoint);
  if (found == processes_.end()) return -1;
  const pid_t pid = found->second;
  ::kill(pid, SIGTERM);
  for (int i = 0; i < seconds * 100; ++i) {
    int status = 0;
    if (::waitpid(pid, &status, WNOHANG) == pid) {
      processes_.erase(found);
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    ::usleep(10000);
  }
  return -1;
}

void Cluster::kill_compute(const std::string& endpoint) {
  end("compute-" + endpoint, SIGKILL);
}

bool Cluster::compute_runs(const std::string& endpoint) {
  const auto found = processes_.find("compute-" + endpoint);
  if (found == processes_.end()) return false;
  int status = 0;
  if (::waitpid(found->second, &status, WNOHANG) != found->second) return true;
  processes_.erase(found);
  return false;
}

// ---- control ----

void Cluster::add_methods(RpcServer& server) {
  add_method<proto::RegisterPageserverRequest, proto::RegisterPageserverResponse>(
      server, control::kRegisterPageserver,
      [this](CallContext&,
             const proto::RegisterPageserverRequest&) -> Result<proto::RegisterPageserverResponse> {
        const std::lock_guard lock(mutex_);
        proto::RegisterPageserverResponse response;
        if (made_) {
          proto::Attachment* attachment = response.add_attachments();
          attachment->set_tenant(id_.tenant.bytes.data(), id_.tenant.bytes.size());
          attachment->set_generation(++generation_);
        }
        for (int i = 1; i <= kSafekeepers; ++i) {
          proto::NodeAddress* node = response.add_safekeepers();
          const Address address = layout_->safekeeper_wal(i);
          node->set_host(address.host);
          node->set_postgres_port(address.port);
        }
        return response;
      });
  add_method<proto::ComputeSpecRequest, proto::ComputeSpec>(
      server, control::kComputeSpec,
      [this](CallContext& context,
             const proto::ComputeSpecRequest& request) -> Result<proto::ComputeSpec> {
        VARVE_TRY(context.authorize(id_.tenant, id_.timeline));
        proto::ComputeSpec spec;
        spec.set_configuration(1);
        for (int i = 1; i <= kSafekeepers; ++i) {
          proto::NodeAddress* node = spec.add_safekeepers();
          const Address address = layout_->safekeeper_wal(i);
          node->set_node(tool::kFirstSafekeeperNode + static_cast<uint64_t>(i) - 1);
          node->set_host(address.host);
          node->set_postgres_port(address.port);
        }
        spec.mutable_pageserver()->set_node(kPageserverNode.value);
        spec.mutable_pageserver()->set_host(layout_->pageserver().host);
        spec.mutable_pageserver()->set_port(layout_->pageserver().port);
        spec.set_postgres_major(15);
        spec.set_port(layout_->first_endpoint_port() + (request.endpoint() == "main" ? 0u : 1u));
        spec.set_system_id(system_id_);
        spec.set_segment_size(segment_size_);
        return spec;
      });
  add_method<proto::ReportComputeRequest, proto::ReportComputeResponse>(
      server, control::kReportCompute,
      [this](CallContext& context,
             const proto::ReportComputeRequest& report) -> Result<proto::ReportComputeResponse> {
        VARVE_TRY(context.authorize(id_.tenant, id_.timeline));
        const std::lock_guard lock(mutex_);
        Endpoint& endpoint = endpoints_[report.endpoint()];
        ComputeSeen& seen = endpoint.seen;
        seen.state = proto::EndpointState_Name(report.state()).substr(9);
        seen.phase = report.phase();
        seen.failure = report.has_failure() ? text_of(report.failure()) : "";
        seen.lives = report.lives();
        seen.rpc_port = report.rpc().port();
        ++seen.reports;
        changed_.notify_all();
        proto::ReportComputeResponse response;
        response.set_stop(endpoint.stop);
        return response;
      });
}

Status Cluster::make_project(real_io::RealWorld& real) {
  VARVE_TRY_ASSIGN(const std::string token, layout_->node_token());
  Scope scope("the project");
  storage::ImportedTimeline imported;
  const TenantShardId shard{id_.tenant, 0, 1};
  {
    RpcClient pageserver = client_of(real, scope, layout_->pageserver(), kPageserverNode, token);
    VARVE_TRY(until(30, [&] {
      return storage::attach_tenant(pageserver, shard, Generation(generation_)).status();
    }));
    Directory files(original_->data());
    VARVE_TRY_ASSIGN(imported, storage::import_timeline(pageserver, shard, Generation(generation_),
                                                        id_.timeline, files));
  }
  system_id_ = imported.system_id;
  segment_size_ = imported.segment_size;
  proto::CreateSafekeeperTimelineRequest create;
  name_timeline(id_, create);
  create.mutable_membership()->set_generation(1);
  for (int i = 1; i <= kSafekeepers; ++i) {
    proto::MemberRow* member = create.mutable_membership()->add_members();
    member->set_node(tool::kFirstSafekeeperNode + static_cast<uint64_t>(i) - 1);
    member->set_host(layout_->safekeeper_wal(i).host);
    member->set_port(layout_->safekeeper_wal(i).port);
  }
  create.set_postgres_version(150000);
  create.set_system_id(system_id_);
  create.set_segment_size(segment_size_);
  create.set_start_lsn(imported.lsn.value);
  for (int i = 1; i <= kSafekeepers; ++i) {
    RpcClient safekeeper =
        client_of(real, scope, layout_->safekeeper_rpc(i),
                  NodeId(tool::kFirstSafekeeperNode + static_cast<uint64_t>(i) - 1), token);
    VARVE_TRY(until(30, [&] {
      return call_with_attachments<proto::CreateSafekeeperTimelineResponse>(
                 safekeeper, consensus::kCreateSafekeeperTimeline, create, {imported.log_prefix})
          .status();
    }));
  }
  return Status();
}

// Serves for as long as the cluster lives; hidden, it listens to nobody.
Status Cluster::run_control(real_io::RealWorld& real) {
  World& world = real.world();
  VARVE_TRY_ASSIGN(const TokenVerifier verifier, layout_->verifier());
  Budget memory("control", 256 << 20);
  for (;;) {
    Scope serving("control");
    RpcServer server(world.clock, world.log, world.metrics,
                     {kControlNode, Incarnation(1), "control"}, verifier, memory);
    add_methods(server);
    VARVE_TRY_ASSIGN(const std::unique_ptr<Listener> listener,
                     world.network.listen(layout_->control()));
    serving.spawn("serve", [&] { return server.serve(*listener); });
    if (!made_) {
      const Status status = make_project(real);
      const std::lock_guard lock(mutex_);
      problem_ = status;
      made_ = true;
      changed_.notify_all();
    }
    bool hidden = false;
    bool ending = false;
    while (!hidden && !ending) {
      VARVE_TRY(sleep_for(Duration::millis(5)));
      std::optional<std::pair<std::function<Status(real_io::RealWorld&)>, Status*>> task;
      {
        const std::lock_guard lock(mutex_);
        hidden = hidden_;
        ending = ending_;
        task = std::exchange(task_, std::nullopt);
      }
      if (!task) continue;
      const Status status = task->first(real);
      const std::lock_guard lock(mutex_);
      *task->second = status;
      task_done_ = true;
      changed_.notify_all();
    }
    serving.cancel();
    serving.join().ignore("cancelled");
    while (!ending) {
      VARVE_TRY(sleep_for(Duration::millis(5)));
      const std::lock_guard lock(mutex_);
      ending = ending_;
      if (!hidden_) break;
    }
    if (ending) return Status();
  }
}

void Cluster::on_control(const std::function<Status(real_io::RealWorld&)>& task, Status& result) {
  std::unique_lock lock(mutex_);
  task_done_ = false;
  task_.emplace(task, &result);
  changed_.wait(lock, [this] { return task_done_; });
}

Cluster::Cluster(const std::string& prepare) {
  char name[] = "/var/tmp/varve-cluster-XXXXXX";
  if (::mkdtemp(name) == nullptr) fail("mkdtemp");
  directory_ = name;
  ::chmod(name, 0755);
  binary_ = VARVE_BINARY;
  layout_.emplace(must(tool::Layout::create_or_open(directory_ + "/data", {}), "the layout"));
  fs::create_directories(layout_->path("log"));
  fs::create_directories(directory_ + "/control");
  id_.tenant.bytes.fill(0xA1);
  id_.timeline.bytes.fill(0xB2);
  original_ = std::make_unique<StockServer>("");
  if (!prepare.empty()) {
    original_->start();
    original_->sql("postgres", prepare);
    original_->stop("fast");
  }
  // Before this process has threads.
  for (int i = 1; i <= kSafekeepers; ++i) start_safekeeper(i);
  start_pageserver();
  control_ = std::thread([this] {
    real_io::RealOptions options;
    options.root = directory_ + "/control";
    auto world = real_io::RealWorld::create(options);
    Status status = world.status();
    if (status.ok()) {
      status = (*world)->run([this](real_io::RealWorld& real) { return run_control(real); });
    }
    const std::lock_guard lock(mutex_);
    if (!status.ok()) problem_ = status;
    made_ = true;
    changed_.notify_all();
  });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return made_; });
  if (!problem_.ok()) {
    fail("the project: " + problem_.to_string() + "\n" + log("pageserver-1") + log("safekeeper-1"));
  }
}

Cluster::~Cluster() {
  std::vector<std::string> names;
  for (const auto& [process, pid] : processes_) names.push_back(process);
  for (const std::string& process : names) end(process, SIGKILL);
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  control_.join();
  if (std::getenv("VARVE_KEEP") != nullptr) {
    std::printf("kept: %s\n", directory_.c_str());
    return;
  }
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

bool Cluster::wait_state(const std::string& state, double seconds, const std::string& endpoint) {
  std::unique_lock lock(mutex_);
  const uint64_t before = endpoints_[endpoint].seen.reports;
  return changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] {
    const ComputeSeen& seen = endpoints_[endpoint].seen;
    return seen.reports > before && seen.state == state;
  });
}

ComputeSeen Cluster::seen(const std::string& endpoint) {
  const std::lock_guard lock(mutex_);
  return endpoints_[endpoint].seen;
}

void Cluster::say_stop(const std::string& endpoint) {
  const std::lock_guard lock(mutex_);
  endpoints_[endpoint].stop = true;
}

void Cluster::hide_control(bool hidden) {
  const std::lock_guard lock(mutex_);
  hidden_ = hidden;
}

// ---- the endpoint ----

namespace {

// The postmaster of a life's directory, if it runs; else 0. What a life leaves behind stays for
// some seconds, and its number may have been given to another process.
pid_t running_postmaster(const fs::path& directory) {
  pid_t pid = 0;
  std::ifstream(directory / "data" / "postmaster.pid") >> pid;
  if (pid <= 0) return 0;
  std::string arguments;
  std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/cmdline"), arguments);
  return arguments.find(directory.string() + "/data") != std::string::npos ? pid : 0;
}

}  // namespace

std::string Cluster::life_directory(const std::string& endpoint) {
  const std::string place =
      layout_->computes() + "/" + id_.tenant.to_string().substr(0, 8) + "/" + endpoint;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(place, ignored)) {
    if (entry.is_directory() && running_postmaster(entry.path()) != 0) return entry.path().string();
  }
  return "";
}

pid_t Cluster::postmaster(const std::string& endpoint) {
  const std::string directory = life_directory(endpoint);
  return directory.empty() ? 0 : running_postmaster(directory);
}

std::string Cluster::target() const {
  return "host=127.0.0.1 port=" + std::to_string(layout_->first_endpoint_port()) +
         " user=postgres dbname=postgres connect_timeout=5";
}

CommandResult Cluster::tool(const std::string& command_line) const {
  return run_as_postgres(
      "PGHOST=127.0.0.1 PGPORT=" + std::to_string(layout_->first_endpoint_port()) +
      // Catalog pages of a new session are waited for as any page is, while storage is away.
      " PGUSER=postgres PGDATABASE=postgres PGCONNECT_TIMEOUT=30 " + kPrograms + command_line);
}

std::string Cluster::sql(const std::string& statements) const {
  return trimmed(tool("psql -X -q -A -t -c \"" + statements + "\" 2>&1").output);
}

Result<Lsn> Cluster::settle(const std::string& endpoint) {
  const uint32_t port = seen(endpoint).rpc_port;
  Lsn lsn;
  Status result;
  on_control(
      [&](real_io::RealWorld& real) -> Status {
        VARVE_TRY_ASSIGN(const std::string token, layout_->node_token());
        Scope scope("settle");
        RpcClient client =
            client_of(real, scope, {"127.0.0.1", static_cast<uint16_t>(port)}, NodeId(), token);
        const DeadlineGuard limit(Duration::seconds(5));
        proto::SettleRequest request;
        name_timeline(id_, request);
        VARVE_TRY_ASSIGN(const proto::SettleResponse response,
                         call<proto::SettleResponse>(client, compute::kSettle, request));
        lsn = Lsn(response.lsn());
        return Status();
      },
      result);
  if (!result.ok()) return result;
  return lsn;
}

std::string Cluster::log(const std::string& process) const {
  std::ifstream in(layout_->log(process));
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace varve::test
