/* The image decides what the root holds, so no path of it is given to the kernel as a whole. resolve() takes one part at a
 * time: openat2(2) opens it relative to the root, with RESOLVE_IN_ROOT and RESOLVE_NO_SYMLINKS. Symbolic links are read
 * and followed here, so that a link to a file that does not exist can have it made.
 */
#include "inroot/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "inroot/fail.h"

/* Of openat2(2), which musl does not have. */
struct how {
    uint64_t flags, mode, resolve;
};
enum { NO_SYMLINKS = 0x04, IN_ROOT = 0x10 };

enum { LINKS_MAX = 40 }; /* the kernel's own limit, path_resolution(7) */

static int root = -1;

/* Opens the root for one walk: the command may have mounted over it since the last one. */
static void open_root(void)
{
    if (root >= 0)
        close(root);
    root = open(NEWROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        fail("%s: %s", NEWROOT, reason(errno));
}

/* Opens PATH, which is relative to the root and has no symbolic link but perhaps at its end; a link itself is opened. */
static int open_plain(const char *path)
{
    struct how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = IN_ROOT | NO_SYMLINKS};
    return (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
}

static int make_missing(int parent, const char *name, enum missing kind)
{
    if (kind == MISSING_IS_DIRECTORY)
        return mkdirat(parent, name, 0755);
    int fd = openat(parent, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644); /* as runc since 1.1.14 */
    if (fd < 0)
        return -1;
    return close(fd);
}

struct walk {
    char resolved[PATH_MAX]; /* the part that is done: no symbolic links, no slash in front */
    char rest[PATH_MAX];     /* the part that is left */
    int links;               /* symbolic links followed so far */
};

static void go_up(struct walk *walk)
{
    char *slash = strrchr(walk->resolved, '/');
    *(slash ? slash : walk->resolved) = 0;
}

/* Puts the target of a symbolic link before the part that is left. Returns 0 or an errno. */
static int follow(struct walk *walk, int link)
{
    char target[PATH_MAX], rest[PATH_MAX];
    ssize_t length = readlinkat(link, "", target, sizeof target - 1);
    if (length < 0)
        return errno;
    target[length] = 0;
    if (++walk->links > LINKS_MAX)
        return ELOOP;
    if (snprintf(rest, sizeof rest, "%s/%s", target, walk->rest) >= (int)sizeof rest)
        return ENAMETOOLONG;
    strcpy(walk->rest, rest);
    if (target[0] == '/')
        walk->resolved[0] = 0;
    return 0;
}

int resolve(const char *dest, enum missing kind, char *keep_last)
{
    static struct walk walk;
    memset(&walk, 0, sizeof walk);
    if (snprintf(walk.rest, sizeof walk.rest, "%s", dest) >= (int)sizeof walk.rest)
        fail("%s", reason(ENAMETOOLONG));

    open_root();
    int here = open_plain("");
    if (here < 0)
        fail("%s", reason(errno));
    for (;;) {
        char name[NAME_MAX + 1];
        char *at = walk.rest + strspn(walk.rest, "/");
        size_t length = strcspn(at, "/");
        if (!length) {
            if (keep_last)
                fail("does not name an entry of a directory");
            return here;
        }
        if (length > NAME_MAX)
            fail("%s", reason(ENAMETOOLONG));
        memcpy(name, at, length);
        name[length] = 0;
        at += length;
        at += strspn(at, "/");
        bool last = !*at;
        memmove(walk.rest, at, strlen(at) + 1);

        if (!strcmp(name, ".") || !strcmp(name, "..")) {
            if (last && keep_last)
                fail("does not name an entry of a directory");
            if (name[1])
                go_up(&walk);
        } else {
            size_t before = strlen(walk.resolved);
            if (last && keep_last) {
                strcpy(keep_last, name);
                return here;
            }
            if (before + 1 + length >= sizeof walk.resolved)
                fail("%s", reason(ENAMETOOLONG));
            snprintf(walk.resolved + before, sizeof walk.resolved - before, "%s%s", before ? "/" : "", name);
            int next = open_plain(walk.resolved);
            if (next < 0 && errno == ENOENT && kind != MISSING_FAILS) {
                /* EEXIST: another virtual machine that shares the root was quicker. */
                if (make_missing(here, name, last ? kind : MISSING_IS_DIRECTORY) < 0 && errno != EEXIST)
                    fail("making /%s: %s", walk.resolved, reason(errno));
                next = open_plain(walk.resolved);
            }
            if (next < 0) {
                int error = errno;
                if (kind == MISSING_FAILS && (error == ENOENT || error == ENOTDIR)) {
                    close(here);
                    errno = error;
                    return -1;
                }
                fail("/%s: %s", walk.resolved, reason(errno));
            }
            struct stat status;
            if (fstat(next, &status) < 0)
                fail("/%s: %s", walk.resolved, reason(errno));
            if (!S_ISLNK(status.st_mode)) {
                close(here);
                here = next;
                continue;
            }
            walk.resolved[before] = 0;
            int error = follow(&walk, next);
            close(next);
            if (error)
                fail("%s: %s", name, reason(error));
        }
        /* After a symbolic link or "..", HERE is no parent of what comes next. */
        close(here);
        here = open_plain(walk.resolved);
        if (here < 0)
            fail("/%s: %s", walk.resolved, reason(errno));
    }
}
