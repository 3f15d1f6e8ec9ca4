// The agent's end of the shim's socket: connections of all processes of one life, served by the
// loop without a thread or a fiber for each.
//
// Descriptors tell the watchers, which only mark; one fiber in run() takes the marked connections,
// reads their messages and turns them into questions, and sends what did not fit before. A process
// that is not the life's (another user, another nonce) gets no answer. Whatever a connection says
// is outside input: what makes no sense ends the connection, never the agent.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compute/arena/protocol.h"
#include "real_io/postgres/arena_memory.h"
#include "real_io/reactor.h"
#include "real_io/thread_pool.h"
#include "runtime/postgres_host.h"
#include "runtime/sync.h"
#include "runtime/telemetry.h"

namespace varve::real_io {

struct ShimServiceOptions {
  std::string socket;  // path, at most 107 bytes
  std::string data;
  PostgresUser user;
  Incarnation nonce;
  Term term;
  // Prefetches that are asked for at the same time; further hints are dropped.
  size_t prefetches = 64;
};

class ShimService {
 public:
  ShimService(Reactor& reactor, ThreadPool& threads, Log& log, std::shared_ptr<ArenaMemory> arena,
              ShimServiceOptions options);
  // Invariant: run() has returned.
  ~ShimService();
  ShimService(const ShimService&) = delete;
  ShimService& operator=(const ShimService&) = delete;

  // Makes the socket.
  Status listen();
  // Serves until close(). Not cancellable: a stopping Postgres still needs its pages.
  void run();
  // Ends run() and every wait for a question or note. Never suspends.
  void close();

  // The postmaster's hello, once it has come.
  const std::optional<varve_hello>& postmaster_hello() const { return hello_; }
  // Woken when it comes; for others to wake, too.
  WaitQueue& start_changed() { return start_changed_; }
  void set_postmaster(pid_t pid) { postmaster_ = pid; }
  // Lets the postmaster go on, or ends it with a reason; then its children are answered as well.
  void admit();
  void refuse(const std::string& why);

  // As PostgresLife has them.
  Result<PostgresPageWanted> next_page();
  void answer_page(PostgresPageAnswer answer);
  Result<PostgresNote> next_note();

 private:
  class Listener;
  class Connection;
  struct Asked {
    uint64_t connection = 0;  // 0: a prefetch
    varve_fetch fetch{};
    varve_claim claim{};
  };

  void mark(uint64_t connection);
  void accept_all();
  void serve(Connection& connection);
  bool take(Connection& connection, std::span<const uint8_t> message);
  bool take_hello(Connection& connection, const varve_hello& hello);
  bool take_fetch(Connection& connection, const varve_fetch& fetch);
  bool take_prefetch(const varve_fetch& fetch);
  bool fits(const varve_fetch& fetch) const;
  void take_note(const varve_note& note);
  void ask(Asked asked, uint32_t first, uint32_t blocks);
  void send_go(Connection& connection, bool accept, const std::string& text);
  void send_pages(Connection& connection, const varve_fetch& fetch, PostgresPageAnswer answer);
  void fill(const Asked& asked, PostgresPageAnswer answer);
  void drop(uint64_t connection);

  Reactor& reactor_;
  ThreadPool& threads_;
  Log& log_;
  const std::shared_ptr<ArenaMemory> arena_;
  const ShimServiceOptions options_;
  std::unique_ptr<Listener> listener_;
  std::map<uint64_t, std::unique_ptr<Connection>> connections_;
  std::vector<uint64_t> marked_;
  bool knocked_ = false;
  Waiter waiter_;
  uint64_t last_connection_ = 0;
  uint64_t last_request_ = 0;
  bool admitted_ = false;
  bool running_ = false;
  bool closing_ = false;
  pid_t postmaster_ = 0;
  uint64_t postmaster_connection_ = 0;
  std::optional<varve_hello> hello_;
  WaitQueue start_changed_;
  std::map<uint64_t, Asked> asked_;
  size_t prefetching_ = 0;
  std::deque<PostgresPageWanted> questions_;
  WaitQueue askers_;
  std::deque<PostgresNote> notes_;
  WaitQueue readers_;
};

}  // namespace varve::real_io
