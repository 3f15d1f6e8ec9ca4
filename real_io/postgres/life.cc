#include "real_io/postgres/life.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "real_io/errors.h"
#include "real_io/postgres/data_directory.h"
#include "real_io/postgres/files.h"

extern "C" {  // glibc 2.36 has forgotten it
#include <sys/pidfd.h>
}

namespace varve::real_io {
namespace {

constexpr Duration kRoundPause = Duration::millis(5);
constexpr Duration kReadyPause = Duration::millis(5);
constexpr int kStopRounds = 20;
constexpr size_t kLargestSmallFile = 1 << 20;
constexpr Duration kRemovalPause = Duration::seconds(5);

std::string segment_name(uint64_t segment, uint32_t segment_size) {
  const uint64_t per_log = (uint64_t{1} << 32) / segment_size;
  char name[40];
  std::snprintf(name, sizeof name, "pg_wal/00000001%08X%08X",
                static_cast<unsigned>(segment / per_log), static_cast<unsigned>(segment % per_log));
  return name;
}

std::string exit_text(int code) {
  if (code > 128) return "postgres was killed by signal " + std::to_string(code - 128);
  return "postgres ended with exit code " + std::to_string(code);
}

}  // namespace

PostgresContext::PostgresContext(Reactor& r, Log& l, PostgresHostOptions o)
    : reactor(r),
      log(l),
      options(std::move(o)),
      threads(r, options.threads),
      removals_("removals", r.scheduler().root_scope()) {}

PostgresContext::~PostgresContext() {
  const Shield shield;
  closing_.set();
  removals_.join().ignore("shielded");
}

void PostgresContext::remove_later(std::unique_ptr<IncarnationDirectory> directory) {
  removals_.spawn("the removal of a compute's directory", [this, d = std::move(directory)]() {
    {
      const DeadlineGuard while_it_starts(kRemovalPause);
      closing_.wait("the next life's start").ignore("either way it is time");
    }
    const Shield shield;
    const Status removed = run_on(threads, "the removal of a compute's directory",
                                  [directory = d.get()](Syscalls&) { return directory->remove(); });
    if (removed.ok()) return;
    log.warning("compute_directory_left", "removed at the next start", {{"reason", removed}});
  });
}

SpawnedPostgres::SpawnedPostgres(std::shared_ptr<PostgresContext> context, PostgresUser user,
                                 PostgresPlan plan, std::unique_ptr<IncarnationDirectory> directory)
    : context_(std::move(context)),
      reactor_(context_->reactor),
      user_(std::move(user)),
      plan_(std::move(plan)),
      directory_(std::move(directory)),
      bell_mark_(reactor_),
      pid_mark_(reactor_) {
  scope_.emplace("postgres", reactor_.scheduler().root_scope());
}

SpawnedPostgres::~SpawnedPostgres() {
  Shield shield;
  if (launched_.pid != 0) stop(PostgresStop::kKill).ignore("its processes are waited for");
  if (service_ != nullptr) service_->close();
  scope_.reset();  // waits for the fibers
  if (bell_watched_) reactor_.unwatch(bell_.get());
  if (pid_watched_) reactor_.unwatch(launched_.pidfd.get());
  context_->remove_later(std::move(directory_));
}

// ---- start ----

Status SpawnedPostgres::start(const std::string& binary) {
  VARVE_TRY_ASSIGN(arena_, ArenaMemory::create(reactor_.syscalls(), plan_));
  VARVE_TRY(build_directory());
  plan_.files.clear();
  plan_.sparse_files.clear();
  plan_.resident_pages.clear();
  VARVE_TRY(open_channels());
  VARVE_TRY(spawn(binary));
  VARVE_TRY(await_hello());
  VARVE_TRY(prove(binary));
  service_->admit();
  scope_->spawn("postgres' readiness", [this] { announce(); });
  return Status();
}

Status SpawnedPostgres::build_directory() {
  // The plan is moved out and comes back when no thread is left that reads it.
  const auto plan = std::make_shared<PostgresPlan>(std::move(plan_));
  const Shield shield;
  const auto on_thread = [&](auto build) {
    return run_on(context_->threads, "the data directory",
                  [plan, data = directory_->data(), user = user_, build](Syscalls&) {
                    return build(data, *plan, user);
                  });
  };
  Status built = on_thread(&build_fixed_files);
  if (built.ok()) {
    const size_t parts = context_->options.threads;
    Scope making("lazy files");
    for (size_t part = 0; part < parts; ++part) {
      making.spawn("lazy files", [&, part] {
        const Shield too;
        return on_thread([part, parts](const std::string& data, const PostgresPlan& of,
                                       const PostgresUser& user) {
          return build_lazy_files(data, of, user, part, parts);
        });
      });
    }
    built = making.join();
  }
  if (built.ok()) built = on_thread(&put_resident_pages);
  plan_ = std::move(*plan);
  return built;
}

void SpawnedPostgres::announce() {
  const Instant began = now();
  if (!wait_ready(Instant::never()).ok()) return;  // it has ended, or everything ends
  context_->log.info("postgres_ready", "Postgres takes connections",
                     {{"pid", postmaster()}, {"after_us", now() - began}});
  if (context_->options.on_ready) context_->options.on_ready(*this);
}

Status SpawnedPostgres::open_channels() {
  bell_ = UniqueFd(reactor_.syscalls(), ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  int life[2] = {-1, -1};
  if (!bell_.valid() || ::pipe2(life, O_CLOEXEC) != 0)
    return error_status(errno, "make the channels to the shim", directory_->path());
  life_read_ = UniqueFd(reactor_.syscalls(), life[0]);
  life_write_ = UniqueFd(reactor_.syscalls(), life[1]);
  // Edge-triggered: each ring is an event, so the count is never read back.
  VARVE_TRY(reactor_.watch(bell_.get(), &bell_mark_));
  bell_watched_ = true;
  ShimServiceOptions options;
  options.socket = directory_->socket();
  options.data = directory_->data();
  options.user = user_;
  options.nonce = plan_.nonce;
  options.term = plan_.term;
  options.prefetches = context_->options.prefetches;
  service_ = std::make_unique<ShimService>(reactor_, context_->threads, context_->log, arena_,
                                           std::move(options));
  return service_->listen();
}

Status SpawnedPostgres::spawn(const std::string& binary) {
  char nonce[17];
  std::snprintf(nonce, sizeof nonce, "%016llx", static_cast<unsigned long long>(plan_.nonce.value));
  const auto variable = [](const char* name, const std::string& value) {
    return std::string(name) + "=" + value;
  };
  Launch command;
  command.arguments = {binary, "-D", directory_->data(), "-c",
                       "unix_socket_directories=" + directory_->run()};
  for (const std::string& setting : plan_.settings)
    command.arguments.insert(command.arguments.end(), {"-c", setting});
  command.environment = {
      "PATH=/usr/local/bin:/usr/bin:/bin",
      "LANG=C.UTF-8",
      variable("LD_PRELOAD", directory_->shim()),
      variable(VARVE_ENV_ARENA_FD, std::to_string(arena_->fd())),
      variable(VARVE_ENV_LIFE_FD, std::to_string(life_read_.get())),
      variable(VARVE_ENV_BELL_FD, std::to_string(bell_.get())),
      variable(VARVE_ENV_SOCKET, directory_->socket()),
      variable(VARVE_ENV_DATA, directory_->data()),
      variable(VARVE_ENV_NONCE, nonce),
  };
  command.kept = {arena_->fd(), life_read_.get(), bell_.get()};
  command.directory = directory_->data();
  command.output_path = context_->options.output_path;
  command.user = user_;
  VARVE_TRY_ASSIGN(launched_, launch(reactor_.syscalls(), command));
  service_->set_postmaster(launched_.pid);
  // From here on reap() is what ends this life, whoever asks for it.
  scope_->spawn("shim service", [this] { service_->run(); });
  scope_->spawn("postgres' end", [this] { reap(); });
  VARVE_TRY(reactor_.watch(launched_.pidfd.get(), &pid_mark_));
  pid_watched_ = true;
  pid_mark_.ready(0);
  return Status();
}

Status SpawnedPostgres::await_hello() {
  const Instant limit =
      now() + Duration::millis(static_cast<int64_t>(context_->options.hello_limit_ms));
  const auto refused = [&](const std::string& what) {
    return Status(Code::kRefused, what)
        .with_object(context_->options.shim)
        .with_hint("see " + context_->options.output_path);
  };
  while (!service_->postmaster_hello()) {
    if (code_)
      return refused("the shim was not loaded: no hello came from it, and " + exit_text(*code_));
    const Status waited = service_->start_changed().wait("the shim's hello", limit);
    if (waited.is(Code::kDeadlineExceeded) && now() >= limit)
      return refused("the shim was not loaded: no hello came from it");
    VARVE_TRY(waited);
  }
  return Status();
}

// Whoever said hello is the executable that was checked, with our library in it and every symbol
// bound to it. Only then does the directory get the file without which Postgres refuses it.
Status SpawnedPostgres::prove(const std::string& binary) {
  const varve_hello& hello = *service_->postmaster_hello();
  std::string problem;
  if (hello.missed != 0) {
    problem =
        std::to_string(hello.missed) + " symbols are not bound to the shim, the first is " +
        std::string(hello.first_missed, strnlen(hello.first_missed, sizeof hello.first_missed));
  }
  auto look = [pid = launched_.pid, shim = directory_->shim()](Syscalls&) -> Result<bool> {
    VARVE_TRY_ASSIGN(const std::string maps, read_text("/proc/" + std::to_string(pid) + "/maps"));
    for (size_t at = 0; (at = maps.find(shim, at)) != std::string::npos; ++at) {
      const std::string line = maps.substr(maps.rfind('\n', at) + 1, 50);
      if (line.find("-xp ") != std::string::npos) return true;
    }
    return false;
  };
  Result<bool> mapped = run_on(context_->threads, "a look at Postgres' maps", std::move(look));
  VARVE_TRY(mapped.status());
  if (problem.empty() && !*mapped) problem = "the shim is not mapped by the postmaster";
  char exe[4096];
  const std::string link = "/proc/" + std::to_string(launched_.pid) + "/exe";
  const ssize_t length = ::readlink(link.c_str(), exe, sizeof exe);
  if (problem.empty() &&
      (length <= 0 || std::string_view(exe, static_cast<size_t>(length)) != binary))
    problem = "another executable runs than the one that was checked";
  if (!problem.empty()) {
    service_->refuse(problem);
    return Status(Code::kRefused, problem).with_object(binary);
  }
  auto write = [path = directory_->control(),
                content = std::make_shared<Bytes>(std::move(plan_.control_file.content)),
                user = user_](Syscalls&) { return write_control_file(path, *content, user); };
  Shield shield;  // Bytes in there belong to this thread
  return run_on(context_->threads, "the control file", std::move(write));
}

// ---- the end ----

std::optional<int> SpawnedPostgres::take_exit() {
  siginfo_t info{};
  int result;
  while ((result = ::waitid(P_PIDFD, static_cast<id_t>(launched_.pidfd.get()), &info,
                            WEXITED | WNOHANG)) < 0 &&
         errno == EINTR) {
  }
  if (result < 0) return 255;  // buried by somebody else: it has ended
  if (info.si_pid == 0) return std::nullopt;
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

void SpawnedPostgres::reap() {
  Shield shield;
  while (!(code_ = take_exit())) {
    if (!std::exchange(pid_mark_.seen, false))
      pid_mark_.waiter.wait("the postmaster's end").ignore("only a signal ends it");
  }
  service_->start_changed().wake_all();
  arena_->close_gate();
  end_family();
  auto remove = [path = directory_->control()](Syscalls&) { return remove_control_file(path); };
  const Status removed = run_on(context_->threads, "the control file", std::move(remove));
  if (!removed.ok())
    context_->log.warning("control_file_left", "removed at the next start", {{"reason", removed}});
  exit_ = PostgresExit{*code_, exit_text(*code_)};
  service_->close();
  bell_mark_.ready(0);
  ended_.wake_all();
}

// Until none is left: what was forked while we looked is found the next time.
void SpawnedPostgres::end_family() {
  for (;;) {
    auto round = [family = family()](Syscalls&) -> Result<size_t> {
      return signal_family(family, SIGKILL);
    };
    const Result<size_t> alive =
        run_on(context_->threads, "a look at Postgres' processes", std::move(round));
    if (alive.ok() && *alive == 0) return;
    sleep_for(kRoundPause).ignore("only time ends it");
  }
}

void SpawnedPostgres::signal_postmaster(int signal) {
  if (!code_) (void)::pidfd_send_signal(launched_.pidfd.get(), signal, nullptr, 0);
}

Status SpawnedPostgres::stop(PostgresStop how) {
  if (exit_) return Status();
  switch (how) {
    case PostgresStop::kFast:
      signal_postmaster(SIGINT);
      return Status();
    case PostgresStop::kImmediate:
      signal_postmaster(SIGQUIT);
      return Status();
    case PostgresStop::kKill:
      arena_->close_gate();  // first: nobody may pass between this and his end
      signal_postmaster(SIGKILL);
      while (!exit_) VARVE_TRY(ended_.wait("the end of Postgres' processes"));
      return Status();
  }
  VARVE_UNREACHABLE("no such stop");
}

Result<PostgresExit> SpawnedPostgres::wait_exit() {
  while (!exit_) VARVE_TRY(ended_.wait("the end of Postgres"));
  return *exit_;
}

Status SpawnedPostgres::signal_all(int signal) {
  // A fork that is under way when its parent is stopped is seen in the next round.
  size_t before = 0;
  for (int round = 0; round < kStopRounds; ++round) {
    if (code_) return Status(Code::kUnavailable, "Postgres has ended");
    auto send = [family = family(), signal](Syscalls&) -> Result<size_t> {
      return signal_family(family, signal);
    };
    VARVE_TRY_ASSIGN(const size_t alive,
                     run_on(context_->threads, "a signal to Postgres", std::move(send)));
    if (alive == before) return Status();
    before = alive;
  }
  return Status();
}

// ---- being ready ----

Status SpawnedPostgres::wait_ready(Instant deadline) {
  for (;;) {
    if (code_) return Status(Code::kUnavailable, exit_text(*code_));
    auto look = [path = directory_->data() + "/postmaster.pid"](Syscalls&) -> Result<bool> {
      const auto text = read_text(path);
      if (!text.ok()) return false;
      size_t at = 0;  // of line 8, the status (miscadmin.h, LOCK_FILE_LINE_PM_STATUS)
      for (int line = 1; line < 8; ++line) {
        at = text->find('\n', at);
        if (at == std::string::npos) return false;
        ++at;
      }
      return text->compare(at, 5, "ready") == 0;
    };
    VARVE_TRY_ASSIGN(const bool ready,
                     run_on(context_->threads, "Postgres' status file", std::move(look)));
    if (ready) return Status();
    if (now() >= deadline)
      return Status(Code::kDeadlineExceeded, "Postgres doesn't take connections in time")
          .with_hint("see " + context_->options.output_path);
    VARVE_TRY(sleep_for(kReadyPause));
  }
}

Result<Bytes> SpawnedPostgres::read_file(const std::string& path) {
  auto read = [data = directory_->data(), path, user = user_](Syscalls&) {
    return read_data_file(data, path, kLargestSmallFile, user);
  };
  VARVE_TRY_ASSIGN(const std::string text,
                   run_on(context_->threads, "a file of Postgres", std::move(read)));
  return Bytes::copy(text);
}

// ---- the log ----

Status SpawnedPostgres::wait_wal(Instant deadline) {
  while (!std::exchange(bell_mark_.seen, false)) {
    if (exit_) return Status(Code::kUnavailable, exit_->reason);
    const Status waited = bell_mark_.waiter.wait("the log", deadline);
    if (waited.is(Code::kDeadlineExceeded) && now() >= deadline) return Status();
    VARVE_TRY(waited);
  }
  return exit_ ? Status(Code::kUnavailable, exit_->reason) : Status();
}

// The segment that was read last stays open: a name in pg_wal never gets another file, since
// segments are not recycled. Not AsUser: this is the loop's thread.
Result<int> SpawnedPostgres::segment_fd(uint64_t segment) {
  if (segment_.valid() && open_segment_ == segment) return segment_.get();
  const UniqueFd data(reactor_.syscalls(),
                      ::open(directory_->data().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!data.valid()) return error_status(errno, "open the data directory", directory_->data());
  const std::string name = segment_name(segment, plan_.wal_segment_size);
  const int fd = open_beneath(data.get(), name.c_str(), O_RDONLY);
  if (fd == -ENOENT) return -1;
  if (fd < 0) return error_status(-fd, "open a segment of the local log", name);
  segment_ = UniqueFd(reactor_.syscalls(), fd);
  open_segment_ = segment;
  return fd;
}

// What was written a moment ago is in the page cache, and reading it here costs less than a
// hand-over to a thread and back, twice on the way of every commit. What is not cached goes to a
// thread.
Status SpawnedPostgres::read_segment(uint64_t segment, uint32_t from, std::span<uint8_t> out) {
  VARVE_TRY_ASSIGN(const int fd, segment_fd(segment));
  if (fd < 0) return Status();
  size_t done = 0;
  while (done < out.size()) {
    const iovec piece{out.data() + done, out.size() - done};
    const ssize_t got =
        reactor_.syscalls().preadv(fd, &piece, 1, static_cast<off_t>(from + done), RWF_NOWAIT);
    if (got == -EINTR) continue;
    if (got == 0) return Status();
    if (got < 0) break;
    done += static_cast<size_t>(got);
  }
  if (done == out.size()) return Status();
  auto rest = out.subspan(done);
  auto read = [fd, rest, at = from + done](Syscalls&) -> Result<int64_t> {
    return read_all(fd, rest, at);
  };
  Shield shield;  // `out` is the caller's, and short
  VARVE_TRY_ASSIGN(const int64_t got, run_on(context_->threads, "the local log", std::move(read)));
  if (got < 0)
    return Status(Code::kUnavailable,
                  "the local log can't be read: " + error_text(static_cast<int>(-got)))
        .with_object(segment_name(segment, plan_.wal_segment_size));
  return Status();
}

Result<Bytes> SpawnedPostgres::read_wal(LsnRange range) {
  if (range.empty()) return Bytes();
  MutableBytes out = MutableBytes::zeroed(range.end - range.start);
  const uint32_t size = plan_.wal_segment_size;
  for (Lsn at = range.start; at < range.end;) {
    const uint32_t from = at.segment_offset(size);
    const uint64_t bytes = std::min<uint64_t>(size - from, range.end - at);
    VARVE_TRY(read_segment(at.segment(size), from, out.span().subspan(at - range.start, bytes)));
    at = at + bytes;
  }
  return std::move(out).freeze();
}

}  // namespace varve::real_io
