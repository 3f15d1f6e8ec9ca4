// Real safekeepers and a real pageserver in a data directory of their own, and the test in place of
// control and supervisor.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "consensus/core/membership.h"
#include "real_io/real_world.h"
#include "runtime/process.h"
#include "tools/varve/layout.h"
#include "wire/rpc_client.h"
#include "wire/rpc_server.h"

namespace varve::test {

class Fleet {
 public:
  // What a killed process loses: nothing that it wrote, or what it did not sync (VARVE_DISK).
  enum class Kill : uint8_t { kProcess, kPowerCut };
  // A data directory below /var/tmp, removed at the end unless the test has failed.
  explicit Fleet(Kill kill = Kill::kProcess);
  ~Fleet();

  // Runs `body` as a fiber; all else is for it. What still runs afterwards is killed.
  Status run(const std::function<Status()>& body);

  // Processes are named as their directories: "safekeeper-1", "pageserver-1".
  void start(const std::string& name);
  void kill(const std::string& name);
  // A clean stop; its exit code.
  int stop(const std::string& name);
  void wipe(const std::string& name);
  int64_t pid(const std::string& name) const { return processes_.at(name)->pid(); }

  // Control's part: from now on a life of the pageserver gets the tenants and the next generation.
  Status serve_control();
  void attach(const TenantId& tenant) { tenants_.push_back(tenant); }
  Generation generation() const { return Generation(generation_); }

  // Until it answers its port; without a name, all that run.
  Status wait_ready(const std::string& name = "");
  // With the node token. Good until run() ends.
  RpcClient* pageserver() { return client("pageserver-1"); }
  RpcClient* safekeeper(int number) { return client("safekeeper-" + std::to_string(number)); }
  consensus::Membership membership() const;
  std::string node_token() const { return token_; }
  World& world() { return real_->world(); }
  Scope& scope() { return *scope_; }
  const tool::Layout& layout() const { return *layout_; }
  std::string directory() const { return directory_; }

 private:
  RpcClient* client(const std::string& name);
  Address address_of(const std::string& name) const;

  Kill kill_;
  std::string directory_;
  std::unique_ptr<tool::Layout> layout_;
  std::string token_;
  std::unique_ptr<real_io::RealWorld> real_;
  std::unique_ptr<Scope> scope_;
  std::map<std::string, std::unique_ptr<Process>> processes_;
  std::map<std::string, std::unique_ptr<RpcClient>> clients_;
  std::vector<TenantId> tenants_;
  uint64_t generation_ = 0;
  uint64_t incarnation_ = 0;  // that has the generation
  std::unique_ptr<TokenVerifier> verifier_;
  std::unique_ptr<Budget> memory_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<RpcServer> control_;
};

}  // namespace varve::test
