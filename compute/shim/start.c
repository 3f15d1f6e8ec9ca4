/* How a process of Postgres becomes ours: the constructor takes over what the agent left in the
 * environment, tests that every symbol is bound to us, says hello and waits for go. Until then
 * Postgres' main() has not begun, and without go it never does. */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "compute/shim/shim.h"

struct shim shim;
struct shim_fd shim_fds[SHIM_MOST_FDS];

/* Every symbol that is interposed; the self-test wants each bound to this library. */
static const char* const kSymbols[] = {
    "open",          "open64",
    "openat",        "openat64",
    "__open_2",      "__open64_2",
    "__openat_2",    "__openat64_2",
    "creat",         "creat64",
    "close",         "close_range",
    "closefrom",     "dup",
    "dup2",          "dup3",
    "fcntl",         "fcntl64",
    "pread",         "pread64",
    "preadv",        "preadv64",
    "preadv2",       "preadv64v2",
    "read",          "readv",
    "__read_chk",    "__pread_chk",
    "__pread64_chk", "pwrite",
    "pwrite64",      "pwritev",
    "pwritev64",     "pwritev2",
    "pwritev64v2",   "write",
    "writev",        "ftruncate",
    "ftruncate64",   "truncate",
    "truncate64",    "unlink",
    "unlinkat",      "remove",
    "rename",        "renameat",
    "renameat2",     "link",
    "linkat",        "symlink",
    "symlinkat",     "mkdir",
    "mkdirat",       "fsync",
    "fdatasync",     "syncfs",
    "sync",          "sync_file_range",
    "posix_fadvise", "posix_fadvise64",
    "fallocate",     "fallocate64",
    "fopen",         "fopen64",
    "fdopen",        "freopen",
    "freopen64",     "mmap",
    "mmap64",        "sendfile",
    "sendfile64",    "copy_file_range",
    "splice",        "prctl",
    "shmat",         "shmctl",
};

static void say(const char* text) {
  (void)!write(2, text, strlen(text));
}

void shim_die(const char* why) {
  say("varve shim: ");
  say(why);
  say("; this process ends here\n");
  _exit(2);
}

void shim_check_agent(void) {
  struct pollfd life = {.fd = shim.life_fd, .events = POLLIN};
  if (poll(&life, 1, 0) > 0 && (life.revents & (POLLHUP | POLLERR | POLLIN)))
    shim_die("the agent is gone");
}

static void self_test(struct varve_hello* hello) {
  Dl_info mine;
  if (dladdr((const void*)&shim_die, &mine) == 0) shim_die("dladdr does not know the shim");
  for (size_t i = 0; i < sizeof kSymbols / sizeof *kSymbols; ++i) {
    Dl_info found;
    void* bound = dlsym(RTLD_DEFAULT, kSymbols[i]);
    if (bound != NULL && dladdr(bound, &found) != 0 && found.dli_fbase == mine.dli_fbase) {
      ++hello->interposed;
    } else if (hello->missed++ == 0) {
      strncpy(hello->first_missed, kSymbols[i], sizeof hello->first_missed - 1);
    }
  }
}

static int await(int fd) {
  for (;;) {
    struct pollfd both[2] = {{.fd = fd, .events = POLLIN}, {.fd = shim.life_fd, .events = POLLIN}};
    const int ready = poll(both, 2, 1000);
    if (ready < 0 && errno != EINTR) return -1;
    if (ready > 0 && both[1].revents != 0) shim_die("the agent is gone");
    if (ready > 0 && both[0].revents != 0) return 0;
  }
}

int shim_connect(enum varve_process_kind kind) {
  const int raw = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (raw < 0) return -1;
  /* High, out of the way of whoever counts or reuses descriptors. */
  int fd = (int)syscall(SYS_fcntl, raw, F_DUPFD_CLOEXEC, 700);
  if (fd < 0) fd = raw;
  if (fd != raw) shim_sys_close(raw);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, shim.socket, sizeof address.sun_path);
  struct varve_hello hello = {
      .message = {VARVE_PROTOCOL_MAGIC, VARVE_PROTOCOL_VERSION, VARVE_HELLO, shim.nonce},
      .pid = (uint32_t)getpid(),
      .kind = (uint32_t)kind,
      .arena_version = VARVE_ARENA_VERSION,
  };
  if (kind == VARVE_POSTMASTER) self_test(&hello);
  struct varve_go go;
  memset(&go, 0, sizeof go);
  const int said = connect(fd, (struct sockaddr*)&address, sizeof address) == 0 &&
                   send(fd, &hello, sizeof hello, MSG_NOSIGNAL) == (ssize_t)sizeof hello &&
                   await(fd) == 0 && recv(fd, &go, sizeof go, 0) == (ssize_t)sizeof go;
  if (!said || go.message.magic != VARVE_PROTOCOL_MAGIC || go.message.type != VARVE_GO ||
      go.message.nonce != shim.nonce) {
    shim_sys_close(fd);
    return -1;
  }
  if (go.accept != 1) {
    go.text[VARVE_TEXT_SIZE - 1] = 0;
    shim_die(go.text);
  }
  shim.term = go.term;
  return fd;
}

/* A descriptor of the environment, moved up and closed on exec. */
static int take_fd(const char* name) {
  const char* text = getenv(name);
  const int low = text == NULL ? -1 : atoi(text);
  const int fd = low < 0 ? -1 : (int)syscall(SYS_fcntl, low, F_DUPFD_CLOEXEC, 600);
  if (fd < 0) shim_die(name);
  shim_sys_close(low);
  return fd;
}

static void take_text(const char* name, char* out, size_t size) {
  const char* text = getenv(name);
  if (text == NULL || strlen(text) >= size) shim_die(name);
  strcpy(out, text); /* a copy: Postgres overwrites the environment's memory with its titles */
}

static void take_arena(int fd) {
  struct stat about;
  if (fstat(fd, &about) != 0) shim_die("the arena has no size");
  void* memory =
      mmap(NULL, (size_t)about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (memory == MAP_FAILED) shim_die("the arena can't be mapped");
  (void)madvise(memory, (size_t)about.st_size, MADV_DONTDUMP);
  const char* problem = varve_arena_problem(memory, (uint64_t)about.st_size, shim.nonce);
  if (problem != NULL) shim_die(problem);
  shim.arena = memory;
}

static void find_postgres(void) {
  shim.crit_section_count = dlsym(RTLD_DEFAULT, "CritSectionCount");
  shim.proc_die_pending = dlsym(RTLD_DEFAULT, "ProcDiePending");
  shim.enable_fsync = dlsym(RTLD_DEFAULT, "enableFsync");
  shim.sync_method = dlsym(RTLD_DEFAULT, "sync_method");
  if (shim.sync_method == NULL)
    shim.sync_method = dlsym(RTLD_DEFAULT, "wal_sync_method"); /* since 17 */
  *(void**)&shim.flush_pointer = dlsym(RTLD_DEFAULT, "GetFlushRecPtr");
  *(void**)&shim.insert_pointer = dlsym(RTLD_DEFAULT, "GetXLogInsertRecPtr");
}

__attribute__((constructor)) static void shim_start(void) {
  if (strcmp(program_invocation_short_name, "postgres") != 0 || getenv(VARVE_ENV_ARENA_FD) == NULL)
    return;
  const char* nonce = getenv(VARVE_ENV_NONCE);
  if (nonce == NULL || strlen(nonce) != 16) shim_die(VARVE_ENV_NONCE);
  shim.nonce = strtoull(nonce, NULL, 16);
  take_text(VARVE_ENV_DATA, shim.data, sizeof shim.data);
  take_text(VARVE_ENV_SOCKET, shim.socket, sizeof shim.socket);
  strcpy(shim.control, shim.data);
  char* last = strrchr(shim.control, '/');
  if (last == NULL || (size_t)(last - shim.control) + sizeof "/control" > sizeof shim.control)
    shim_die(VARVE_ENV_DATA);
  strcpy(last, "/control");
  shim.life_fd = take_fd(VARVE_ENV_LIFE_FD);
  shim.bell_fd = take_fd(VARVE_ENV_BELL_FD);
  const int arena_fd = take_fd(VARVE_ENV_ARENA_FD);
  take_arena(arena_fd);
  shim_sys_close(arena_fd);
  const int directory = shim_sys_open(AT_FDCWD, shim.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (directory < 0) shim_die("the data directory can't be opened");
  shim.data_fd = (int)syscall(SYS_fcntl, directory, F_DUPFD_CLOEXEC, 600);
  shim_sys_close(directory);
  if (shim.data_fd < 0) shim_die("no descriptor for the data directory");
  static const char* const kGone[] = {VARVE_ENV_ARENA_FD, VARVE_ENV_LIFE_FD, VARVE_ENV_BELL_FD,
                                      VARVE_ENV_SOCKET,   VARVE_ENV_DATA,    VARVE_ENV_NONCE,
                                      "LD_PRELOAD"};
  for (size_t i = 0; i < sizeof kGone / sizeof *kGone; ++i) unsetenv(kGone[i]);
  find_postgres();
  if (shim.arena->mode == VARVE_MODE_PRIMARY &&
      (shim.enable_fsync == NULL || shim.sync_method == NULL)) {
    shim_die("this postgres does not export enableFsync and its sync method");
  }
  shim.postmaster = getpid();
  shim_env_init(&shim.env);
  if (shim_connect(VARVE_POSTMASTER) < 0) shim_die("the agent did not say go");
  /* The connection stays open: its end tells the agent of this process' end. */
  shim.armed = 1;
}
