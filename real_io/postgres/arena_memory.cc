#include "real_io/postgres/arena_memory.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "real_io/errors.h"
#include "real_io/postgres/files.h"

namespace varve::real_io {
namespace {

varve_mode mode_of(PostgresMode mode) {
  switch (mode) {
    case PostgresMode::kPrimary:
      return VARVE_MODE_PRIMARY;
    case PostgresMode::kReader:
      return VARVE_MODE_READER;
    case PostgresMode::kStandby:
      return VARVE_MODE_STANDBY;
  }
  VARVE_UNREACHABLE("no such mode");
}

void wake_word(void*, uint32_t* word) {
  (void)::syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// What fill() lends to the arena's operations. The lock is taken before them, with trylock, since
// they can't be told that it is busy.
struct FillContext {
  int directory = -1;
  bool owner_died = false;
};

int lend_lock(void* context, varve_entry*) {
  return std::exchange(static_cast<FillContext*>(context)->owner_died, false) ? EOWNERDEAD : 0;
}
void keep_lock(void*, varve_entry*) {}

int64_t write_at(void*, int fd, const void* buffer, uint64_t bytes, uint64_t offset) {
  const ssize_t put = ::pwrite(fd, buffer, bytes, static_cast<off_t>(offset));
  return put < 0 ? -errno : put;
}
int open_at(void* context, const char* path, int flags, unsigned mode, int* fd) {
  *fd = open_beneath(static_cast<FillContext*>(context)->directory, path, flags, mode);
  return *fd < 0 ? -*fd : 0;
}
int truncate_at(void* context, const char* path, uint64_t bytes) {
  const int fd = open_beneath(static_cast<FillContext*>(context)->directory, path, O_WRONLY);
  if (fd < 0) return -fd;
  const int error = ::ftruncate(fd, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  ::close(fd);
  return error;
}
int unlink_at(void* context, const char* path) {
  return unlink_beneath(static_cast<FillContext*>(context)->directory, path);
}

}  // namespace

Result<std::shared_ptr<ArenaMemory>> ArenaMemory::create(Syscalls& syscalls,
                                                         const PostgresPlan& plan) {
  std::shared_ptr<ArenaMemory> memory(new ArenaMemory());
  const auto files = static_cast<uint32_t>(plan.lazy_files.size());
  uint64_t words = 0;
  for (const PostgresLazyFile& file : plan.lazy_files) words += varve_words_of(file.blocks);
  varve_arena layout;
  varve_arena_layout(&layout, files, words);
  memory->fd_ = UniqueFd(syscalls, ::memfd_create("varve-arena", MFD_CLOEXEC));
  if (!memory->fd_.valid() ||
      ::ftruncate(memory->fd_.get(), static_cast<off_t>(layout.bytes)) != 0) {
    return error_status(errno, "make the arena's memory file", "memfd");
  }
  void* mapped = ::mmap(nullptr, layout.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                        memory->fd_.get(), 0);
  if (mapped == MAP_FAILED) return error_status(errno, "map the arena", "memfd");
  varve_arena* arena = static_cast<varve_arena*>(mapped);
  memory->arena_ = arena;
  memory->bytes_ = layout.bytes;
  varve_arena_layout(arena, files, words);
  uint64_t used = 0;
  for (const PostgresLazyFile& file : plan.lazy_files) {
    if (file.blocks == 0 || varve_add_file(arena, file.path.c_str(), file.blocks, &used) == nullptr)
      return Status(Code::kInvalid, "a lazy file that no arena takes").with_object(file.path);
    memory->blocks_.push_back(file.blocks);
  }
  for (const PostgresResidentPage& page : plan.resident_pages) {
    const varve_entry* entry = varve_entry_at(arena, page.file);
    varve_store32(varve_block_word(arena, entry, page.block), varve_word(VARVE_BLOCK_PRESENT, 0));
  }
  varve_arena_open(arena, mode_of(plan.mode), plan.nonce.value, plan.term.value,
                   plan.wal_segment_size);
  return memory;
}

ArenaMemory::~ArenaMemory() {
  if (arena_ != nullptr) (void)::munmap(arena_, bytes_);
}

PostgresWalTail ArenaMemory::tail() const {
  varve_wal_tail raw{};
  PostgresWalTail tail;
  tail.torn = varve_tail_read(&arena_->tail, &raw) == 0;
  tail.tickets = raw.tickets;
  tail.end = Lsn(raw.end);
  tail.nonzero_at = Lsn(raw.nonzero_lsn);
  tail.nonzero_value = raw.nonzero_value;
  tail.inserted = Lsn(raw.inserted);
  tail.flushed = Lsn(raw.flushed);
  return tail;
}

void ArenaMemory::close_gate() {
  varve_gate& gate = arena_->gate;
  varve_store32(&gate.state, VARVE_GATE_CLOSED);
  (void)__atomic_fetch_add(&gate.bell, 1, __ATOMIC_SEQ_CST);
  wake_word(nullptr, &gate.bell);
}

void ArenaMemory::set_gate(const PostgresGateWord& word) {
  varve_gate& gate = arena_->gate;
  VARVE_CHECK_MSG(word.nonce.value == gate.nonce && word.term.value == gate.term,
                  "a gate word of another life or term");
  if (varve_load32(&gate.state) != VARVE_GATE_OPEN) return;
  if (!word.open) return close_gate();
  VARVE_CHECK_MSG(word.answered >= varve_load64(&gate.answered), "the gate takes back a ticket");
  varve_store64(&gate.lsn, word.lsn.value);
  varve_store64(&gate.rewrite, word.rewrite);
  varve_store64(&gate.answered, word.answered);  // last: it lets go
  (void)__atomic_fetch_add(&gate.bell, 1, __ATOMIC_SEQ_CST);
  wake_word(nullptr, &gate.bell);
}

varve_env ArenaMemory::environment(void* context) const {
  return {context,  arena_,  lend_lock,   keep_lock, nullptr, wake_word, nullptr,
          write_at, open_at, truncate_at, unlink_at, nullptr, nullptr};
}

uint32_t ArenaMemory::claim(uint32_t file, uint32_t first, uint32_t blocks, varve_claim* claim) {
  const varve_env env = environment(nullptr);
  return varve_claim_missing(&env, varve_entry_at(arena_, file), first, blocks, claim);
}

void ArenaMemory::release(uint32_t file, const varve_claim& claim) {
  const varve_env env = environment(nullptr);
  varve_claim_release(&env, varve_entry_at(arena_, file), &claim, 0);
}

void ArenaMemory::fill(const std::string& data, const PostgresUser& user, uint32_t file,
                       const varve_claim& claim, const std::vector<uint8_t>& pages) {
  varve_entry* entry = varve_entry_at(arena_, file);
  const AsUser as_user(user);
  FillContext context;
  context.directory = ::open(data.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  const int locked = context.directory < 0 ? EBADF : ::pthread_mutex_trylock(&entry->lock.mutex);
  if (locked != 0 && locked != EOWNERDEAD) {
    release(file, claim);
  } else {
    if (locked == EOWNERDEAD) (void)::pthread_mutex_consistent(&entry->lock.mutex);
    context.owner_died = locked == EOWNERDEAD;
    const varve_env env = environment(&context);
    int fd = -1;
    int bound = 0;
    const int error = varve_open(&env, entry, O_RDWR, 0, &fd, &bound);
    if (error == 0 && bound != 0) {
      (void)varve_fill(&env, entry, fd, &claim, pages.data(),
                       static_cast<uint32_t>(pages.size() / kBlockSize));
    } else {
      varve_claim_release(&env, entry, &claim, 0);
    }
    if (fd >= 0) ::close(fd);
    ::pthread_mutex_unlock(&entry->lock.mutex);
  }
  if (context.directory >= 0) ::close(context.directory);
}

}  // namespace varve::real_io
