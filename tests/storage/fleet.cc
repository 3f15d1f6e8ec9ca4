#include "tests/storage/fleet.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "control/client/methods.h"
#include "proto/control.pb.h"
#include "wire/rpc_proto.h"

namespace varve::test {
namespace {

int safekeeper_number(const std::string& name) {
  return name.starts_with("safekeeper-") ? std::stoi(name.substr(11)) : 0;
}

}  // namespace

Fleet::Fleet(Kill kill) : kill_(kill) {
  char name[] = "/var/tmp/varve-fleet-XXXXXX";
  VARVE_CHECK(mkdtemp(name) != nullptr);
  directory_ = name;
  Result<tool::Layout> layout = tool::Layout::create_or_open(directory_, {});
  VARVE_CHECK_MSG(layout.ok(), layout.status().to_string().c_str());
  layout_ = std::make_unique<tool::Layout>(std::move(*layout));
  token_ = *layout_->node_token();
  verifier_ = std::make_unique<TokenVerifier>(*layout_->verifier());
  std::filesystem::create_directories(layout_->path("log"));
  real_io::RealOptions options;
  options.root = layout_->directory();
  real_ = std::move(*real_io::RealWorld::create(options));
}

Fleet::~Fleet() {
  if (::testing::Test::HasFailure()) {
    std::fprintf(stderr, "left for a look: %s\n", directory_.c_str());
  } else {
    std::filesystem::remove_all(directory_);
  }
}

Status Fleet::run(const std::function<Status()>& body) {
  return real_->run([&](real_io::RealWorld&) -> Status {
    scope_ = std::make_unique<Scope>("fleet");
    memory_ = std::make_unique<Budget>("control", uint64_t{64} << 20);
    const Status status = body();
    clients_.clear();
    for (auto& [name, process] : processes_) {
      process->signal(ProcessSignal::kKill).ignore("it may have ended");
      process->wait().status().ignore("as above");
    }
    processes_.clear();
    scope_->cancel();
    scope_->join().ignore("ends by being cancelled");
    control_.reset();
    listener_.reset();
    scope_.reset();
    memory_.reset();
    return status;
  });
}

void Fleet::start(const std::string& name) {
  const int number = safekeeper_number(name);
  const uint64_t node = number != 0 ? tool::kFirstSafekeeperNode + static_cast<uint64_t>(number) - 1
                                    : tool::kPageserverNode.value;
  ProcessCommand command;
  command.name = name;
  command.arguments = {VARVE_BINARY, number != 0 ? "safekeeper" : "pageserver",
                       "--data",     directory_,
                       "--node",     std::to_string(node)};
  command.output_path = "log/" + name + ".log";
  if (kill_ == Kill::kPowerCut) command.environment["VARVE_DISK"] = "hold-until-sync";
  if (const char* value = std::getenv("ASAN_OPTIONS")) command.environment["ASAN_OPTIONS"] = value;
  Result<std::unique_ptr<Process>> process = real_->processes().spawn(command);
  ASSERT_TRUE(process.ok()) << process.status().to_string();
  processes_[name] = std::move(*process);
}

void Fleet::kill(const std::string& name) {
  const std::unique_ptr<Process> process = std::move(processes_.at(name));
  processes_.erase(name);
  EXPECT_TRUE(process->signal(ProcessSignal::kKill).ok());
  const Result<int> code = process->wait();
  EXPECT_TRUE(code.ok() && *code == 128 + 9) << name << " had ended before it was killed";
}

int Fleet::stop(const std::string& name) {
  const std::unique_ptr<Process> process = std::move(processes_.at(name));
  processes_.erase(name);
  EXPECT_TRUE(process->signal(ProcessSignal::kStop).ok());
  const Result<int> code = process->wait();
  return code.ok() ? *code : -1;
}

void Fleet::wipe(const std::string& name) {
  VARVE_CHECK(!processes_.contains(name));
  std::filesystem::remove_all(layout_->path(name));
}

Status Fleet::serve_control() {
  VARVE_TRY_ASSIGN(listener_, world().network.listen(layout_->control()));
  control_ = std::make_unique<RpcServer>(world().clock, world().log, world().metrics,
                                         RpcIdentity{tool::kControlNode, Incarnation(1), "control"},
                                         *verifier_, *memory_);
  add_method<proto::RegisterPageserverRequest, proto::RegisterPageserverResponse>(
      *control_, control::kRegisterPageserver,
      [this](CallContext&, const proto::RegisterPageserverRequest& request)
          -> Result<proto::RegisterPageserverResponse> {
        if (request.incarnation() != incarnation_) ++generation_;
        incarnation_ = request.incarnation();
        proto::RegisterPageserverResponse response;
        for (const TenantId& tenant : tenants_) {
          proto::Attachment* attachment = response.add_attachments();
          attachment->set_tenant(tenant.bytes.data(), tenant.bytes.size());
          attachment->set_generation(generation_);
        }
        for (const consensus::Member& member : membership().members) {
          proto::NodeAddress* node = response.add_safekeepers();
          node->set_node(member.node.value);
          node->set_host(member.host);
          node->set_postgres_port(member.port);
        }
        return response;
      });
  scope_->spawn("control", [this] { return control_->serve(*listener_); });
  return Status();
}

Status Fleet::wait_ready(const std::string& name) {
  const Instant deadline = now() + Duration::seconds(30);
  for (const auto& [running, process] : processes_) {
    if (!name.empty() && running != name) continue;
    while (!client(running)->peer().ok()) {
      if (now() > deadline) return Status(Code::kDeadlineExceeded, running + " does not answer");
      VARVE_TRY(sleep_for(Duration::millis(10)));
    }
  }
  return Status();
}

Address Fleet::address_of(const std::string& name) const {
  const int number = safekeeper_number(name);
  return number != 0 ? layout_->safekeeper_rpc(number) : layout_->pageserver();
}

RpcClient* Fleet::client(const std::string& name) {
  std::unique_ptr<RpcClient>& client = clients_[name];
  if (client == nullptr) {
    RpcClientOptions options;
    options.backoff_maximum = Duration::millis(100);
    client = std::make_unique<RpcClient>(world().network, world().random, *scope_, address_of(name),
                                         token_, RpcIdentity{NodeId(), {}, "join test"}, options);
  }
  return client.get();
}

consensus::Membership Fleet::membership() const {
  consensus::Membership membership;
  membership.generation = Configuration(1);
  for (int number = 1; number <= tool::kSafekeepers; ++number) {
    const Address wal = layout_->safekeeper_wal(number);
    membership.members.push_back(
        {NodeId(tool::kFirstSafekeeperNode + static_cast<uint64_t>(number) - 1), wal.host,
         wal.port});
  }
  return membership;
}

}  // namespace varve::test
