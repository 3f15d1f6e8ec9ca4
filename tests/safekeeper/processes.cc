#include "tests/safekeeper/processes.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "runtime/scope.h"

namespace varve::test {
namespace {

using consensus::NewTimeline;

constexpr auto kStartDeadline = std::chrono::seconds(20);

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

template <class T>
T must(Result<T> result, const char* what) {
  if (!result.ok()) fail(std::string(what) + ": " + result.status().to_string());
  return std::move(result).value();
}

bool takes_connections(const Address& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(address.port);
  inet_pton(AF_INET, address.host.c_str(), &to.sin_addr);
  const bool connected = connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0;
  close(fd);
  return connected;
}

// Ports are taken at the first start, long after they were found free: other tests that look for a
// free block at the same moment must look elsewhere.
Result<tool::Layout> create_layout(const std::string& directory) {
  constexpr uint16_t kFirst = 12000;
  constexpr uint16_t kBlock = 500;
  constexpr int kBlocks = 40;
  Result<tool::Layout> layout = Status(Code::kInternal, "no block was tried");
  for (int attempt = 0; attempt < kBlocks && !layout.ok(); ++attempt) {
    tool::LayoutOptions options;
    options.base_port = static_cast<uint16_t>(kFirst + (getpid() + attempt) % kBlocks * kBlock);
    layout = tool::Layout::create_or_open(directory, options);
  }
  return layout;
}

uint64_t node_of(int member) {
  return tool::kFirstSafekeeperNode + static_cast<uint64_t>(member) - 1;
}

}  // namespace

SafekeeperProcesses::SafekeeperProcesses() {
  char name[] = "/var/tmp/varve-safekeepers-XXXXXX";
  if (mkdtemp(name) == nullptr) fail("mkdtemp");
  directory_ = name;
  // Not the directory itself: pg_receivewal runs as another user and has files beside it.
  layout_ = must(create_layout(directory_ + "/data"), "the data directory");
  signer_ = must(layout_->signer(), "the signing key");
  std::filesystem::create_directories(directory_ + "/test");
  real_io::RealOptions options;
  options.root = directory_ + "/test";
  real_ = must(real_io::RealWorld::create(options), "the real world");
}

SafekeeperProcesses::~SafekeeperProcesses() {
  for (const int member : kMembers) kill(member);
  std::filesystem::remove_all(directory_);
}

void SafekeeperProcesses::start(int member) {
  const std::string log = directory_ + "/safekeeper-" + std::to_string(member) + ".log";
  const std::string node = std::to_string(node_of(member));
  const pid_t pid = fork();
  if (pid < 0) fail("fork");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(out, 1);
    dup2(out, 2);
    execl(VARVE_BINARY, "varve", "safekeeper", "--data", layout_->directory().c_str(), "--node",
          node.c_str(), nullptr);
    _exit(127);
  }
  pids_[static_cast<size_t>(member - 1)] = pid;
  const auto deadline = std::chrono::steady_clock::now() + kStartDeadline;
  while (!takes_connections(layout_->safekeeper_wal(member)) ||
         !takes_connections(layout_->safekeeper_rpc(member))) {
    int status = 0;
    if (waitpid(pid, &status, WNOHANG) == pid) fail("a safekeeper ended at its start, see " + log);
    if (std::chrono::steady_clock::now() > deadline) fail("a safekeeper does not serve: " + log);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void SafekeeperProcesses::signal(int member, int number) {
  const pid_t pid = pids_[static_cast<size_t>(member - 1)];
  if (pid != 0 && ::kill(pid, number) != 0) fail("a safekeeper is gone");
}

void SafekeeperProcesses::kill(int member) {
  pid_t& pid = pids_[static_cast<size_t>(member - 1)];
  if (pid == 0) return;
  signal(member, SIGKILL);
  waitpid(pid, nullptr, 0);
  pid = 0;
}

consensus::Membership SafekeeperProcesses::membership() const {
  consensus::Membership membership;
  membership.generation = Configuration(1);
  for (const int member : kMembers) {
    const Address address = layout_->safekeeper_wal(member);
    membership.members.push_back({NodeId(node_of(member)), address.host, address.port});
  }
  return membership;
}

std::string SafekeeperProcesses::token(TokenScope scope, const TenantTimelineId& id,
                                       uint64_t expiry) const {
  TokenClaims claims;
  claims.scope = scope;
  if (scope == TokenScope::kTimeline || scope == TokenScope::kTenant) claims.tenant = id.tenant;
  if (scope == TokenScope::kTimeline) claims.timeline = id.timeline;
  claims.expiry = expiry;
  claims.issued_to = "test";
  return signer_->sign(claims);
}

consensus::Credentials SafekeeperProcesses::credentials(const TenantTimelineId& id) const {
  return {id, token(TokenScope::kTimeline, id), "test"};
}

void SafekeeperProcesses::run(const std::function<Status(World& world)>& body) {
  const Status status =
      real_->run([&body](real_io::RealWorld& real) { return body(real.world()); });
  if (!status.ok()) fail(status.to_string());
}

Status SafekeeperProcesses::ask(World& world, int member,
                                const std::function<Status(RpcClient&)>& body) {
  Scope scope("ask");
  RpcClient client(world.network, world.random, scope, layout_->safekeeper_rpc(member),
                   must(layout_->node_token(), "the node's token"), {NodeId(), {}, "test"});
  const DeadlineGuard deadline(Duration::seconds(20));
  return body(client);
}

Status SafekeeperProcesses::create(World& world, const NewTimeline& timeline) {
  for (const int member : kMembers) {
    VARVE_TRY(ask(world, member,
                  [&](RpcClient& client) { return consensus::create_timeline(client, timeline); }));
  }
  return Status();
}

}  // namespace varve::test
