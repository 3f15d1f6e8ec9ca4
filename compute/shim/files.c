/* Names and descriptors: which file is lazy, which is a log segment, and everything that opens,
 * closes, copies or removes one. Paths are taken as Postgres gives them, relative to the data
 * directory, or absolute below it. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>

#include "compute/shim/shim.h"

/* ---- names ---- */

/* Takes "a//b/./c/../d" apart into "a/b/d". 0 when it leaves its root or has no room. */
static int tidy(const char* path, char out[SHIM_PATH_SIZE]) {
  size_t used = 0;
  while (*path != 0) {
    const char* slash = strchr(path, '/');
    const size_t length = slash == NULL ? strlen(path) : (size_t)(slash - path);
    if (length == 2 && path[0] == '.' && path[1] == '.') {
      if (used == 0) return 0;
      while (used > 0 && out[--used] != '/') {
      }
    } else if (length > 0 && !(length == 1 && path[0] == '.')) {
      if (used + length + 2 > SHIM_PATH_SIZE) return 0;
      if (used > 0) out[used++] = '/';
      memcpy(out + used, path, length);
      used += length;
    }
    path += length + (slash != NULL ? 1 : 0);
  }
  out[used] = 0;
  return 1;
}

const char* shim_relative(int directory, const char* path, char out[SHIM_PATH_SIZE]) {
  if (path == NULL) return NULL;
  const size_t data_length = strlen(shim.data);
  char whole[SHIM_PATH_SIZE];
  if (path[0] != '/' && directory != AT_FDCWD) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    const ssize_t length = syscall(SYS_readlink, link, whole, sizeof whole - 1);
    if (length <= 0 || (size_t)length + 2 + strlen(path) > sizeof whole) return NULL;
    whole[length] = '/';
    strcpy(whole + length + 1, path);
    path = whole;
  }
  if (path[0] == '/') {
    char* tidied = out;
    if (!tidy(path, tidied)) return NULL;
    /* tidied has lost its first slash */
    if (strncmp(tidied, shim.data + 1, data_length - 1) != 0 || tidied[data_length - 1] != '/')
      return NULL;
    memmove(out, out + data_length, strlen(out + data_length) + 1);
    return out;
  }
  return tidy(path, out) ? out : NULL;
}

const char* shim_place(const char* relative, const char* path) {
  return relative != NULL && strcmp(relative, "global/pg_control") == 0 ? shim.control : path;
}

struct varve_entry* shim_find(const char* relative) {
  if (relative == NULL || strlen(relative) >= VARVE_PATH_SIZE) return NULL;
  if (strncmp(relative, "base/", 5) != 0 && strncmp(relative, "global/", 7) != 0 &&
      strncmp(relative, "pg_", 3) != 0) {
    return NULL;
  }
  return varve_find(shim.arena, relative);
}

static struct varve_entry* live_entry(int directory, const char* path) {
  char buffer[SHIM_PATH_SIZE];
  if (!shim.armed) return NULL;
  struct varve_entry* entry = shim_find(shim_relative(directory, path, buffer));
  return entry != NULL && !varve_head_dead(varve_load64(&entry->head)) ? entry : NULL;
}

static int refuse(int error, const char* what) {
  shim_note(VARVE_NOTE_REFUSED, what);
  errno = error;
  return -1;
}

static int fail(int error) {
  if (error == 0) return 0;
  errno = error;
  return -1;
}

/* A file or directory that nobody knows: it will be lost when the compute goes, so say so, once for
 * each name. Also what is known and lost all the same when somebody writes to it: pg_hba.conf. */
static void report_unknown(const char* relative) {
  static const char* const kKnown[] = {
      "base/",          "global/",          "log/",          "pg_commit_ts/",
      "pg_dynshmem/",   "pg_logical/",      "pg_multixact/", "pg_notify/",
      "pg_replslot/",   "pg_serial/",       "pg_snapshots/", "pg_stat/",
      "pg_stat_tmp/",   "pg_subtrans/",     "pg_tblspc/",    "pg_twophase/",
      "pg_wal/",        "pg_xact/",         "postmaster.",   "postgresql.auto.conf",
      "PG_VERSION",     "current_logfiles", "backup_label",  "tablespace_map",
      "standby.signal", "recovery.signal"};
  for (size_t i = 0; i < sizeof kKnown / sizeof *kKnown; ++i) {
    if (strncmp(relative, kKnown[i], strlen(kKnown[i])) == 0) return;
  }
  const uint64_t bit = varve_path_hash(relative) % 4096;
  const uint64_t mask = 1ull << (bit % 64);
  if (__atomic_fetch_or(&shim.arena->unknown_files[bit / 64], mask, __ATOMIC_RELAXED) & mask)
    return;
  shim_note(VARVE_NOTE_UNKNOWN_FILE, relative);
}

static void report_made(int directory, const char* path) {
  char buffer[SHIM_PATH_SIZE];
  if (!shim.armed) return;
  const char* relative = shim_relative(directory, path, buffer);
  if (relative != NULL) report_unknown(relative);
}

/* ---- open ---- */

static void forget(int fd) {
  if (shim.armed && fd >= 0 && fd < SHIM_MOST_FDS) memset(&shim_fds[fd], 0, sizeof shim_fds[fd]);
}

static int open_lazy(struct varve_entry* entry, int flags, unsigned mode) {
  int fd = -1;
  int bound = 0;
  if (flags & O_APPEND) return refuse(EIO, "O_APPEND on a lazy file");
  /* Whoever reads may have to fill, so every descriptor can write. */
  const int widened = ((flags & ~(O_ACCMODE | O_DIRECT | O_SYNC | O_DSYNC)) | O_RDWR);
  const int error = varve_open(&shim.env, entry, widened, mode, &fd, &bound);
  if (error != 0) return fail(error);
  if (fd >= SHIM_MOST_FDS) {
    shim_sys_close(fd);
    return fail(EMFILE);
  }
  forget(fd);
  if (bound) {
    shim_fds[fd].entry = entry->number;
    shim_fds[fd].kind = SHIM_LAZY;
  }
  return fd;
}

static int open_wal(int directory, const char* path, const char* name, int flags, unsigned mode) {
  uint32_t timeline = 0;
  const int64_t segment = shim_segment_of(name, &timeline);
  const int writes = (flags & O_ACCMODE) != O_RDONLY;
  const size_t length = strlen(name);
  const int history = length > 8 && strcmp(name + length - 8, ".history") == 0;
  if (shim.arena->mode == VARVE_MODE_STANDBY && writes &&
      (history || (segment >= 0 && timeline != 1))) {
    return refuse(EPERM, "a standby is not promoted by itself");
  }
  if (segment >= 0 && writes && (flags & (O_SYNC | O_DSYNC)) &&
      shim.arena->mode == VARVE_MODE_PRIMARY) {
    return refuse(EINVAL, "O_SYNC on the log would go past the commit gate");
  }
  const int fd = shim_sys_open(directory, path, flags, mode);
  if (fd < 0) return fd;
  forget(fd);
  if (segment >= 0 && fd < SHIM_MOST_FDS) {
    shim_fds[fd].place = (uint64_t)segment;
    shim_fds[fd].kind = SHIM_WAL;
  } else if (segment >= 0 && writes) {
    shim_sys_close(fd);
    return fail(EMFILE);
  }
  return fd;
}

static int open_any(int directory, const char* path, int flags, unsigned mode) {
  if (!shim.armed || (flags & (O_PATH | O_DIRECTORY))) {
    const int fd = shim_sys_open(directory, path, flags, mode);
    forget(fd);
    return fd;
  }
  char buffer[SHIM_PATH_SIZE];
  const char* relative = shim_relative(directory, path, buffer);
  struct varve_entry* entry = shim_find(relative);
  if (entry != NULL) return open_lazy(entry, flags, mode);
  if (relative != NULL && strncmp(relative, "pg_wal/", 7) == 0) {
    return open_wal(directory, path, relative + 7, flags, mode);
  }
  const int fd = shim_sys_open(directory, shim_place(relative, path), flags, mode);
  if (fd >= 0) forget(fd);
  if (fd >= 0 && relative != NULL && (flags & O_CREAT)) report_unknown(relative);
  return fd;
}

#define TAKE_MODE(flags)                   \
  unsigned mode = 0;                       \
  if ((flags) & (O_CREAT | __O_TMPFILE)) { \
    va_list arguments;                     \
    va_start(arguments, flags);            \
    mode = va_arg(arguments, unsigned);    \
    va_end(arguments);                     \
  }

SHIM_EXPORT int open(const char* path, int flags, ...) {
  TAKE_MODE(flags)
  return open_any(AT_FDCWD, path, flags, mode);
}
SHIM_EXPORT int open64(const char* path, int flags, ...) {
  TAKE_MODE(flags)
  return open_any(AT_FDCWD, path, flags, mode);
}
SHIM_EXPORT int openat(int directory, const char* path, int flags, ...) {
  TAKE_MODE(flags)
  return open_any(directory, path, flags, mode);
}
SHIM_EXPORT int openat64(int directory, const char* path, int flags, ...) {
  TAKE_MODE(flags)
  return open_any(directory, path, flags, mode);
}
SHIM_EXPORT int __open_2(const char* path, int flags) {
  return open_any(AT_FDCWD, path, flags, 0);
}
SHIM_EXPORT int __open64_2(const char* path, int flags) {
  return open_any(AT_FDCWD, path, flags, 0);
}
SHIM_EXPORT int __openat_2(int directory, const char* path, int flags) {
  return open_any(directory, path, flags, 0);
}
SHIM_EXPORT int __openat64_2(int directory, const char* path, int flags) {
  return open_any(directory, path, flags, 0);
}
SHIM_EXPORT int creat(const char* path, mode_t mode) {
  return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
SHIM_EXPORT int creat64(const char* path, mode_t mode) {
  return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* ---- descriptors ---- */

SHIM_EXPORT int close(int fd) {
  forget(fd);
  return shim_sys_close(fd);
}

static void forget_range(unsigned first, unsigned last) {
  for (unsigned fd = first; fd <= last && fd < SHIM_MOST_FDS; ++fd) forget((int)fd);
}

SHIM_EXPORT int close_range(unsigned first, unsigned last, int flags) {
  if (flags == 0) forget_range(first, last);
  return (int)syscall(SYS_close_range, first, last, flags);
}
SHIM_EXPORT void closefrom(int first) {
  (void)close_range(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}

static int copied(int from, int to) {
  if (!shim.armed || to < 0) return to;
  const int known = from >= 0 && from < SHIM_MOST_FDS;
  if (to < SHIM_MOST_FDS) {
    if (known) {
      shim_fds[to] = shim_fds[from];
    } else {
      forget(to);
    }
  } else if (known && shim_fds[from].kind != SHIM_PLAIN) {
    shim_sys_close(to); /* a copy that we could not follow */
    return fail(EMFILE);
  }
  return to;
}

SHIM_EXPORT int dup(int fd) {
  return copied(fd, (int)syscall(SYS_dup, fd));
}
SHIM_EXPORT int dup2(int fd, int to) {
  if (fd == to) return (int)syscall(SYS_dup2, fd, to);
  return copied(fd, (int)syscall(SYS_dup2, fd, to));
}
SHIM_EXPORT int dup3(int fd, int to, int flags) {
  return copied(fd, (int)syscall(SYS_dup3, fd, to, flags));
}

static int fcntl_any(int fd, int command, void* argument) {
  const int result = (int)syscall(SYS_fcntl, fd, command, argument);
  if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) return copied(fd, result);
  return result;
}

#define TAKE_ARGUMENT(last)                  \
  va_list arguments;                         \
  va_start(arguments, last);                 \
  void* argument = va_arg(arguments, void*); \
  va_end(arguments);

SHIM_EXPORT int fcntl(int fd, int command, ...) {
  TAKE_ARGUMENT(command)
  return fcntl_any(fd, command, argument);
}
SHIM_EXPORT int fcntl64(int fd, int command, ...) {
  TAKE_ARGUMENT(command)
  return fcntl_any(fd, command, argument);
}

/* ---- length and name ---- */

SHIM_EXPORT int ftruncate(int fd, off_t bytes) {
  struct varve_entry* entry = shim_lazy(fd);
  if (entry != NULL) {
    const int error = varve_truncate(&shim.env, entry, (uint64_t)bytes);
    if (error != ESTALE) return fail(error);
  }
  return (int)syscall(SYS_ftruncate, fd, bytes);
}
SHIM_EXPORT int ftruncate64(int fd, off64_t bytes) {
  return ftruncate(fd, bytes);
}

SHIM_EXPORT int truncate(const char* path, off_t bytes) {
  struct varve_entry* entry = live_entry(AT_FDCWD, path);
  if (entry != NULL) {
    const int error = varve_truncate(&shim.env, entry, (uint64_t)bytes);
    if (error != ESTALE) return fail(error);
  }
  return (int)syscall(SYS_truncate, path, bytes);
}
SHIM_EXPORT int truncate64(const char* path, off64_t bytes) {
  return truncate(path, bytes);
}

SHIM_EXPORT int unlinkat(int directory, const char* path, int flags) {
  struct varve_entry* entry = (flags & AT_REMOVEDIR) ? NULL : live_entry(directory, path);
  if (entry != NULL) return fail(varve_unlink(&shim.env, entry));
  return (int)syscall(SYS_unlinkat, directory, path, flags);
}
SHIM_EXPORT int unlink(const char* path) {
  return unlinkat(AT_FDCWD, path, 0);
}
SHIM_EXPORT int remove(const char* path) {
  const int result = unlinkat(AT_FDCWD, path, 0);
  return result != 0 && errno == EISDIR ? unlinkat(AT_FDCWD, path, AT_REMOVEDIR) : result;
}

/* Postgres never renames or links what is lazy; somebody who does would take the pages' name away
 * from them. */
SHIM_EXPORT int renameat2(int from_directory, const char* from, int to_directory, const char* to,
                          unsigned flags) {
  if (live_entry(from_directory, from) != NULL || live_entry(to_directory, to) != NULL) {
    return refuse(EIO, "rename of a lazy file");
  }
  return (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, flags);
}
SHIM_EXPORT int renameat(int from_directory, const char* from, int to_directory, const char* to) {
  return renameat2(from_directory, from, to_directory, to, 0);
}
SHIM_EXPORT int rename(const char* from, const char* to) {
  return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

SHIM_EXPORT int linkat(int from_directory, const char* from, int to_directory, const char* to,
                       int flags) {
  if (live_entry(from_directory, from) != NULL) return refuse(EIO, "link to a lazy file");
  return (int)syscall(SYS_linkat, from_directory, from, to_directory, to, flags);
}
SHIM_EXPORT int link(const char* from, const char* to) {
  return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- refused: tablespaces ---- */

static int in_tablespaces(int directory, const char* path) {
  char buffer[SHIM_PATH_SIZE];
  if (!shim.armed) return 0;
  const char* relative = shim_relative(directory, path, buffer);
  return relative != NULL && strncmp(relative, "pg_tblspc/", 10) == 0;
}

SHIM_EXPORT int symlinkat(const char* target, int directory, const char* path) {
  if (in_tablespaces(directory, path)) return refuse(EPERM, "tablespaces are not supported");
  return (int)syscall(SYS_symlinkat, target, directory, path);
}
SHIM_EXPORT int symlink(const char* target, const char* path) {
  return symlinkat(target, AT_FDCWD, path);
}
SHIM_EXPORT int mkdirat(int directory, const char* path, mode_t mode) {
  if (in_tablespaces(directory, path)) return refuse(EPERM, "tablespaces are not supported");
  const int result = (int)syscall(SYS_mkdirat, directory, path, mode);
  if (result == 0) report_made(directory, path);
  return result;
}
SHIM_EXPORT int mkdir(const char* path, mode_t mode) {
  return mkdirat(AT_FDCWD, path, mode);
}

/* ---- the death of the postmaster is the death of its children ---- */

SHIM_EXPORT int prctl(int option, ...) {
  va_list arguments;
  va_start(arguments, option);
  unsigned long a[4];
  for (int i = 0; i < 4; ++i) a[i] = va_arg(arguments, unsigned long);
  va_end(arguments);
  if (shim.armed && option == PR_SET_PDEATHSIG) {
    a[0] = 9; /* SIGKILL; Postgres asks for a signal that only sets a flag */
    const int result = (int)syscall(SYS_prctl, option, a[0], a[1], a[2], a[3]);
    if (getpid() != shim.postmaster && getppid() != shim.postmaster)
      shim_die("the postmaster is gone");
    return result;
  }
  return (int)syscall(SYS_prctl, option, a[0], a[1], a[2], a[3]);
}

/* ---- System V shared memory: nobody comes back for it ----
 *
 * Postgres makes a small segment so that a second postmaster in its directory finds it; the kernel
 * keeps it when they are all killed, and the next postmaster in the directory removes it. Here each
 * life has a directory of its own, so after 4,096 kills (SHMMNI) no Postgres of the machine could
 * start. A segment that is marked as removed lives for as long as a process is attached: so the one
 * that made it marks it as soon as it is. That nobody finds it any more is no loss: what keeps
 * lives apart is the agent. */

static int made_here(int segment) {
  struct shmid_ds about;
  return syscall(SYS_shmctl, segment, IPC_STAT, &about) == 0 && about.shm_cpid == getpid();
}

SHIM_EXPORT void* shmat(int segment, const void* address, int flags) {
  void* const at = (void*)syscall(SYS_shmat, segment, address, flags);
  /* Postgres attaches to others', too, to see whether they are in use. */
  if (shim.armed && at != (void*)-1 && made_here(segment)) {
    const int error = errno;
    (void)syscall(SYS_shmctl, segment, IPC_RMID, NULL);
    errno = error;
  }
  return at;
}

SHIM_EXPORT int shmctl(int segment, int command, struct shmid_ds* about) {
  const int result = (int)syscall(SYS_shmctl, segment, command, about);
  /* Once it has let go, the kernel has removed it. */
  const int gone = result < 0 && (errno == EINVAL || errno == EIDRM);
  return shim.armed && command == IPC_RMID && gone ? 0 : result;
}

/* ---- streams: they read past us, so the file is made whole first ---- */

static int prepare_stream(const char* path, const char* mode) {
  struct varve_entry* entry = live_entry(AT_FDCWD, path);
  if (entry == NULL) return 0;
  if (mode[0] != 'r' || strchr(mode, '+') != NULL)
    return refuse(EIO, "a stream that writes a lazy file");
  int fd = -1;
  int bound = 0;
  int error = varve_open(&shim.env, entry, O_RDWR | O_CLOEXEC, 0, &fd, &bound);
  if (error == 0 && bound) error = shim_materialise(entry, fd);
  if (fd >= 0) shim_sys_close(fd);
  return fail(error);
}

typedef FILE* (*fopen_type)(const char*, const char*);
typedef FILE* (*fdopen_type)(int, const char*);
typedef FILE* (*freopen_type)(const char*, const char*, FILE*);

SHIM_EXPORT FILE* fopen(const char* path, const char* mode) {
  static fopen_type real;
  char buffer[SHIM_PATH_SIZE];
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "fopen");
  if (prepare_stream(path, mode) != 0) return NULL;
  const char* relative = shim.armed ? shim_relative(AT_FDCWD, path, buffer) : NULL;
  FILE* stream = real(shim_place(relative, path), mode);
  if (stream != NULL && relative != NULL && mode[0] != 'r') report_unknown(relative);
  return stream;
}
SHIM_EXPORT FILE* fopen64(const char* path, const char* mode) {
  return fopen(path, mode);
}

SHIM_EXPORT FILE* fdopen(int fd, const char* mode) {
  static fdopen_type real;
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "fdopen");
  struct varve_entry* entry = shim_lazy(fd);
  if (entry != NULL && (mode[0] != 'r' || strchr(mode, '+') != NULL)) {
    refuse(EIO, "a stream that writes a lazy file");
    return NULL;
  }
  return entry == NULL || fail(shim_materialise(entry, fd)) == 0 ? real(fd, mode) : NULL;
}

SHIM_EXPORT FILE* freopen(const char* path, const char* mode, FILE* stream) {
  static freopen_type real;
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "freopen");
  return path == NULL || prepare_stream(path, mode) == 0 ? real(path, mode, stream) : NULL;
}
SHIM_EXPORT FILE* freopen64(const char* path, const char* mode, FILE* stream) {
  return freopen(path, mode, stream);
}
