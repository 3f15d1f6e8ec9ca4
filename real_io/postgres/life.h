// One Postgres that runs: what the real PostgresLife is made of. Made by the host only.
#pragma once

#include <csignal>
#include <optional>

#include "real_io/postgres/host.h"
#include "real_io/postgres/incarnation.h"
#include "real_io/postgres/launch.h"
#include "real_io/postgres/process_family.h"
#include "real_io/postgres/shim_service.h"
#include "runtime/scope.h"
#include "runtime/sync.h"

namespace varve::real_io {

// What lives of one host share.
struct PostgresContext {
  PostgresContext(Reactor& r, Log& l, PostgresHostOptions o);
  // Waits for what is still to be removed (suspends).
  ~PostgresContext();

  // Removes the directory of a life that has ended, a while later: a thousand files that go while
  // the next life makes its own would hold that one up.
  void remove_later(std::unique_ptr<IncarnationDirectory> directory);

  Reactor& reactor;
  Log& log;
  const PostgresHostOptions options;
  ThreadPool threads;

 private:
  Event closing_;
  Scope removals_;
};

class SpawnedPostgres final : public RealPostgresLife {
 public:
  SpawnedPostgres(std::shared_ptr<PostgresContext> context, PostgresUser user, PostgresPlan plan,
                  std::unique_ptr<IncarnationDirectory> directory);
  ~SpawnedPostgres() override;

  // The whole way from an empty directory to a postmaster that may go on.
  Status start(const std::string& binary);

  PostgresWalTail tail() const override { return arena_->tail(); }
  Status wait_wal(Instant deadline) override;
  Result<Bytes> read_wal(LsnRange range) override;
  void set_gate(const PostgresGateWord& word) override { arena_->set_gate(word); }
  Result<PostgresPageWanted> next_page() override { return service_->next_page(); }
  void answer_page(PostgresPageAnswer answer) override { service_->answer_page(std::move(answer)); }
  Result<PostgresNote> next_note() override { return service_->next_note(); }
  Result<Bytes> read_file(const std::string& path) override;
  Status stop(PostgresStop how) override;
  Result<PostgresExit> wait_exit() override;
  Status wait_ready(Instant deadline) override;
  Status pause() override { return signal_all(SIGSTOP); }
  Status resume() override { return signal_all(SIGCONT); }
  int64_t postmaster() const override { return launched_.pid; }
  const std::string& directory() const override { return directory_->path(); }

 private:
  class Mark final : public Watcher {
   public:
    explicit Mark(Reactor& reactor) : reactor_(reactor) {}
    void ready(uint32_t) override {
      seen = true;
      waiter.wake(reactor_.scheduler());
    }
    bool seen = false;
    Waiter waiter;

   private:
    Reactor& reactor_;
  };

  Status build_directory();
  Status open_channels();
  Status spawn(const std::string& binary);
  Status await_hello();
  Status prove(const std::string& binary);
  void announce();
  void reap();
  void end_family();
  Status signal_all(int signal);
  void signal_postmaster(int signal);
  std::optional<int> take_exit();
  Result<int> segment_fd(uint64_t segment);
  Status read_segment(uint64_t segment, uint32_t from, std::span<uint8_t> out);
  ProcessFamily family() const { return {launched_.pid, directory_->data(), true}; }

  std::shared_ptr<PostgresContext> context_;
  Reactor& reactor_;
  const PostgresUser user_;
  PostgresPlan plan_;
  std::unique_ptr<IncarnationDirectory> directory_;
  std::shared_ptr<ArenaMemory> arena_;
  std::unique_ptr<ShimService> service_;
  UniqueFd bell_;
  UniqueFd life_read_;
  UniqueFd life_write_;
  Launched launched_;
  Mark bell_mark_;
  Mark pid_mark_;
  bool bell_watched_ = false;
  bool pid_watched_ = false;
  std::optional<int> code_;  // of the postmaster, once it has ended
  std::optional<PostgresExit> exit_;
  WaitQueue ended_;
  uint64_t open_segment_ = 0;
  UniqueFd segment_;
  std::optional<Scope> scope_;
};

}  // namespace varve::real_io
