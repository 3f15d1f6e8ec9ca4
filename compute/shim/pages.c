/* The arena's operations on real files: robust mutexes, futexes, and pages from the agent. */
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <nmmintrin.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "compute/shim/shim.h"

enum {
  SHIM_FETCH_LIMIT_MS = 60000,
  SHIM_FETCH_PAUSE_MS = 20,
  SHIM_MOST_AHEAD = VARVE_FETCH_BLOCKS - 1
};

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- checksum of a page ---- */

__attribute__((target("sse4.2"))) static uint32_t crc_hardware(const uint8_t* p, size_t bytes) {
  uint64_t crc = 0xFFFFFFFFu;
  for (; bytes >= 8; bytes -= 8, p += 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  return (uint32_t)crc ^ 0xFFFFFFFFu;
}

static uint32_t crc_portable(const uint8_t* p, size_t bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < bytes; ++i) {
    crc ^= p[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (0x82F63B78u & (0u - (crc & 1)));
  }
  return crc ^ 0xFFFFFFFFu;
}

static uint32_t page_crc(const uint8_t* page) {
  return __builtin_cpu_supports("sse4.2") ? crc_hardware(page, VARVE_BLOCK_SIZE)
                                          : crc_portable(page, VARVE_BLOCK_SIZE);
}

/* ---- the environment of the operations ---- */

static int env_lock(void* context, struct varve_entry* entry) {
  (void)context;
  const int error = pthread_mutex_lock(&entry->lock.mutex);
  if (error == EOWNERDEAD) pthread_mutex_consistent(&entry->lock.mutex);
  if (error != 0 && error != EOWNERDEAD) shim_die("a file's lock is broken");
  return error;
}

static void env_unlock(void* context, struct varve_entry* entry) {
  (void)context;
  pthread_mutex_unlock(&entry->lock.mutex);
}

static void env_sleep(void* context, uint32_t* word, uint32_t value, int milliseconds) {
  (void)context;
  const struct timespec limit = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  (void)syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, NULL, 0);
  shim_check_agent();
}

static void env_wake(void* context, uint32_t* word) {
  (void)context;
  (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static int64_t env_pread(void* context, int fd, void* buffer, uint64_t bytes, uint64_t offset) {
  (void)context;
  return shim_result(syscall(SYS_pread64, fd, buffer, bytes, offset));
}

static int64_t env_pwrite(void* context, int fd, const void* buffer, uint64_t bytes,
                          uint64_t offset) {
  (void)context;
  return shim_result(syscall(SYS_pwrite64, fd, buffer, bytes, offset));
}

static int env_open(void* context, const char* path, int flags, unsigned mode, int* fd) {
  (void)context;
  *fd = shim_sys_open(shim.data_fd, path, flags, mode);
  return *fd < 0 ? errno : 0;
}

static int env_truncate(void* context, const char* path, uint64_t bytes) {
  (void)context;
  const int fd = shim_sys_open(shim.data_fd, path, O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int error = syscall(SYS_ftruncate, fd, bytes) == 0 ? 0 : errno;
  shim_sys_close(fd);
  return error;
}

static int env_unlink(void* context, const char* path) {
  (void)context;
  return syscall(SYS_unlinkat, shim.data_fd, path, 0) == 0 ? 0 : errno;
}

static int env_punch(void* context, int fd, uint32_t first, uint32_t blocks) {
  (void)context, (void)fd, (void)first, (void)blocks;
  return EPERM; /* the agent's business */
}

/* ---- pages from the agent ---- */

static int agent_fd = -1;
static pid_t agent_pid;
static uint64_t last_request;
static struct {
  struct varve_pages head;
  uint8_t pages[VARVE_MESSAGE_PAGES * VARVE_BLOCK_SIZE];
} answer __attribute__((aligned(64)));

static void hang_up(void) {
  if (agent_fd >= 0 && agent_pid == getpid()) shim_sys_close(agent_fd);
  agent_fd = -1;
}

/* This process' own connection; a parent's is not used. -1 when the agent can't be reached now. */
static int agent_connection(void) {
  if (agent_fd >= 0 && agent_pid == getpid()) return agent_fd;
  agent_pid = getpid();
  agent_fd = shim_connect(VARVE_BACKEND);
  return agent_fd;
}

/* May this process give up on a page now? Never in a critical section: an error there is a panic.
 */
static int may_give_up(void) {
  return shim.crit_section_count == NULL || *shim.crit_section_count == 0;
}

static int tired(uint64_t since) {
  if (!may_give_up()) return 0;
  return now_ms() - since >= SHIM_FETCH_LIMIT_MS ||
         (shim.proc_die_pending != NULL && *shim.proc_die_pending);
}

/* 1: an answer to `asked` is in `answer`; 0: none yet; -1: the connection is useless. */
static int take_answer(const struct varve_fetch* asked) {
  struct pollfd both[2] = {{.fd = agent_fd, .events = POLLIN},
                           {.fd = shim.life_fd, .events = POLLIN}};
  const int ready = poll(both, 2, 100);
  if (ready > 0 && both[1].revents != 0) shim_die("the agent is gone");
  if (ready <= 0 || both[0].revents == 0) return 0;
  const ssize_t got = recv(agent_fd, &answer, sizeof answer, MSG_DONTWAIT);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return 0;
  const struct varve_pages* head = &answer.head;
  if (got < (ssize_t)sizeof *head || head->message.magic != VARVE_PROTOCOL_MAGIC ||
      head->message.type != VARVE_PAGES || head->message.nonce != shim.nonce) {
    return -1;
  }
  if (head->request < asked->request) return 0; /* to a question that was given up */
  if (head->request != asked->request || head->path_hash != asked->path_hash ||
      head->entry != asked->entry || head->generation != asked->generation ||
      head->first != asked->first || head->blocks > asked->blocks ||
      (size_t)got != sizeof *head + varve_bytes_of(head->blocks) ||
      (head->status == VARVE_FETCH_OK) != (head->blocks > 0)) {
    return -1;
  }
  for (uint32_t i = 0; i < head->blocks; ++i) {
    if (page_crc(answer.pages + varve_bytes_of(i)) != head->crc[i]) return -1;
  }
  return 1;
}

static void pause_ms(int milliseconds) {
  struct pollfd life = {.fd = shim.life_fd, .events = POLLIN};
  if (poll(&life, 1, milliseconds) > 0) shim_die("the agent is gone");
}

/* Waits through storage's absences; an error only when it is definite or took too long, and never
 * in a critical section: there it waits until the agent ends it all. */
static int env_fetch(void* context, const struct varve_entry* entry, uint32_t generation,
                     uint32_t first, uint32_t blocks, const uint8_t** pages) {
  (void)context;
  const uint64_t since = now_ms();
  struct varve_fetch ask = {
      .message = {VARVE_PROTOCOL_MAGIC, VARVE_PROTOCOL_VERSION, VARVE_FETCH, shim.nonce},
      .path_hash = entry->hash,
      .entry = entry->number,
      .generation = generation,
      .first = first,
      .blocks = blocks,
  };
  for (int asked = 0;;) {
    int outcome = -1;
    if (agent_connection() >= 0) {
      if (!asked) {
        ask.request = ++last_request;
        asked = send(agent_fd, &ask, sizeof ask, MSG_NOSIGNAL) == (ssize_t)sizeof ask;
      }
      outcome = asked ? take_answer(&ask) : -1;
    }
    if (outcome == 1 && answer.head.status == VARVE_FETCH_OK) {
      *pages = answer.pages;
      return (int)answer.head.blocks;
    }
    if ((outcome == 1 && answer.head.status == VARVE_FETCH_LOST && may_give_up()) || tired(since)) {
      if (outcome != 1) hang_up(); /* an answer may still come, to nobody */
      varve_count(&shim.arena->counters.read_errors, 1);
      return -EIO;
    }
    if (outcome == 0) continue;
    if (outcome < 0) hang_up();
    asked = 0;
    shim_check_agent();
    pause_ms(SHIM_FETCH_PAUSE_MS);
  }
}

void shim_env_init(struct varve_env* env) {
  env->context = NULL;
  env->arena = shim.arena;
  env->lock = env_lock;
  env->unlock = env_unlock;
  env->sleep = env_sleep;
  env->wake = env_wake;
  env->pread = env_pread;
  env->pwrite = env_pwrite;
  env->open = env_open;
  env->truncate = env_truncate;
  env->unlink = env_unlink;
  env->punch = env_punch;
  env->fetch = env_fetch;
}

/* ---- hints ---- */

uint32_t shim_ahead(struct shim_fd* fd, uint64_t offset, uint64_t bytes) {
  const uint64_t first = offset / VARVE_BLOCK_SIZE;
  if (first == fd->place) {
    fd->ahead =
        (uint8_t)(fd->ahead * 2 + 1 < SHIM_MOST_AHEAD ? fd->ahead * 2 + 1 : SHIM_MOST_AHEAD);
  } else {
    fd->ahead = 0;
  }
  fd->place = (offset + bytes + VARVE_BLOCK_SIZE - 1) / VARVE_BLOCK_SIZE;
  return fd->ahead;
}

void shim_prefetch(struct varve_entry* entry, uint64_t offset, uint64_t bytes) {
  const uint64_t head = varve_load64(&entry->head);
  uint64_t first = offset / VARVE_BLOCK_SIZE;
  uint64_t end = bytes == 0 ? varve_head_base(head)
                            : (offset + bytes + VARVE_BLOCK_SIZE - 1) / VARVE_BLOCK_SIZE;
  if (end > varve_head_base(head)) end = varve_head_base(head);
  if (varve_head_dead(head)) return;
  while (first < end && varve_word_state(varve_load32(varve_block_word(
                            shim.arena, entry, (uint32_t)first))) != VARVE_BLOCK_MISSING) {
    ++first;
  }
  if (first >= end || agent_connection() < 0) return;
  const struct varve_fetch hint = {
      .message = {VARVE_PROTOCOL_MAGIC, VARVE_PROTOCOL_VERSION, VARVE_PREFETCH, shim.nonce},
      .path_hash = entry->hash,
      .entry = entry->number,
      .generation = varve_head_generation(head),
      .first = (uint32_t)first,
      .blocks = (uint32_t)(end - first),
  };
  (void)send(agent_fd, &hint, sizeof hint, MSG_NOSIGNAL | MSG_DONTWAIT);
  varve_count(&shim.arena->counters.prefetch_hints, 1);
}

void shim_note(enum varve_note_kind kind, const char* text) {
  struct varve_note note = {
      .message = {VARVE_PROTOCOL_MAGIC, VARVE_PROTOCOL_VERSION, VARVE_NOTE, shim.nonce},
      .kind = (uint32_t)kind,
  };
  const int saved = errno;
  strncpy(note.text, text, sizeof note.text - 1);
  if (agent_connection() >= 0)
    (void)send(agent_fd, &note, sizeof note, MSG_NOSIGNAL | MSG_DONTWAIT);
  errno = saved;
}

int shim_materialise(struct varve_entry* entry, int fd) {
  varve_lock(&shim.env, entry);
  varve_store32(&entry->pinned, 1);
  const uint64_t head = varve_load64(&entry->head);
  varve_unlock(&shim.env, entry);
  if (varve_head_dead(head)) return EIO;
  return varve_materialise(&shim.env, entry, fd, 0, varve_head_base(head));
}
