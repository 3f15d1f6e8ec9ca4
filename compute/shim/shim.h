/* The shim's inside: what its files know of each other. See README.md of compute/ for what it is
 * for.
 *
 * Everything here runs inside Postgres' processes, between any two of its instructions: nothing
 * allocates, nothing keeps a lock over a wait, errno is set only as the interposed call would. The
 * system is called by number, so that no call of ours comes back to us.
 */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "compute/arena/arena.h"
#include "compute/arena/operations.h"
#include "compute/arena/protocol.h"

#define SHIM_EXPORT __attribute__((visibility("default")))

enum { SHIM_MOST_FDS = 65536, SHIM_PATH_SIZE = 1024 };

enum shim_kind { SHIM_PLAIN = 0, SHIM_LAZY = 1, SHIM_WAL = 2 };

/* What a descriptor of this process stands for. All zeros: a plain one. */
struct shim_fd {
  uint8_t kind;   /* enum shim_kind */
  uint8_t ahead;  /* SHIM_LAZY: blocks to fetch beyond what is asked for; grows while reads are
                     sequential */
  uint32_t entry; /* SHIM_LAZY: number in the arena */
  uint64_t place; /* SHIM_LAZY: block behind the last one read; SHIM_WAL: segment number */
};

/* Set once by the constructor, in the postmaster; children inherit all of it. */
struct shim {
  int armed; /* 0: this process is not ours, every call goes straight through */
  struct varve_arena* arena;
  uint64_t nonce;
  uint64_t term;
  int life_fd; /* end of file here: the agent is gone */
  int bell_fd;
  int data_fd; /* the data directory */
  pid_t postmaster;
  char data[SHIM_PATH_SIZE];
  char control[SHIM_PATH_SIZE]; /* beside it: what Postgres gets for its global/pg_control */
  char socket[108];
  struct varve_env env;
  /* Postgres' own variables, where this binary exports them. */
  volatile uint32_t* crit_section_count;
  volatile int* proc_die_pending;
  volatile char* enable_fsync;
  volatile int* sync_method;
  uint64_t (*flush_pointer)(uint32_t*);
  uint64_t (*insert_pointer)(void);
};
extern struct shim shim;
extern struct shim_fd shim_fds[SHIM_MOST_FDS];

static inline struct shim_fd* shim_fd_of(int fd) {
  return shim.armed && fd >= 0 && fd < SHIM_MOST_FDS && shim_fds[fd].kind != SHIM_PLAIN
             ? &shim_fds[fd]
             : NULL;
}
static inline struct varve_entry* shim_entry_of(const struct shim_fd* fd) {
  return varve_entry_at(shim.arena, fd->entry);
}
/* The entry when `fd` is a lazy file, else NULL. */
static inline struct varve_entry* shim_lazy(int fd) {
  struct shim_fd* known = shim_fd_of(fd);
  return known != NULL && known->kind == SHIM_LAZY ? shim_entry_of(known) : NULL;
}

/* ---- start.c ---- */

/* Ends this process at once, without returning to Postgres; `why` goes to standard error.
 * Async-signal-safe. */
__attribute__((noreturn)) void shim_die(const char* why);
/* Dies when the agent is gone. */
void shim_check_agent(void);
/* Sends HELLO on a new connection and waits for GO. The socket, or -1 when the agent can't be
 * reached now. */
int shim_connect(enum varve_process_kind kind);

/* ---- files.c ---- */

/* The path relative to the data directory, in `out`, or NULL when it lies elsewhere or is too long.
 */
const char* shim_relative(int directory, const char* path, char out[SHIM_PATH_SIZE]);
/* Where the file of a relative path really lies. In place of pg_control lies a file that no
 * Postgres starts from: so without us the directory is of no use to anybody, however its life has
 * ended. */
const char* shim_place(const char* relative, const char* path);
/* The live or dead entry of a relative path, or NULL. */
struct varve_entry* shim_find(const char* relative);

/* ---- pages.c ---- */

void shim_env_init(struct varve_env* env);
/* Blocks to fetch beyond a read at `offset`; remembers the read. */
uint32_t shim_ahead(struct shim_fd* fd, uint64_t offset, uint64_t bytes);
/* Asks the agent to fetch what is missing of the range some time. Never waits. */
void shim_prefetch(struct varve_entry* entry, uint64_t offset, uint64_t bytes);
/* Tells the agent something, if that is possible without waiting. */
void shim_note(enum varve_note_kind kind, const char* text);
/* Makes all of a lazy file present and keeps it so, for readers that go past the shim. 0 or an
 * errno. */
int shim_materialise(struct varve_entry* entry, int fd);

/* ---- wal.c ---- */

/* The segment number of a log segment's file name, "<24 hex>", or -1; *timeline gets its first 8
 * digits. */
int64_t shim_segment_of(const char* name, uint32_t* timeline);
/* pwrite on a log segment. */
ssize_t shim_wal_write(int fd, struct shim_fd* known, const void* buffer, size_t bytes,
                       off_t offset);
/* Tells what Postgres believes to be flushed, for the gate's audit. Only after a write to a
 * relation's file. */
void shim_tell_flushed(void);
/* fsync or fdatasync on a log segment: returns when the quorum holds it, or never. */
void shim_wal_gate(int fd, struct shim_fd* known);

/* ---- plain system calls, by number: the result, or -errno ---- */

static inline int64_t shim_result(long result) {
  return result < 0 ? -errno : result;
}

static inline int shim_sys_open(int directory, const char* path, int flags, unsigned mode) {
  return (int)syscall(SYS_openat, directory, path, flags, mode);
}
static inline int shim_sys_close(int fd) {
  return (int)syscall(SYS_close, fd);
}
