#include "tests/compute/lazy_compute.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "base/crc32c.h"
#include "wal/control_file.h"
#include "wal/extent.h"

namespace varve::test {
namespace {

namespace fs = std::filesystem;

// Is this path, relative to a data directory, one whose pages storage has?
bool is_lazy(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  const bool digit = !name.empty() && name[0] >= '0' && name[0] <= '9';
  const bool hex_name =
      name.size() == 4 && name.find_first_not_of("0123456789ABCDEF") == std::string::npos;
  if (path.starts_with("base/") || path.starts_with("global/")) return digit;
  if (path.starts_with("pg_xact/") || path.starts_with("pg_multixact/") ||
      path.starts_with("pg_commit_ts/")) {
    return hex_name;
  }
  return false;
}

std::vector<uint8_t> slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void spill(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
}

int env_lock(void*, varve_entry* entry) {
  const int error = pthread_mutex_lock(&entry->lock.mutex);
  if (error == EOWNERDEAD) pthread_mutex_consistent(&entry->lock.mutex);
  return error;
}
void env_unlock(void*, varve_entry* entry) {
  pthread_mutex_unlock(&entry->lock.mutex);
}
void env_wake(void*, uint32_t* word) {
  syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}
int64_t env_pwrite(void*, int fd, const void* buffer, uint64_t bytes, uint64_t offset) {
  const ssize_t put = pwrite(fd, buffer, bytes, static_cast<off_t>(offset));
  return put < 0 ? -errno : put;
}
int env_open(void* context, const char* path, int flags, unsigned mode, int* fd) {
  const auto* data = static_cast<const std::string*>(context);
  *fd = open((*data + "/" + path).c_str(), flags | O_CLOEXEC, mode);
  return *fd < 0 ? errno : 0;
}
int env_truncate(void* context, const char* path, uint64_t bytes) {
  const auto* data = static_cast<const std::string*>(context);
  return truncate((*data + "/" + path).c_str(), static_cast<off_t>(bytes)) == 0 ? 0 : errno;
}
int env_unlink(void* context, const char* path) {
  const auto* data = static_cast<const std::string*>(context);
  return unlink((*data + "/" + path).c_str()) == 0 ? 0 : errno;
}

Instant now() {
  return Instant{std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1)};
}

}  // namespace

LazyCompute::LazyCompute(LazyComputeOptions options) : options_(std::move(options)) {
  std::random_device device;
  nonce_ = (static_cast<uint64_t>(device()) << 32) | device();
  socket_path_ = fs::path(options_.data).parent_path().string() + "/agent.sock";
  env_ = {&options_.data, nullptr,  env_lock,     env_unlock, nullptr, env_wake, nullptr,
          env_pwrite,     env_open, env_truncate, env_unlink, nullptr, nullptr};
}

LazyCompute::~LazyCompute() {
  if (pid_ > 0) stop(SIGKILL);
  leaving_ = true;
  if (listen_fd_ >= 0) shutdown(listen_fd_, SHUT_RDWR);
  for (;;) {
    std::vector<std::thread> threads;
    {
      std::lock_guard lock(threads_mutex_);
      threads.swap(threads_);
    }
    if (threads.empty()) break;
    for (std::thread& thread : threads) thread.join();
  }
  for (int fd : {arena_fd_, listen_fd_, bell_fd_, life_write_, life_read_}) {
    if (fd >= 0) close(fd);
  }
  for (auto& [path, fd] : originals_) close(fd);
  for (auto& [entry, fd] : caches_) close(fd);
  if (arena_ != nullptr) munmap(arena_, arena_->bytes);
}

// Directories as they are, lazy files sparse, pg_control withheld, the rest copied.
bool LazyCompute::build() {
  struct Lazy {
    std::string path;
    uint32_t blocks;
  };
  std::vector<Lazy> lazy;
  uint64_t words = 0;
  fs::create_directory(options_.data);
  for (const auto& item : fs::recursive_directory_iterator(options_.original)) {
    const std::string path = fs::relative(item.path(), options_.original).string();
    const std::string target = options_.data + "/" + path;
    if (item.is_directory()) {
      fs::create_directory(target);
    } else if (path == "global/pg_control") {
      control_ = slurp(item.path());
      spill(target, std::vector<uint8_t>(control_.size()));
    } else if (is_lazy(path) && item.file_size() > 0 && item.file_size() % VARVE_BLOCK_SIZE == 0) {
      const auto blocks = static_cast<uint32_t>(item.file_size() / VARVE_BLOCK_SIZE);
      const int fd = open(target.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
      if (fd < 0 || ftruncate(fd, static_cast<off_t>(item.file_size())) != 0)
        error_ = "can't make " + target;
      if (fd >= 0) close(fd);
      lazy.push_back({path, blocks});
      words += varve_words_of(blocks);
    } else if (item.is_regular_file() && path != "postmaster.pid") {
      fs::copy_file(item.path(), target);
    }
  }
  if (const passwd* user = getpwnam("postgres"); geteuid() == 0 && user != nullptr) {
    for (const auto& item : fs::recursive_directory_iterator(options_.data)) {
      if (lchown(item.path().c_str(), user->pw_uid, user->pw_gid) != 0) error_ = "chown";
    }
    if (lchown(options_.data.c_str(), user->pw_uid, user->pw_gid) != 0) error_ = "chown";
  }
  if (chmod(options_.data.c_str(), 0700) != 0) error_ = "chmod";

  varve_arena layout;
  varve_arena_layout(&layout, static_cast<uint32_t>(lazy.size()), words);
  arena_fd_ = memfd_create("varve-arena", MFD_CLOEXEC);
  if (arena_fd_ < 0 || ftruncate(arena_fd_, static_cast<off_t>(layout.bytes)) != 0)
    error_ = "no memory file";
  void* memory =
      mmap(nullptr, layout.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, arena_fd_, 0);
  if (memory == MAP_FAILED) error_ = "the arena can't be mapped";
  if (!error_.empty()) return false;
  arena_ = static_cast<varve_arena*>(memory);
  env_.arena = arena_;
  varve_arena_layout(arena_, static_cast<uint32_t>(lazy.size()), words);
  uint64_t used = 0;
  for (const Lazy& file : lazy) {
    if (varve_add_file(arena_, file.path.c_str(), file.blocks, &used) == nullptr)
      error_ = "no entry: " + file.path;
  }

  wal::LogIdentity identity = options_.log_identity;
  Lsn start = options_.log_previous;
  Lsn end = options_.log_start;
  if (options_.log) {
    const wal::Version* version = wal::version_of_major(15);
    auto control = wal::parse_control_file(*version, control_);
    if (!control.ok()) {
      error_ = control.status().to_string();
      return false;
    }
    identity = control->identity(*version);
    start = control->checkpoint_record;
    end = wal::record_extent(start, 114, false, control->segment_size).end;
  }
  if (identity.version != nullptr) {
    gate_ = std::make_unique<compute::Gate>(compute::GateOptions(), identity, Incarnation(nonce_),
                                            Term(1), end, start,
                                            [](const wal::Record&) { return Status(); });
  }
  varve_arena_open(arena_, VARVE_MODE_PRIMARY, nonce_, 1, identity.segment_size);
  return error_.empty();
}

bool LazyCompute::start() {
  if (!build()) return false;
  bell_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int life[2];
  if (pipe2(life, O_CLOEXEC) != 0) return false;
  life_read_ = life[0];
  life_write_ = life[1];
  listen_fd_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_path_.c_str(), sizeof address.sun_path - 1);
  unlink(socket_path_.c_str());
  if (bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      listen(listen_fd_, 512) != 0) {
    error_ = "no socket at " + socket_path_;
    return false;
  }
  chmod(socket_path_.c_str(), 0777);
  {
    std::lock_guard lock(threads_mutex_);
    threads_.emplace_back([this] { accept_loop(); });
    if (gate_ != nullptr) threads_.emplace_back([this] { gate_loop(); });
    if (options_.adversary) threads_.emplace_back([this] { punch_loop(); });
  }
  return spawn();
}

bool LazyCompute::spawn() {
  std::vector<std::string> arguments = {options_.postgres, "-D", options_.data};
  for (const char* setting : {"fsync=on", "wal_sync_method=fdatasync", "full_page_writes=off",
                              "restart_after_crash=off", "archive_mode=off", "wal_recycle=off",
                              "wal_init_zero=off", "dynamic_shared_memory_type=mmap"}) {
    arguments.insert(arguments.end(), {"-c", setting});
  }
  for (const std::string& setting : options_.settings)
    arguments.insert(arguments.end(), {"-c", setting});
  char nonce[17];
  std::snprintf(nonce, sizeof nonce, "%016llx", static_cast<unsigned long long>(nonce_));
  const std::vector<std::string> environment = {
      "LD_PRELOAD=" + options_.shim,
      std::string(VARVE_ENV_ARENA_FD) + "=" + std::to_string(arena_fd_),
      std::string(VARVE_ENV_LIFE_FD) + "=" + std::to_string(life_read_),
      std::string(VARVE_ENV_BELL_FD) + "=" + std::to_string(bell_fd_),
      std::string(VARVE_ENV_SOCKET) + "=" + socket_path_,
      std::string(VARVE_ENV_DATA) + "=" + options_.data,
      std::string(VARVE_ENV_NONCE) + "=" + nonce,
      "PATH=/usr/bin:/bin",
      "LANG=C.UTF-8"};
  const std::string log = fs::path(options_.data).parent_path().string() + "/postgres.log";
  const passwd* user = getpwnam("postgres");
  const uid_t uid = user == nullptr ? geteuid() : user->pw_uid;
  const gid_t gid = user == nullptr ? getegid() : user->pw_gid;
  std::vector<char*> argv, envp;
  for (const std::string& text : arguments) argv.push_back(const_cast<char*>(text.c_str()));
  for (const std::string& text : environment) envp.push_back(const_cast<char*>(text.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  pid_ = fork();
  if (pid_ != 0) return pid_ > 0;
  const int out = open(log.c_str(), O_CREAT | O_APPEND | O_WRONLY, 0666);
  dup2(out, 1);
  dup2(out, 2);
  setsid();
  if (geteuid() == 0 && (setgid(gid) != 0 || setuid(uid) != 0)) _exit(127);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int fd : {arena_fd_, life_read_, bell_fd_}) fcntl(fd, F_SETFD, 0);
  execve(argv[0], argv.data(), envp.data());
  _exit(127);
}

int LazyCompute::stop(int signal) {
  if (pid_ <= 0) return 0;
  kill(pid_, signal);
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return status;
}

int LazyCompute::wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return status;
}

void LazyCompute::vanish() {
  close(life_write_);
  life_write_ = -1;
}

std::string LazyCompute::kill_text() {
  std::lock_guard lock(mutex_);
  return kill_text_;
}

std::vector<std::string> LazyCompute::notes() {
  std::lock_guard lock(mutex_);
  return notes_;
}

// ---- the shim's side ----

void LazyCompute::accept_loop() {
  while (!leaving_) {
    const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    std::lock_guard lock(threads_mutex_);
    threads_.emplace_back([this, fd] {
      serve(fd);
      close(fd);
    });
  }
}

bool LazyCompute::hello(int fd) {
  varve_hello hello{};
  if (recv(fd, &hello, sizeof hello, 0) != static_cast<ssize_t>(sizeof hello)) return false;
  varve_go go{};
  go.message = {VARVE_PROTOCOL_MAGIC, VARVE_PROTOCOL_VERSION, VARVE_GO, nonce_};
  go.term = 1;
  go.accept = 1;
  if (hello.message.nonce != nonce_ || hello.message.version != VARVE_PROTOCOL_VERSION ||
      hello.missed != 0) {
    go.accept = 0;
    std::snprintf(go.text, sizeof go.text, "refused: %u symbols missed, first %s", hello.missed,
                  hello.first_missed);
    std::lock_guard lock(mutex_);
    notes_.push_back(go.text);
  } else if (hello.kind == VARVE_POSTMASTER) {
    // Only now does the directory become one that Postgres would start in.
    const std::string control = fs::path(options_.data).parent_path().string() + "/control";
    spill(control, control_);
    if (const passwd* user = getpwnam("postgres"); geteuid() == 0 && user != nullptr) {
      (void)!chown(control.c_str(), user->pw_uid, user->pw_gid);
    }
    chmod(control.c_str(), 0600);
  }
  return send(fd, &go, sizeof go, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof go) &&
         go.accept == 1;
}

void LazyCompute::serve(int fd) {
  if (!hello(fd)) return;
  while (!leaving_) {
    pollfd wait{fd, POLLIN, 0};
    if (poll(&wait, 1, 100) <= 0) continue;
    union {
      varve_message message;
      varve_fetch fetch;
      varve_note note;
    } in;
    const ssize_t got = recv(fd, &in, sizeof in, 0);
    if (got < static_cast<ssize_t>(sizeof(varve_message))) return;
    if (in.message.type == VARVE_FETCH) {
      answer(fd, in.fetch);
    } else if (in.message.type == VARVE_PREFETCH) {
      prefetch(in.fetch);
    } else if (in.message.type == VARVE_NOTE) {
      std::lock_guard lock(mutex_);
      notes_.push_back(in.note.text);
    }
  }
}

int LazyCompute::original_fd(const std::string& path) {
  std::lock_guard lock(mutex_);
  auto [at, fresh] = originals_.try_emplace(path, -1);
  if (fresh) at->second = open((options_.original + "/" + path).c_str(), O_RDONLY | O_CLOEXEC);
  return at->second;
}

bool LazyCompute::read_original(const std::string& path, uint32_t first, uint32_t blocks,
                                uint8_t* out) {
  const int fd = original_fd(path);
  const auto bytes = static_cast<ssize_t>(varve_bytes_of(blocks));
  return fd >= 0 && pread(fd, out, static_cast<size_t>(bytes),
                          static_cast<off_t>(varve_bytes_of(first))) == bytes;
}

void LazyCompute::answer(int fd, const varve_fetch& ask) {
  struct {
    varve_pages head;
    uint8_t pages[size_t{VARVE_MESSAGE_PAGES} * VARVE_BLOCK_SIZE];
  } out;
  std::memset(&out.head, 0, sizeof out.head);
  out.head.message = {VARVE_PROTOCOL_MAGIC, VARVE_PROTOCOL_VERSION, VARVE_PAGES, nonce_};
  out.head.request = ask.request;
  out.head.path_hash = ask.path_hash;
  out.head.entry = ask.entry;
  out.head.generation = ask.generation;
  out.head.first = ask.first;
  out.head.status = VARVE_FETCH_LOST;
  if (options_.adversary) {
    thread_local std::minstd_rand draw(static_cast<unsigned>(fd) * 7919u + 1);
    if (draw() % 50 == 0) {
      out.head.status = VARVE_FETCH_RETRY;
      (void)!send(fd, &out, sizeof out.head, MSG_NOSIGNAL);
      return;
    }
    if (draw() % 4 == 0) usleep(static_cast<useconds_t>(draw() % 3000));
  }
  if (options_.page_delay_us != nullptr && *options_.page_delay_us > 0)
    usleep(*options_.page_delay_us);
  if (ask.entry < arena_->entry_count && ask.blocks >= 1 && ask.blocks <= VARVE_MESSAGE_PAGES) {
    const varve_entry* entry = varve_entry_at(arena_, ask.entry);
    if (entry->hash == ask.path_hash &&
        read_original(entry->path, ask.first, ask.blocks, out.pages)) {
      out.head.status = VARVE_FETCH_OK;
      out.head.blocks = ask.blocks;
      for (uint32_t i = 0; i < ask.blocks; ++i) {
        out.head.crc[i] = crc32c({out.pages + varve_bytes_of(i), VARVE_BLOCK_SIZE});
      }
      pages_served_ += ask.blocks;
    }
  }
  (void)!send(fd, &out, sizeof out.head + varve_bytes_of(out.head.blocks), MSG_NOSIGNAL);
}

// A descriptor of the lazy file, or -1. Never takes a file's lock under ours: who punches takes
// them the other way.
int LazyCompute::cache_fd(varve_entry* entry) {
  {
    std::lock_guard lock(mutex_);
    if (auto at = caches_.find(entry->number); at != caches_.end()) return at->second;
  }
  int fd = -1;
  int bound = 0;
  if (varve_open(&env_, entry, O_RDWR, 0, &fd, &bound) != 0) fd = -1;
  if (fd >= 0 && !bound) {
    close(fd);
    fd = -1;
  }
  std::lock_guard lock(mutex_);
  auto [at, fresh] = caches_.try_emplace(entry->number, fd);
  if (!fresh && fd >= 0) close(fd);
  return at->second;
}

void LazyCompute::prefetch(const varve_fetch& ask) {
  if (ask.entry >= arena_->entry_count) return;
  varve_entry* entry = varve_entry_at(arena_, ask.entry);
  const int cache = cache_fd(entry);
  std::vector<uint8_t> pages(varve_bytes_of(VARVE_FETCH_BLOCKS));
  for (uint32_t block = ask.first; cache >= 0 && block < ask.first + ask.blocks;) {
    varve_claim claim;
    if (varve_claim_missing(&env_, entry, block, ask.first + ask.blocks - block, &claim) == 0) {
      ++block;
      continue;
    }
    if (read_original(entry->path, claim.first, claim.blocks, pages.data())) {
      (void)varve_fill(&env_, entry, cache, &claim, pages.data(), claim.blocks);
      pages_served_ += claim.blocks;
    } else {
      varve_claim_release(&env_, entry, &claim, 0);
    }
    block = claim.first + claim.blocks;
  }
}

// Gives up blocks that are still as storage has them, wherever it finds some.
void LazyCompute::punch_loop() {
  struct Context {
    LazyCompute* self;
    int fd;
  } context{this, -1};
  varve_env env = env_;
  env.context = &context;
  env.punch = [](void*, int fd, uint32_t first, uint32_t blocks) {
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     static_cast<off_t>(varve_bytes_of(first)),
                     static_cast<off_t>(varve_bytes_of(blocks))) == 0
               ? 0
               : errno;
  };
  env.open = [](void* context, const char* path, int flags, unsigned mode, int* fd) {
    return env_open(&static_cast<Context*>(context)->self->options_.data, path, flags, mode, fd);
  };
  env.truncate = [](void* context, const char* path, uint64_t bytes) {
    return env_truncate(&static_cast<Context*>(context)->self->options_.data, path, bytes);
  };
  env.unlink = [](void* context, const char* path) {
    return env_unlink(&static_cast<Context*>(context)->self->options_.data, path);
  };
  const auto clean = [](void* context, const varve_entry* entry, uint32_t block) -> int {
    auto* c = static_cast<Context*>(context);
    uint8_t ours[VARVE_BLOCK_SIZE], theirs[VARVE_BLOCK_SIZE];
    return pread(c->fd, ours, sizeof ours, static_cast<off_t>(varve_bytes_of(block))) ==
               VARVE_BLOCK_SIZE &&
           c->self->read_original(entry->path, block, 1, theirs) &&
           std::memcmp(ours, theirs, sizeof ours) == 0;
  };
  std::minstd_rand draw(7);
  while (!leaving_ && arena_->entry_count > 0) {
    varve_entry* entry =
        varve_entry_at(arena_, static_cast<uint32_t>(draw()) % arena_->entry_count);
    const uint32_t base = varve_head_base(varve_load64(&entry->head));
    int bound = 0;
    if (base > 0 && varve_open(&env, entry, O_RDWR, 0, &context.fd, &bound) == 0) {
      if (bound) {
        const int punched =
            varve_punch(&env, entry, context.fd, static_cast<uint32_t>(draw()) % base, 8, clean);
        if (punched > 0) punched_ += static_cast<uint64_t>(punched);
      }
      close(context.fd);
    }
    usleep(300);
  }
}

// ---- the gate ----

void LazyCompute::publish_word() {
  const compute::GateWord& word = gate_->word();
  if (!word.open) varve_store32(&arena_->gate.state, VARVE_GATE_CLOSED);
  varve_store64(&arena_->gate.lsn, word.lsn.value);
  varve_store64(&arena_->gate.rewrite, word.rewrite);
  varve_store64(&arena_->gate.answered, word.answered);
  __atomic_fetch_add(&arena_->gate.bell, 1, __ATOMIC_SEQ_CST);
  env_wake(nullptr, &arena_->gate.bell);
}

void LazyCompute::look_at_tail() {
  varve_wal_tail raw{};
  compute::TailSnapshot tail;
  tail.torn = varve_tail_read(&arena_->tail, &raw) == 0;
  tail.tickets = raw.tickets;
  tail.end = Lsn(raw.end);
  tail.nonzero_at = Lsn(raw.nonzero_lsn);
  tail.nonzero_value = raw.nonzero_value;
  tail.inserted = Lsn(raw.inserted);
  tail.flushed = Lsn(raw.flushed);
  const LsnRange range = gate_->wanted(tail);
  std::vector<uint8_t> bytes(range.empty() ? 0 : range.end - range.start);
  const uint32_t segment = arena_->wal_segment_bytes;
  for (Lsn at = range.start; at < range.end;) {
    const uint64_t most = segment - at.segment_offset(segment);
    const uint64_t piece = std::min<uint64_t>(most, range.end - at);
    const std::string path =
        options_.data + "/pg_wal/" + wal::segment_file_name({1, at.segment(segment)}, segment);
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
      (void)!pread(fd, bytes.data() + (at - range.start), piece, at.segment_offset(segment));
      close(fd);
    }
    at = at + piece;
  }
  compute::GateEffects effects = gate_->on_tail(now(), tail, bytes);
  if (effects.word_changed) publish_word();
  const bool hold = options_.hold_quorum != nullptr && *options_.hold_quorum;
  if (!effects.kill.has_value() && !hold) {
    if (options_.adversary) usleep(static_cast<useconds_t>(bytes.size() % 700));
    if (options_.quorum != nullptr) *options_.quorum = gate_->proposed().value;
    effects = gate_->on_quorum(Term(1), gate_->proposed());
    if (effects.word_changed) publish_word();
  }
  if (effects.kill.has_value()) {
    std::lock_guard lock(mutex_);
    kill_text_ = effects.kill->text;
    if (pid_ > 0) kill(pid_, SIGKILL);
  }
}

void LazyCompute::gate_loop() {
  while (!leaving_) {
    pollfd wait{bell_fd_, POLLIN, 0};
    const int rang = poll(&wait, 1, gate_->waiting() ? 1 : 20);
    uint64_t count = 0;
    if (rang > 0) (void)!read(bell_fd_, &count, sizeof count);
    if (rang > 0 || gate_->waiting()) look_at_tail();
  }
}

}  // namespace varve::test
