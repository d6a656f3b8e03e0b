/* Makes system calls on chosen files fail, stop half-way or end the process; tests/faults.py steers it.
 *
 * Loaded with LD_PRELOAD. The file that TEST_FAULTS names is mapped and shared, so that the rules can be changed
 * while the process runs, and calls are counted over all processes that share it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { RULES = 32, FAIL = 1, SHORT = 2, KILL_BEFORE = 3, KILL_AFTER = 4, COUNT = 5 };

struct rule {
    int32_t is_on, action, error, bytes;
    int64_t skip, times; /* calls that pass first; then so many are hit, negative: all */
    int64_t seen, hit;
    char call[16];
    char under[456];
};

static struct rule *rules;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TEST_FAULTS");
    int fd = path ? (int)open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, RULES * sizeof *rules, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) rules = at;
    close(fd);
}

static int is_under(const struct rule *rule, const char *path) { return strstr(path, rule->under) != NULL; }

/* Gives the rule that hits this call, if any. */
static struct rule *match(const char *call, const char *path) {
    if (!rules) return NULL;
    struct rule *found = NULL;
    for (struct rule *one = rules; one < rules + RULES; one++) {
        if (!__atomic_load_n(&one->is_on, __ATOMIC_ACQUIRE) || strcmp(one->call, call) || !is_under(one, path)) continue;
        int64_t number = __atomic_fetch_add(&one->seen, 1, __ATOMIC_ACQ_REL);
        if (number < one->skip || (one->times >= 0 && number >= one->skip + one->times) || one->action == COUNT) continue;
        __atomic_fetch_add(&one->hit, 1, __ATOMIC_ACQ_REL);
        if (one->action == KILL_BEFORE) raise(SIGKILL);
        if (!found) found = one;
    }
    return found;
}

static int is_wanted(const char *call) {
    for (struct rule *one = rules; rules && one < rules + RULES; one++)
        if (__atomic_load_n(&one->is_on, __ATOMIC_ACQUIRE) && !strcmp(one->call, call)) return 1;
    return 0;
}

static struct rule *match_fd(const char *call, int fd) {
    int before = errno;
    if (!is_wanted(call)) return NULL;
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof path - 1);
    errno = before;
    if (size < 0) return NULL;
    path[size] = 0;
    return match(call, path);
}

static struct rule *match_at(const char *call, int dir, const char *path) {
    int before = errno;
    if (!is_wanted(call)) return NULL;
    if (path[0] == '/' || dir == AT_FDCWD) return match(call, path);
    char name[64], whole[2 * PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", dir);
    ssize_t size = readlink(name, whole, PATH_MAX);
    errno = before;
    if (size < 0) return NULL;
    snprintf(whole + size, sizeof whole - (size_t)size, "/%s", path);
    return match(call, whole);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

/* `result` is what the real call gives; a rule may prevent it or end the process after it. */
#define PLAY(which, result) \
    do { \
        struct rule *hit = (which); \
        if (hit && (hit->action == FAIL || hit->action == SHORT)) { errno = hit->error; return -1; } \
        __typeof__(result) gave = (result); \
        if (hit && hit->action == KILL_AFTER) raise(SIGKILL); \
        return gave; \
    } while (0)

/* Writes a part of what was asked for; the next call is hit by the same rule again. */
static size_t part(struct rule *rule, size_t size) {
    if (!rule || rule->action != SHORT || (size_t)rule->bytes >= size || rule->bytes <= 0) return 0;
    size_t some = (size_t)rule->bytes;
    rule->bytes = 0; /* once */
    return some;
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    struct rule *rule = match_fd("write", fd);
    size_t some = part(rule, size);
    if (some) return real(fd, data, some);
    PLAY(rule, real(fd, data, size));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    PLAY(match_fd("write", fd), real(fd, data, size, at));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    PLAY(match_fd("write", fd), real(fd, data, size, at));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    struct rule *rule = match_fd("write", fd);
    size_t size = 0;
    for (int at = 0; at < count; at++) size += parts[at].iov_len;
    size_t left = part(rule, size);
    if (left) {
        static ssize_t (*plain)(int, const void *, size_t);
        if (!plain) *(void **)&plain = dlsym(RTLD_NEXT, "write");
        ssize_t done = 0;
        for (int at = 0; at < count && left; at++) {
            size_t some = parts[at].iov_len < left ? parts[at].iov_len : left;
            ssize_t gave = plain(fd, parts[at].iov_base, some);
            if (gave < 0) return done ? done : -1;
            done += gave;
            left -= some;
        }
        return done;
    }
    PLAY(rule, real(fd, parts, count));
}

int fsync(int fd) { REAL(fsync); PLAY(match_fd("fsync", fd), real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); PLAY(match_fd("fdatasync", fd), real(fd)); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); PLAY(match_fd("ftruncate", fd), real(fd, size)); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); PLAY(match_fd("ftruncate", fd), real(fd, size)); }
int rename(const char *from, const char *to) { REAL(rename); PLAY(match_at("rename", AT_FDCWD, to), real(from, to)); }
int renameat(int a, const char *from, int b, const char *to) {
    REAL(renameat);
    PLAY(match_at("rename", b, to), real(a, from, b, to));
}
int mkdir(const char *path, mode_t mode) { REAL(mkdir); PLAY(match_at("mkdir", AT_FDCWD, path), real(path, mode)); }
int mkdirat(int dir, const char *path, mode_t mode) { REAL(mkdirat); PLAY(match_at("mkdir", dir, path), real(dir, path, mode)); }
int unlink(const char *path) { REAL(unlink); PLAY(match_at("unlink", AT_FDCWD, path), real(path)); }
int unlinkat(int dir, const char *path, int flags) { REAL(unlinkat); PLAY(match_at("unlink", dir, path), real(dir, path, flags)); }

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

/* Only calls that make a file: reading is not disturbed. */
#define OPEN(dir, path, flags) ((flags) & O_CREAT ? match_at("open", dir, path) : NULL)

int open(const char *path, int flags, ...) { MODE(flags) REAL(open); PLAY(OPEN(AT_FDCWD, path, flags), real(path, flags, mode)); }
int open64(const char *path, int flags, ...) { MODE(flags) REAL(open64); PLAY(OPEN(AT_FDCWD, path, flags), real(path, flags, mode)); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags) REAL(openat); PLAY(OPEN(dir, path, flags), real(dir, path, flags, mode)); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags) REAL(openat64); PLAY(OPEN(dir, path, flags), real(dir, path, flags, mode)); }
