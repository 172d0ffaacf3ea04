// Stands between the server and the C library (LD_PRELOAD), for tests.
//
// COFFER_SHIM_ROOTS  folders, separated by colons: what happens under them is traced and counted
// COFFER_SHIM_TRACE  file: each call that changes something there, in the order in which they happened
// COFFER_SHIM_FULL   file: while it holds a number N, the disk is full after N more bytes (0: at once)
//
// Whoever else appends a record of kind 9 to the trace has it in its true place, too.
//
// One mutex is held around the call and its record, so the trace's order is the true one. A record is five numbers of
// eight bytes (the clock before the call, CLOCK_MONOTONIC, in ns; the kind; the file's inode; an offset, size or flags;
// the payload's length) and the payload, in one append. What the shim cannot follow ends the program: a trace with a gap proves nothing.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, TRUNCATE, RENAME, UNLINK, FSYNC, FDATASYNC, MKDIR };
enum { FDS = 65536, ROOTS = 8 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char *roots[ROOTS];
static const char *full;
static int trace = -1;
static uint64_t used;
static uint64_t inodes[FDS]; // of descriptors under the roots; 0 for all others

static void die(const char *why) {
  dprintf(2, "shim: %s\n", why);
  _exit(99);
}

__attribute__((constructor)) static void begin(void) {
  char *list = getenv("COFFER_SHIM_ROOTS"), *file = getenv("COFFER_SHIM_TRACE");
  full = getenv("COFFER_SHIM_FULL");
  if (!list) return;
  int count = 0;
  for (char *root = strtok(strdup(list), ":"); root && count < ROOTS; root = strtok(NULL, ":")) roots[count++] = root;
  if (file) {
    trace = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace < 0) die("the trace cannot be opened");
  }
}

static int under(const char *path) {
  for (int i = 0; i < ROOTS && roots[i]; i++) {
    size_t length = strlen(roots[i]);
    if (!strncmp(path, roots[i], length) && (path[length] == '/' || !path[length])) return 1;
  }
  return 0;
}

static uint64_t inode(int fd) { return fd >= 0 && fd < FDS ? inodes[fd] : 0; }

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void record(uint64_t at, uint64_t kind, uint64_t file, uint64_t number, const void *payload, uint64_t length) {
  if (trace < 0) return;
  int saved = errno;
  uint64_t head[5] = {at, kind, file, number, length};
  struct iovec parts[2] = {{head, sizeof head}, {(void *)payload, length}};
  if (syscall(SYS_writev, trace, parts, 2) != (long)(sizeof head + length)) die("the trace cannot be written");
  errno = saved;
}

// Bytes that the disk has room for; SIZE_MAX where it has no end.
static size_t room(void) {
  if (!full) return SIZE_MAX;
  char text[32] = {0};
  int fd = syscall(SYS_openat, AT_FDCWD, full, O_RDONLY | O_CLOEXEC);
  if (fd < 0) { used = 0; return SIZE_MAX; }
  long got = syscall(SYS_read, fd, text, sizeof text - 1);
  syscall(SYS_close, fd);
  if (got <= 0) return SIZE_MAX;
  uint64_t limit = strtoull(text, NULL, 10);
  return used < limit ? limit - used : 0;
}


static int opened(uint64_t at, int fd, const char *path, int flags) {
  struct stat status;
  if (fd >= FDS || fstat(fd, &status)) die("a descriptor cannot be followed");
  inodes[fd] = status.st_ino;
  record(at, OPEN, status.st_ino, (flags & O_TRUNC ? 1 : 0) | (S_ISDIR(status.st_mode) ? 2 : 0), path, strlen(path));
  return fd;
}

static int open_path(int dir, const char *path, int flags, int mode) {
  if (path[0] != '/' || !under(path)) {
    int fd = syscall(SYS_openat, dir, path, flags, mode);
    if (inode(dir) && fd >= 0 && (flags & O_ACCMODE) != O_RDONLY) die("a file is opened by its folder");
    return fd;
  }
  pthread_mutex_lock(&mutex);
  uint64_t at = now();
  int fd = -1;
  if (flags & O_CREAT && access(path, F_OK) && !room()) errno = ENOSPC;
  else fd = syscall(SYS_openat, dir, path, flags, mode);
  if (fd >= 0) opened(at, fd, path, flags);
  pthread_mutex_unlock(&mutex);
  return fd;
}

static int mode_of(int flags, va_list arguments) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0; }
#define OPENER(name) \
  int name(const char *path, int flags, ...) { \
    va_list arguments; va_start(arguments, flags); \
    int mode = mode_of(flags, arguments); va_end(arguments); \
    return open_path(AT_FDCWD, path, flags, mode); }
#define OPENER_AT(name) \
  int name(int dir, const char *path, int flags, ...) { \
    va_list arguments; va_start(arguments, flags); \
    int mode = mode_of(flags, arguments); va_end(arguments); \
    return open_path(dir, path, flags, mode); }
OPENER(open) OPENER(open64) OPENER_AT(openat) OPENER_AT(openat64)

int close(int fd) {
  if (!inode(fd)) return syscall(SYS_close, fd);
  pthread_mutex_lock(&mutex);
  inodes[fd] = 0;
  int result = syscall(SYS_close, fd);
  pthread_mutex_unlock(&mutex);
  return result;
}

static int control(int fd, int command, long argument) {
  int result = syscall(SYS_fcntl, fd, command, argument);
  if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && result >= 0 && result < FDS) inodes[result] = inode(fd);
  return result;
}
int fcntl(int fd, int command, ...) {
  va_list arguments; va_start(arguments, command);
  long argument = va_arg(arguments, long); va_end(arguments);
  return control(fd, command, argument);
}
int fcntl64(int fd, int command, ...) {
  va_list arguments; va_start(arguments, command);
  long argument = va_arg(arguments, long); va_end(arguments);
  return control(fd, command, argument);
}

static ssize_t put(int fd, const void *bytes, size_t length, off64_t offset, int positioned) {
  if (!inode(fd))
    return positioned ? syscall(SYS_pwrite64, fd, bytes, length, offset) : syscall(SYS_write, fd, bytes, length);
  pthread_mutex_lock(&mutex);
  uint64_t at = now();
  size_t left = room();
  ssize_t wrote = -1;
  if (!left && length) errno = ENOSPC;
  else {
    if (length > left) length = left;
    wrote = positioned ? syscall(SYS_pwrite64, fd, bytes, length, offset) : syscall(SYS_write, fd, bytes, length);
  }
  if (wrote > 0) {
    used += (uint64_t)wrote;
    if (!positioned) offset = lseek(fd, 0, SEEK_CUR) - wrote;
    record(at, WRITE, inode(fd), (uint64_t)offset, bytes, (uint64_t)wrote);
  }
  pthread_mutex_unlock(&mutex);
  return wrote;
}
ssize_t write(int fd, const void *bytes, size_t length) { return put(fd, bytes, length, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return put(fd, bytes, length, offset, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) { return put(fd, bytes, length, offset, 1); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
  // A short write is an answer that every caller must know: the first part is enough.
  if (!inode(fd)) return syscall(SYS_writev, fd, parts, count);
  for (int i = 0; i < count; i++) if (parts[i].iov_len) return put(fd, parts[i].iov_base, parts[i].iov_len, 0, 0);
  return 0;
}

static int resize(int fd, off64_t size) {
  pthread_mutex_lock(&mutex);
  uint64_t at = now();
  int result = syscall(SYS_ftruncate, fd, size);
  if (!result && inode(fd)) record(at, TRUNCATE, inode(fd), (uint64_t)size, "", 0);
  pthread_mutex_unlock(&mutex);
  return result;
}
int ftruncate(int fd, off_t size) { return resize(fd, size); }
int ftruncate64(int fd, off64_t size) { return resize(fd, size); }

// Taken as growth to that size.
static int allocate(int fd, int mode, off64_t offset, off64_t length) {
  if (!inode(fd)) return syscall(SYS_fallocate, fd, mode, offset, length);
  if (mode) die("fallocate with a mode");
  pthread_mutex_lock(&mutex);
  uint64_t at = now();
  struct stat status;
  int result = -1;
  if (room() < (uint64_t)length) errno = ENOSPC;
  else result = syscall(SYS_fallocate, fd, mode, offset, length);
  if (!result && !fstat(fd, &status)) record(at, TRUNCATE, inode(fd), (uint64_t)status.st_size, "", 0);
  pthread_mutex_unlock(&mutex);
  return result;
}
int fallocate(int fd, int mode, off_t offset, off_t length) { return allocate(fd, mode, offset, length); }
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { return allocate(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) { return allocate(fd, 0, offset, length) ? errno : 0; }
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return allocate(fd, 0, offset, length) ? errno : 0; }

static int sync_file(int fd, int kind, long call) {
  if (!inode(fd)) return syscall(call, fd);
  pthread_mutex_lock(&mutex);
  uint64_t at = now();
  int result = syscall(call, fd);
  if (!result) record(at, kind, inode(fd), 0, "", 0);
  pthread_mutex_unlock(&mutex);
  return result;
}
int fsync(int fd) { return sync_file(fd, FSYNC, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, FDATASYNC, SYS_fdatasync); }

int rename(const char *from, const char *to) {
  if (!under(from) && !under(to)) return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  char both[2 * PATH_MAX];
  int length = snprintf(both, sizeof both, "%s%c%s", from, 0, to);
  pthread_mutex_lock(&mutex);
  uint64_t at = now();
  int result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  if (!result) record(at, RENAME, 0, 0, both, (uint64_t)length);
  pthread_mutex_unlock(&mutex);
  return result;
}

static int removed(const char *path, int flags) {
  if (!under(path)) return syscall(SYS_unlinkat, AT_FDCWD, path, flags);
  pthread_mutex_lock(&mutex);
  uint64_t at = now();
  int result = syscall(SYS_unlinkat, AT_FDCWD, path, flags);
  if (!result) record(at, UNLINK, 0, 0, path, strlen(path));
  pthread_mutex_unlock(&mutex);
  return result;
}
int unlink(const char *path) { return removed(path, 0); }
int rmdir(const char *path) { return removed(path, AT_REMOVEDIR); }
int unlinkat(int dir, const char *path, int flags) {
  if (path[0] == '/') return removed(path, flags);
  if (inode(dir) && trace >= 0) die("a file is removed by its folder");
  return syscall(SYS_unlinkat, dir, path, flags);
}

int mkdir(const char *path, mode_t mode) {
  if (!under(path)) return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  pthread_mutex_lock(&mutex);
  uint64_t at = now();
  int result = -1;
  if (access(path, F_OK) && !room()) errno = ENOSPC;
  else result = syscall(SYS_mkdirat, AT_FDCWD, path, mode);
  if (!result) record(at, MKDIR, 0, 0, path, strlen(path));
  pthread_mutex_unlock(&mutex);
  return result;
}
