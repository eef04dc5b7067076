/* Stands between a process and the system: counts what it does to files below one folder, and kills it, or has a call
 * fail, at one of them. For `tests/crash`, by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { OFF, COUNT, KILL, TORN, FAIL_ONCE, FAIL_ON };

static char folder[PATH_MAX];
static long target, seen;
static int mode, reason;
static unsigned char inside[65536];
static char last[64];

void crash_arm(const char *prefix, long at, int what, int error) {
    strncpy(folder, prefix, sizeof folder - 1);
    target = at, seen = 0, mode = what, reason = error;
}
long crash_count(void) { return seen; }
const char *crash_last(void) { return last; }

static int below(const char *path) {
    char whole[PATH_MAX * 2];
    if (!mode || !path) return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, PATH_MAX)) return 0;
        strcat(whole, "/");
        strncat(whole, path, PATH_MAX - 1);
    } else {
        strncpy(whole, path, sizeof whole - 1);
        whole[sizeof whole - 1] = 0;
    }
    return !strncmp(whole, folder, strlen(folder));
}

/* Returns whether the call has to fail; does not return if the process dies here. */
static int point(const char *what) {
    long now = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
    if (now == target) strncpy(last, what, sizeof last - 1);
    if (now == target && mode == KILL) kill(getpid(), SIGKILL);
    /* On a full disk what takes no room goes on. */
    int takes_room = strcmp(what, "fsync") && strcmp(what, "unlink") && strcmp(what, "rename");
    if ((now == target && mode == FAIL_ONCE) || (now >= target && mode == FAIL_ON && takes_room)) {
        errno = reason;
        return 1;
    }
    return 0;
}
/* Returns how much of a write is made: half of it, if the process dies in the middle. */
static size_t torn(size_t size) { return mode == TORN && seen == target ? size / 2 : size; }
static void after(const char *what) {
    if (mode == TORN && seen == target && strstr(what, "write")) kill(getpid(), SIGKILL);
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)
#define GUARDED(applies, what, call) \
    int counted = (applies); \
    if (counted && point(what)) return -1; \
    long result = (call); \
    if (counted) { int kept = errno; after(what); errno = kept; } \
    return result

static int opened(int fd, const char *path) {
    if (fd >= 0 && fd < (int)sizeof inside) inside[fd] = below(path);
    return fd;
}
static int marked(int fd) { return mode && fd >= 0 && fd < (int)sizeof inside && inside[fd]; }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list list; va_start(list, flags); mode_t bits = va_arg(list, mode_t); va_end(list); \
        REAL(int, name, const char *, int, ...); \
        GUARDED((flags & O_CREAT) && below(path), "open", opened(real(path, flags, bits), path)); \
    }
OPEN(open)
OPEN(open64)
#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        va_list list; va_start(list, flags); mode_t bits = va_arg(list, mode_t); va_end(list); \
        REAL(int, name, int, const char *, int, ...); \
        GUARDED((flags & O_CREAT) && below(path), "open", opened(real(at, path, flags, bits), path)); \
    }
OPENAT(openat)
OPENAT(openat64)
int close(int fd) {
    REAL(int, close, int);
    if (fd >= 0 && fd < (int)sizeof inside) inside[fd] = 0;
    return real(fd);
}
ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    GUARDED(marked(fd), "write", real(fd, data, counted ? torn(size) : size));
}
#define PWRITE(name) \
    ssize_t name(int fd, const void *data, size_t size, off_t place) { \
        REAL(ssize_t, name, int, const void *, size_t, off_t); \
        GUARDED(marked(fd), "pwrite", real(fd, data, counted ? torn(size) : size, place)); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)
#define TRUNCATE(name) \
    int name(int fd, off_t size) { \
        REAL(int, name, int, off_t); \
        GUARDED(marked(fd), "truncate", real(fd, size)); \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)
int fsync(int fd) {
    REAL(int, fsync, int);
    GUARDED(marked(fd), "fsync", real(fd));
}
int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    GUARDED(marked(fd), "fsync", real(fd));
}
int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    GUARDED(below(to), "rename", real(from, to));
}
int unlink(const char *path) {
    REAL(int, unlink, const char *);
    GUARDED(below(path), "unlink", real(path));
}
int mkdir(const char *path, mode_t bits) {
    REAL(int, mkdir, const char *, mode_t);
    GUARDED(below(path), "mkdir", real(path, bits));
}
