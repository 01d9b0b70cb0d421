/* layer UPPER ROOT [STEPS]: the room layer/ on two directories of this machine, for tests.
 *
 * Prints the entries and bytes that it has brought; ends with status 1 and the problem if there was one. With STEPS it ends with
 * status 7 before its call number STEPS that would change something in ROOT. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "layer/writer.h"

static long left = -1;

static void step(void)
{
    if (left >= 0 && left-- == 0)
        _exit(7);
}

/* The linker has the writer's calls come here (--wrap). */
#define STEP(name, parameters, arguments)   \
    int __real_##name parameters;           \
    int __wrap_##name parameters;           \
    int __wrap_##name parameters            \
    {                                       \
        step();                             \
        return __real_##name arguments;     \
    }

STEP(renameat, (int from, const char *old, int to, const char *name), (from, old, to, name))
STEP(unlinkat, (int directory, const char *name, int flags), (directory, name, flags))
STEP(mkdirat, (int directory, const char *name, mode_t mode), (directory, name, mode))
STEP(mknodat, (int directory, const char *name, mode_t mode, dev_t device), (directory, name, mode, device))
STEP(symlinkat, (const char *target, int directory, const char *name), (target, directory, name))
STEP(linkat, (int from, const char *old, int to, const char *name, int flags), (from, old, to, name, flags))
STEP(fchownat, (int directory, const char *name, uid_t uid, gid_t gid, int flags), (directory, name, uid, gid, flags))
STEP(utimensat, (int directory, const char *name, const struct timespec times[2], int flags), (directory, name, times, flags))
STEP(lsetxattr, (const char *path, const char *name, const void *value, size_t size, int flags), (path, name, value, size, flags))
STEP(ftruncate, (int fd, off_t size), (fd, size))

ssize_t __real_pwrite(int fd, const void *data, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t size, off_t offset)
{
    step();
    return __real_pwrite(fd, data, size, offset);
}

int main(int argc, char **argv)
{
    static struct written written;
    if (argc < 3)
        return 2;
    if (argc > 3)
        left = atol(argv[3]);
    int upper = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC), root = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (upper < 0 || root < 0)
        return 2;
    bool done = layer_write(upper, root, &written);
    printf("%u %llu %s\n", written.entries, (unsigned long long)written.bytes, written.problem);
    return done ? 0 : 1;
}
