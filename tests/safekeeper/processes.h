// Three real safekeepers: `varve safekeeper` on a scratch data directory, killed and started as a
// test wants. Failures end the test program with the reason: this is a tool of tests, not their
// subject.
#pragma once

#include <sys/types.h>

#include <array>
#include <functional>
#include <string>

#include "consensus/client/connection.h"
#include "consensus/client/safekeeper_client.h"
#include "real_io/real_world.h"
#include "tools/varve/layout.h"
#include "wire/token.h"

namespace varve::test {

inline constexpr std::array<int, 3> kMembers = {1, 2, 3};

class SafekeeperProcesses {
 public:
  // Makes the data directory under /var/tmp; starts nothing.
  SafekeeperProcesses();
  // Kills them and removes the directory.
  ~SafekeeperProcesses();
  SafekeeperProcesses(const SafekeeperProcesses&) = delete;
  SafekeeperProcesses& operator=(const SafekeeperProcesses&) = delete;

  // Members count from 1. Waits until both ports take connections.
  void start(int member);
  // kill -9, and waits for its end.
  void kill(int member);
  void signal(int member, int number);

  const tool::Layout& layout() const { return *layout_; }
  consensus::Membership membership() const;
  std::string token(TokenScope scope, const TenantTimelineId& id = {}, uint64_t expiry = 0) const;
  consensus::Credentials credentials(const TenantTimelineId& id) const;

  // Runs `body` as the first fiber of a real world in this process; a failure ends the program. Can
  // be called again.
  void run(const std::function<Status(World& world)>& body);
  // Within run(): calls `body` with a client of each member that answers.
  Status ask(World& world, int member, const std::function<Status(RpcClient&)>& body);
  // Within run(): makes the timeline on all three.
  Status create(World& world, const consensus::NewTimeline& timeline);

 private:
  std::string directory_;
  std::optional<tool::Layout> layout_;
  std::optional<TokenSigner> signer_;
  std::unique_ptr<real_io::RealWorld> real_;
  std::array<pid_t, 3> pids_{};
};

}  // namespace varve::test
