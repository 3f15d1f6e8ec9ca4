/* The log's end of the commit gate: publishes what is written, and lets a sync return only when the
 * quorum holds it. */
#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "compute/shim/shim.h"

enum {
  SHIM_WAL_PAGE = 8192,
  SHIM_GATE_LOOK_MS = 200,
  SHIM_SYNC_FDATASYNC = 1,
  SHIM_RING_BYTES = 128 * 1024
};

static uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

int64_t shim_segment_of(const char* name, uint32_t* timeline) {
  uint32_t parts[3] = {0, 0, 0};
  for (int i = 0; i < 24; ++i) {
    const int digit = hex_value(name[i]);
    if (digit < 0) return -1;
    parts[i / 8] = parts[i / 8] << 4 | (uint32_t)digit;
  }
  if (name[24] != 0) return -1;
  *timeline = parts[0];
  return (int64_t)(parts[1] * (0x100000000ull / shim.arena->wal_segment_bytes) + parts[2]);
}

static void ring(void) {
  const uint64_t one = 1;
  (void)!syscall(SYS_write, shim.bell_fd, &one, sizeof one);
}

/* Settings that a superuser can reload must not turn the gate off. */
static void check_settings(void) {
  if (*shim.enable_fsync == 0) shim_die("fsync is off: commits would not wait for the quorum");
  if (*shim.sync_method != SHIM_SYNC_FDATASYNC)
    shim_die("wal_sync_method is not fdatasync: commits would not wait");
}

/* Tells that [buffer, buffer + bytes) now stands in the log at `at`. */
static void publish(uint64_t at, const uint8_t* buffer, uint64_t bytes) {
  struct varve_wal_tail told;
  memset(&told, 0, sizeof told);
  bytes -= (at + bytes) % SHIM_WAL_PAGE; /* a short write: the rest of the page follows */
  if (bytes == 0 || bytes > SIZE_MAX / 2) return;
  told.end = at + bytes;
  told.write_start = at;
  told.page_address = (uint64_t)(uintptr_t)(buffer + bytes - SHIM_WAL_PAGE);
  for (uint64_t i = bytes; i >= 8; i -= 8) {
    uint64_t word;
    memcpy(&word, buffer + i - 8, 8);
    if (word == 0) continue;
    told.nonzero_lsn = at + i - 8;
    told.nonzero_value = word;
    break;
  }
  varve_tail_publish(&shim.arena->tail, &told);
  varve_count(&shim.arena->counters.wal_writes, 1);
}

ssize_t shim_wal_write(int fd, struct shim_fd* known, const void* buffer, size_t bytes,
                       off_t offset) {
  switch ((enum varve_mode)shim.arena->mode) {
    case VARVE_MODE_STANDBY:
      return syscall(SYS_pwrite64, fd, buffer, bytes, offset);
    case VARVE_MODE_READER:
      shim_die("a reader of the past must not write the log");
    case VARVE_MODE_PRIMARY:
      break;
  }
  check_settings();
  const ssize_t written = syscall(SYS_pwrite64, fd, buffer, bytes, offset);
  if (written > 0) {
    const int saved = errno;
    publish(known->place * shim.arena->wal_segment_bytes + (uint64_t)offset, buffer,
            (uint64_t)written);
    if (written >= SHIM_RING_BYTES) ring(); /* a lot: let it travel before somebody waits for it */
    errno = saved;
  }
  return written;
}

/* Writes the last page again from Postgres' buffer, which other backends may have completed
 * meanwhile. Only while the buffer still holds that page: the caller holds Postgres' WAL write
 * lock, so a partial page can't be replaced. */
static void rewrite_last_page(int fd, const struct shim_fd* known) {
  const struct varve_wal_tail* tail = &shim.arena->tail;
  const uint64_t end = varve_load64(&tail->end);
  const uint8_t* page = (const uint8_t*)(uintptr_t)varve_load64(&tail->page_address);
  const uint64_t segment_bytes = shim.arena->wal_segment_bytes;
  if (end == 0 || page == NULL || (end - 1) / segment_bytes != known->place) return;
  const uint64_t at = end - SHIM_WAL_PAGE;
  uint64_t address;
  memcpy(&address, page + 8, sizeof address);
  if (address != at) return;
  if (syscall(SYS_pwrite64, fd, page, SHIM_WAL_PAGE, at % segment_bytes) != SHIM_WAL_PAGE) return;
  publish(at, page, SHIM_WAL_PAGE);
  varve_count(&shim.arena->counters.rewrites, 1);
}

static void tell_inserted(void) {
  if (shim.insert_pointer != NULL) varve_store64(&shim.arena->tail.inserted, shim.insert_pointer());
}

/* GetFlushRecPtr refreshes this process' copy of how far the log is written. Inside XLogWrite,
 * where the gate is, that would undo what XLogWrite has just noted there; after a page was written
 * to its file it is harmless. */
void shim_tell_flushed(void) {
  if (shim.flush_pointer == NULL || shim.arena->mode != VARVE_MODE_PRIMARY ||
      getpid() == shim.postmaster)
    return;
  uint64_t* told = &shim.arena->tail.flushed;
  const uint64_t now = shim.flush_pointer(NULL);
  uint64_t before = __atomic_load_n(told, __ATOMIC_RELAXED);
  while (before < now &&
         !__atomic_compare_exchange_n(told, &before, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
  }
}

void shim_wal_gate(int fd, struct shim_fd* known) {
  struct varve_gate* gate = &shim.arena->gate;
  if (shim.arena->mode != VARVE_MODE_PRIMARY) return;
  check_settings();
  const uint64_t began = now_us();
  uint64_t rewrites = varve_load64(&gate->rewrite);
  tell_inserted();
  const uint64_t ticket = __atomic_add_fetch(&shim.arena->tail.tickets, 1, __ATOMIC_SEQ_CST);
  ring();
  for (;;) {
    const uint32_t bell = varve_load32(&gate->bell);
    const int verdict = varve_gate_verdict(gate, shim.nonce, shim.term, ticket);
    if (verdict > 0) break;
    if (verdict < 0) shim_die("the commit gate is closed");
    const uint64_t wanted = varve_load64(&gate->rewrite);
    if (wanted != rewrites) {
      rewrites = wanted;
      rewrite_last_page(fd, known);
      tell_inserted();
      ring();
      continue;
    }
    const struct timespec limit = {0, SHIM_GATE_LOOK_MS * 1000000L};
    (void)syscall(SYS_futex, &gate->bell, FUTEX_WAIT, bell, &limit, NULL, 0);
    shim_check_agent();
  }
  varve_count(&shim.arena->counters.gate_passes, 1);
  varve_count(&shim.arena->counters.gate_waits_us, now_us() - began);
}
