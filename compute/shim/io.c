/* Reads, writes and syncs on descriptors. */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "compute/shim/shim.h"

static ssize_t answer(int64_t result) {
  if (result >= 0) return (ssize_t)result;
  errno = (int)-result;
  return -1;
}

/* ---- reading at a position ---- */

static ssize_t read_at(struct shim_fd* known, int fd, void* buffer, size_t bytes, off_t offset) {
  if (offset < 0) return answer(-EINVAL);
  if (bytes == 0) return 0;
  const uint32_t ahead = shim_ahead(known, (uint64_t)offset, bytes);
  return answer(
      varve_read(&shim.env, shim_entry_of(known), fd, buffer, bytes, (uint64_t)offset, ahead));
}

SHIM_EXPORT ssize_t pread(int fd, void* buffer, size_t bytes, off_t offset) {
  struct shim_fd* known = shim_fd_of(fd);
  if (known != NULL && known->kind == SHIM_LAZY) return read_at(known, fd, buffer, bytes, offset);
  return syscall(SYS_pread64, fd, buffer, bytes, offset);
}
SHIM_EXPORT ssize_t pread64(int fd, void* buffer, size_t bytes, off64_t offset) {
  return pread(fd, buffer, bytes, offset);
}
SHIM_EXPORT ssize_t __pread_chk(int fd, void* buffer, size_t bytes, off_t offset, size_t room) {
  if (bytes > room) abort();
  return pread(fd, buffer, bytes, offset);
}
SHIM_EXPORT ssize_t __pread64_chk(int fd, void* buffer, size_t bytes, off64_t offset, size_t room) {
  return __pread_chk(fd, buffer, bytes, offset, room);
}

static size_t total(const struct iovec* parts, int count) {
  size_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += parts[i].iov_len;
  return bytes;
}

/* A whole range at once, so that what is missing is fetched in one go; then part by part. */
static ssize_t read_parts_at(struct shim_fd* known, int fd, const struct iovec* parts, int count,
                             off_t offset) {
  if (offset < 0 || count < 0) return answer(-EINVAL);
  const uint32_t ahead = shim_ahead(known, (uint64_t)offset, total(parts, count));
  const uint64_t rest = (total(parts, count) + VARVE_BLOCK_SIZE - 1) / VARVE_BLOCK_SIZE;
  const uint32_t wanted = rest > VARVE_FETCH_BLOCKS ? VARVE_FETCH_BLOCKS : (uint32_t)rest;
  ssize_t done = 0;
  for (int i = 0; i < count; ++i) {
    if (parts[i].iov_len == 0) continue;
    const int64_t got =
        varve_read(&shim.env, shim_entry_of(known), fd, parts[i].iov_base, parts[i].iov_len,
                   (uint64_t)offset + (uint64_t)done, wanted > ahead ? wanted : ahead);
    if (got < 0) return answer(got);
    done += got;
    if ((size_t)got < parts[i].iov_len) break;
  }
  return done;
}

SHIM_EXPORT ssize_t preadv(int fd, const struct iovec* parts, int count, off_t offset) {
  struct shim_fd* known = shim_fd_of(fd);
  if (known != NULL && known->kind == SHIM_LAZY)
    return read_parts_at(known, fd, parts, count, offset);
  return syscall(SYS_preadv, fd, parts, count, offset, 0);
}
SHIM_EXPORT ssize_t preadv64(int fd, const struct iovec* parts, int count, off64_t offset) {
  return preadv(fd, parts, count, offset);
}

/* ---- reading at the file's own position ---- */

static ssize_t read_here(struct shim_fd* known, int fd, const struct iovec* parts, int count) {
  const off_t at = syscall(SYS_lseek, fd, 0, SEEK_CUR);
  if (at < 0) return -1;
  const ssize_t got = read_parts_at(known, fd, parts, count, at);
  if (got > 0) (void)syscall(SYS_lseek, fd, at + got, SEEK_SET);
  return got;
}

SHIM_EXPORT ssize_t read(int fd, void* buffer, size_t bytes) {
  struct shim_fd* known = shim_fd_of(fd);
  if (known == NULL || known->kind != SHIM_LAZY) return syscall(SYS_read, fd, buffer, bytes);
  const struct iovec part = {buffer, bytes};
  return read_here(known, fd, &part, 1);
}
SHIM_EXPORT ssize_t __read_chk(int fd, void* buffer, size_t bytes, size_t room) {
  if (bytes > room) abort();
  return read(fd, buffer, bytes);
}
SHIM_EXPORT ssize_t readv(int fd, const struct iovec* parts, int count) {
  struct shim_fd* known = shim_fd_of(fd);
  if (known != NULL && known->kind == SHIM_LAZY) return read_here(known, fd, parts, count);
  return syscall(SYS_readv, fd, parts, count);
}
SHIM_EXPORT ssize_t preadv2(int fd, const struct iovec* parts, int count, off_t offset, int flags) {
  struct shim_fd* known = shim_fd_of(fd);
  if (known != NULL && known->kind == SHIM_LAZY) {
    return offset == -1 ? read_here(known, fd, parts, count)
                        : read_parts_at(known, fd, parts, count, offset);
  }
  return syscall(SYS_preadv2, fd, parts, count, offset, offset < 0 ? -1L : 0L, flags);
}
SHIM_EXPORT ssize_t preadv64v2(int fd, const struct iovec* parts, int count, off64_t offset,
                               int flags) {
  return preadv2(fd, parts, count, offset, flags);
}

/* ---- writing ---- */

SHIM_EXPORT ssize_t pwrite(int fd, const void* buffer, size_t bytes, off_t offset) {
  struct shim_fd* known = shim_fd_of(fd);
  if (known == NULL) return syscall(SYS_pwrite64, fd, buffer, bytes, offset);
  if (known->kind == SHIM_WAL) return shim_wal_write(fd, known, buffer, bytes, offset);
  if (offset < 0) return answer(-EINVAL);
  const int64_t written =
      varve_write(&shim.env, shim_entry_of(known), fd, buffer, bytes, (uint64_t)offset);
  shim_tell_flushed();
  return answer(written);
}
SHIM_EXPORT ssize_t pwrite64(int fd, const void* buffer, size_t bytes, off64_t offset) {
  return pwrite(fd, buffer, bytes, offset);
}

static ssize_t write_parts_at(int fd, const struct iovec* parts, int count, off_t offset) {
  ssize_t done = 0;
  for (int i = 0; i < count; ++i) {
    if (parts[i].iov_len == 0) continue;
    const ssize_t put = pwrite(fd, parts[i].iov_base, parts[i].iov_len, offset + done);
    if (put < 0) return done > 0 ? done : put;
    done += put;
    if ((size_t)put < parts[i].iov_len) break;
  }
  return done;
}

SHIM_EXPORT ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t offset) {
  if (shim_fd_of(fd) != NULL) return write_parts_at(fd, parts, count, offset);
  return syscall(SYS_pwritev, fd, parts, count, offset, 0);
}
SHIM_EXPORT ssize_t pwritev64(int fd, const struct iovec* parts, int count, off64_t offset) {
  return pwritev(fd, parts, count, offset);
}

static ssize_t write_here(int fd, const struct iovec* parts, int count) {
  const off_t at = syscall(SYS_lseek, fd, 0, SEEK_CUR);
  if (at < 0) return -1;
  const ssize_t put = write_parts_at(fd, parts, count, at);
  if (put > 0) (void)syscall(SYS_lseek, fd, at + put, SEEK_SET);
  return put;
}

SHIM_EXPORT ssize_t write(int fd, const void* buffer, size_t bytes) {
  if (shim_fd_of(fd) == NULL) return syscall(SYS_write, fd, buffer, bytes);
  const struct iovec part = {(void*)(uintptr_t)buffer, bytes};
  return write_here(fd, &part, 1);
}
SHIM_EXPORT ssize_t writev(int fd, const struct iovec* parts, int count) {
  if (shim_fd_of(fd) != NULL) return write_here(fd, parts, count);
  return syscall(SYS_writev, fd, parts, count);
}
SHIM_EXPORT ssize_t pwritev2(int fd, const struct iovec* parts, int count, off_t offset,
                             int flags) {
  struct shim_fd* known = shim_fd_of(fd);
  if (known != NULL && flags != 0)
    return answer(-EOPNOTSUPP); /* a sync or an append past the gate */
  if (known != NULL)
    return offset == -1 ? write_here(fd, parts, count) : write_parts_at(fd, parts, count, offset);
  return syscall(SYS_pwritev2, fd, parts, count, offset, offset < 0 ? -1L : 0L, flags);
}
SHIM_EXPORT ssize_t pwritev64v2(int fd, const struct iovec* parts, int count, off64_t offset,
                                int flags) {
  return pwritev2(fd, parts, count, offset, flags);
}

/* ---- syncs: the log goes through the gate, everything else is a cache ---- */

static int sync_fd(int fd, long number) {
  if (!shim.armed) return (int)syscall(number, fd);
  struct shim_fd* known = shim_fd_of(fd);
  if (known != NULL && known->kind == SHIM_WAL) shim_wal_gate(fd, known);
  return 0;
}
SHIM_EXPORT int fsync(int fd) {
  return sync_fd(fd, SYS_fsync);
}
SHIM_EXPORT int fdatasync(int fd) {
  return sync_fd(fd, SYS_fdatasync);
}
SHIM_EXPORT int syncfs(int fd) {
  return shim.armed ? 0 : (int)syscall(SYS_syncfs, fd);
}
SHIM_EXPORT void sync(void) {
  if (!shim.armed) (void)syscall(SYS_sync);
}
SHIM_EXPORT int sync_file_range(int fd, off64_t offset, off64_t bytes, unsigned flags) {
  return shim.armed ? 0 : (int)syscall(SYS_sync_file_range, fd, offset, bytes, flags);
}

/* ---- hints and space ---- */

SHIM_EXPORT int posix_fadvise(int fd, off_t offset, off_t bytes, int advice) {
  struct varve_entry* entry = shim_lazy(fd);
  if (entry != NULL && advice == POSIX_FADV_WILLNEED) {
    const int saved = errno;
    shim_prefetch(entry, (uint64_t)offset, (uint64_t)bytes);
    errno = saved;
  }
  return syscall(SYS_fadvise64, fd, offset, bytes, advice) == 0 ? 0 : errno;
}
SHIM_EXPORT int posix_fadvise64(int fd, off64_t offset, off64_t bytes, int advice) {
  return posix_fadvise(fd, offset, bytes, advice);
}

SHIM_EXPORT int fallocate(int fd, int mode, off_t offset, off_t bytes) {
  if (shim_lazy(fd) != NULL && (mode & ~FALLOC_FL_KEEP_SIZE) != 0) return (int)answer(-EOPNOTSUPP);
  return (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
}
SHIM_EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t bytes) {
  return fallocate(fd, mode, offset, bytes);
}

/* ---- copies inside the kernel: the source is made whole first, a lazy target is refused ---- */

/* 0: go on; -1 with errno: refused. */
static int prepare_source(int fd) {
  struct varve_entry* entry = shim_lazy(fd);
  if (entry == NULL) return 0;
  const int error = shim_materialise(entry, fd);
  if (error == 0) return 0;
  errno = error;
  return -1;
}

static int prepare_target(int fd) {
  if (shim_fd_of(fd) == NULL) return 0;
  shim_note(VARVE_NOTE_REFUSED, "a copy inside the kernel into a lazy file or the log");
  errno = EIO;
  return -1;
}

SHIM_EXPORT void* mmap(void* address, size_t bytes, int protection, int flags, int fd,
                       off_t offset) {
  if (shim_fd_of(fd) != NULL && !(flags & MAP_ANONYMOUS)) {
    const int shared_write = (protection & PROT_WRITE) && !(flags & MAP_PRIVATE);
    if (shared_write ? prepare_target(fd) != 0 : prepare_source(fd) != 0) return MAP_FAILED;
  }
  return (void*)syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
}
SHIM_EXPORT void* mmap64(void* address, size_t bytes, int protection, int flags, int fd,
                         off64_t offset) {
  return mmap(address, bytes, protection, flags, fd, offset);
}

SHIM_EXPORT ssize_t sendfile(int out, int in, off_t* offset, size_t bytes) {
  if (prepare_target(out) != 0 || prepare_source(in) != 0) return -1;
  return syscall(SYS_sendfile, out, in, offset, bytes);
}
SHIM_EXPORT ssize_t sendfile64(int out, int in, off64_t* offset, size_t bytes) {
  return sendfile(out, in, offset, bytes);
}
SHIM_EXPORT ssize_t copy_file_range(int in, off64_t* in_offset, int out, off64_t* out_offset,
                                    size_t bytes, unsigned flags) {
  if (prepare_target(out) != 0 || prepare_source(in) != 0) return -1;
  return syscall(SYS_copy_file_range, in, in_offset, out, out_offset, bytes, flags);
}
SHIM_EXPORT ssize_t splice(int in, off64_t* in_offset, int out, off64_t* out_offset, size_t bytes,
                           unsigned flags) {
  if (prepare_target(out) != 0 || prepare_source(in) != 0) return -1;
  return syscall(SYS_splice, in, in_offset, out, out_offset, bytes, flags);
}
