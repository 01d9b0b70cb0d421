/* The changes of an overlay are files, and marks of what has gone: a device node 0:0 for a name (a whiteout), the attribute
 * trusted.overlay.opaque for all names below a directory (Linux, Documentation/filesystems/overlayfs.rst). On the host, marks
 * become what they mean: names are removed. The overlay there makes marks of its own.
 *
 * Every entry is made complete in a directory of its own, SCRATCH, and then renamed: whenever this ends, each name of the root
 * filesystem is the old file, or the new one, or is missing. The guest sees the same in all three cases, as its layer stays
 * above the root filesystem until everything is there. */
#include "layer/writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/error_text.h"

#define SCRATCH ".runx-layer" /* in the root; the host knows the name as well (runx/exec/ninep/export_names.py) */
#define NEW "new"             /* the entry that is being made there */
#define OVERLAYS "trusted.overlay."
/* Owner, group, mode and exact times in one request. Linux's 9p client would cut times to seconds. */
#define EXACT "trusted.runx.attributes"

enum {
    P9_MAGIC = 0x01021997, /* V9FS_MAGIC of linux/magic.h */
    PIECE = 1024 * 1024,
    NAMES_MAX = 65536, /* XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h */
    NAME_PATH = 64 + NAME_MAX,
    REMOVE_ATTEMPTS = 16,
};

/* A file with several names, and the first of them that was brought. */
struct linked {
    ino_t inode;
    char *path;
};

static struct written *result;
static int top, scratch;  /* of the root on the host */
static bool exact;        /* EXACT is known there */
static void *links;       /* a tree of struct linked */
static char *path;        /* of the entry that is being brought, without a slash before it */
static size_t path_length, path_size;

/* Notes the first problem; false. */
__attribute__((format(printf, 1, 2))) static bool problem(const char *format, ...)
{
    va_list arguments;
    if (result->problem[0])
        return false;
    int length = snprintf(result->problem, sizeof result->problem, "/%.*s: ", 300, path ? path : "");
    va_start(arguments, format);
    vsnprintf(result->problem + length, sizeof result->problem - (size_t)length, format, arguments);
    va_end(arguments);
    return false;
}

static bool failed(const char *what)
{
    return problem("%s: %s", what, reason(errno));
}

/* Adds a name to `path`: the length before it; -1 without memory. */
static ssize_t enter(const char *name)
{
    size_t before = path_length, length = strlen(name);
    if (before + length + 2 > path_size) {
        char *larger = realloc(path, path_size = 2 * (before + length + 2));
        if (!larger)
            return -1;
        path = larger;
    }
    if (before)
        path[path_length++] = '/';
    memcpy(path + path_length, name, length + 1);
    path_length += length;
    return (ssize_t)before;
}

static void leave(ssize_t before)
{
    path_length = (size_t)before;
    path[path_length] = '\0';
}

/* A path for calls that take no directory's descriptor. The next call but one overwrites it. */
static const char *path_of(int directory, const char *name)
{
    static char text[2][NAME_PATH];
    static int turn;
    turn = !turn;
    snprintf(text[turn], sizeof text[turn], "/proc/self/fd/%d/%s", directory, name);
    return text[turn];
}

static bool is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

/* The entries of a directory, whose descriptor stays the caller's. */
static DIR *open_list(int directory)
{
    int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    if (!list && copy >= 0)
        close(copy);
    return list;
}

bool layer_has_entries(int upper)
{
    DIR *list = open_list(upper);
    bool any = !list; /* unreadable: the writer says why */
    for (struct dirent *entry; list && !any && (entry = readdir(list));)
        any = is_entry(entry);
    if (list)
        closedir(list);
    return any;
}

/* ---- removal */

/* Removes an entry with all below it; one that does not exist is no problem. */
static bool remove_all(int directory, const char *name)
{
    if (unlinkat(directory, name, 0) == 0 || errno == ENOENT)
        return true;
    if (errno != EISDIR && errno != EPERM)
        return failed("removing it");
    int below = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below < 0)
        return failed("removing it");
    bool done = false;
    /* Names may be left out of a list while others are removed. */
    for (int attempt = 0; attempt < REMOVE_ATTEMPTS && !done; attempt++) {
        DIR *list = open_list(below);
        bool all = list != NULL;
        for (struct dirent *entry; all && (entry = readdir(list));)
            all = !is_entry(entry) || remove_all(below, entry->d_name);
        if (list)
            closedir(list);
        if (!all)
            break;
        done = unlinkat(directory, name, AT_REMOVEDIR) == 0;
        if (!done && errno != ENOTEMPTY && errno != EEXIST)
            break;
    }
    close(below);
    return done || failed("removing it");
}

/* ---- attributes */

static void put_number(unsigned char **at, uint64_t number, int size)
{
    for (int i = 0; i < size; i++)
        *(*at)++ = (unsigned char)(number >> 8 * i);
}

static uint64_t nanoseconds(struct timespec time)
{
    return (uint64_t)((int64_t)time.tv_sec * 1000000000 + time.tv_nsec);
}

/* Owner, mode and times. The mode comes after the owner, whose change clears set-id bits. */
static bool set_attributes(int directory, const char *name, const struct stat *status)
{
    if (exact) {
        unsigned char value[28], *at = value;
        put_number(&at, status->st_uid, 4);
        put_number(&at, status->st_gid, 4);
        put_number(&at, status->st_mode & 07777, 4);
        put_number(&at, nanoseconds(status->st_atim), 8);
        put_number(&at, nanoseconds(status->st_mtim), 8);
        return lsetxattr(path_of(directory, name), EXACT, value, sizeof value, 0) == 0 || failed("owner, mode and times");
    }
    struct timespec times[] = {status->st_atim, status->st_mtim};
    if (fchownat(directory, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        (!S_ISLNK(status->st_mode) && fchmodat(directory, name, status->st_mode & 07777, 0) < 0) ||
        utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return failed("owner, mode and times");
    return true;
}

static bool has_name(const char *names, ssize_t length, const char *wanted)
{
    for (const char *name = names; name < names + length; name += strlen(name) + 1)
        if (!strcmp(name, wanted))
            return true;
    return false;
}

/* An attribute of overlayfs, about the layer itself. Those with the prefix twice belong to an overlay that a program of the
 * container has made on its root. */
static bool is_overlays(const char *name)
{
    return !strncmp(name, OVERLAYS, strlen(OVERLAYS)) && strncmp(name, OVERLAYS "overlay.", strlen(OVERLAYS "overlay."));
}

/* Whether the entry is one of which the layer has a part only: its data, or its former name, is in a lower layer. */
static bool is_partial(const char *names, ssize_t length)
{
    return has_name(names, length, OVERLAYS "redirect") || has_name(names, length, OVERLAYS "metacopy");
}

/* Extended attributes of FROM/NAME, for TO/AS. FRESH: the other has none yet. An attribute that the host does not take is a
 * problem that lets the others go on. */
static bool set_xattrs(int from, const char *name, int to, const char *as, bool fresh)
{
    static char names[NAMES_MAX], others[NAMES_MAX], value[NAMES_MAX];
    ssize_t length = llistxattr(path_of(from, name), names, sizeof names);
    if (length < 0)
        return errno == EOPNOTSUPP || failed("listing its attributes");
    if (is_partial(names, length))
        return problem("overlayfs has only a part of it in the layer");
    for (const char *own = names; own < names + length; own += strlen(own) + 1) {
        if (is_overlays(own))
            continue;
        ssize_t size = lgetxattr(path_of(from, name), own, value, sizeof value);
        if (size < 0)
            return failed(own);
        if (lsetxattr(path_of(to, as), own, value, (size_t)size, 0) == 0)
            continue;
        if (errno != EOPNOTSUPP && errno != EPERM)
            return failed(own);
        failed(own);
    }
    ssize_t count = fresh ? 0 : llistxattr(path_of(to, as), others, sizeof others);
    for (const char *other = others; other < others + count; other += strlen(other) + 1)
        if (strncmp(other, "trusted.", 8) && strncmp(other, "security.selinux", 16) && !has_name(names, length, other) &&
            lremovexattr(path_of(to, as), other) < 0 && errno != ENODATA)
            return failed(other);
    return true;
}

/* ---- entries */

static bool copy_range(int in, int out, off_t start, off_t end)
{
    static char piece[PIECE];
    while (start < end) {
        size_t wanted = end - start < PIECE ? (size_t)(end - start) : PIECE;
        ssize_t count = pread(in, piece, wanted, start);
        if (count < 0)
            return failed("reading it");
        if (!count)
            return true; /* it has become shorter, which nobody could have done */
        for (ssize_t done = 0, more; done < count; done += more)
            if ((more = pwrite(out, piece + done, (size_t)(count - done), start + done)) < 0)
                return failed("writing it");
        start += count;
        result->bytes += (uint64_t)count;
    }
    return true;
}

/* Copies the data of a file; its holes stay holes. */
static bool copy_data(int in, int out, off_t size)
{
    off_t end = 0;
    while (end < size) {
        off_t start = lseek(in, end, SEEK_DATA), next;
        if (start < 0 && errno == ENXIO)
            break; /* a hole up to the end */
        if (start < 0 || (next = lseek(in, start, SEEK_HOLE)) < 0)
            start = end, next = size; /* this file system has no holes */
        if (!copy_range(in, out, start, next))
            return false;
        end = next;
    }
    return end >= size || ftruncate(out, size) == 0 || failed("its size");
}

static bool make_file(int from, const char *name, const struct stat *status)
{
    int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
    if (in < 0)
        return failed("opening it");
    int out = openat(scratch, NEW, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool done = out >= 0 ? copy_data(in, out, status->st_size) : failed("making it");
    close(in);
    if (out >= 0 && close(out) < 0)
        done = done && failed("writing it");
    return done;
}

static bool make_symlink(int from, const char *name)
{
    static char target[PATH_MAX + 1];
    ssize_t length = readlinkat(from, name, target, sizeof target - 1);
    if (length < 0)
        return failed("reading it");
    target[length] = '\0';
    return symlinkat(target, scratch, NEW) == 0 || failed("making it");
}

static bool make(int from, const char *name, const struct stat *status)
{
    switch (status->st_mode & S_IFMT) {
    case S_IFREG:
        return make_file(from, name, status);
    case S_IFLNK:
        return make_symlink(from, name);
    case S_IFDIR:
        return mkdirat(scratch, NEW, 0700) == 0 || failed("making it");
    default:
        return mknodat(scratch, NEW, (status->st_mode & S_IFMT) | 0600, status->st_rdev) == 0 || failed("making it");
    }
}

/* Gives NEW its name in the directory TO. */
static bool place(int to, const char *name, bool is_directory)
{
    struct stat there;
    bool exists = fstatat(to, name, &there, AT_SYMLINK_NOFOLLOW) == 0;
    /* A file is replaced by the rename itself. */
    if (exists && (is_directory || S_ISDIR(there.st_mode)) && !remove_all(to, name))
        return false;
    if (renameat(scratch, NEW, to, name) < 0)
        return failed("giving it its name");
    result->entries++;
    return true;
}

static bool bring_new(int from, const char *name, int to, const struct stat *status)
{
    return make(from, name, status) && set_attributes(scratch, NEW, status) && set_xattrs(from, name, scratch, NEW, true) &&
           place(to, name, S_ISDIR(status->st_mode));
}

static int compare_links(const void *a, const void *b)
{
    const struct linked *one = a, *other = b;
    return one->inode < other->inode ? -1 : one->inode > other->inode;
}

/* The directory of a path from the root, which may be longer than PATH_MAX; NAME becomes its last part. */
static int open_parent(const char *whole, const char **name)
{
    char part[NAME_MAX + 1];
    int directory = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (const char *slash; directory >= 0 && (slash = strchr(whole, '/')); whole = slash + 1) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - whole), whole);
        int next = openat(directory, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(directory);
        directory = next;
    }
    *name = whole;
    return directory;
}

static bool bring_link(const struct linked *first, int to, const char *name)
{
    const char *last;
    int directory = open_parent(first->path, &last);
    if (directory < 0)
        return failed("its first name");
    bool made = linkat(directory, last, scratch, NEW, 0) == 0;
    if (!made)
        failed("linking it");
    close(directory);
    if (!made || !place(to, name, false))
        return false;
    /* rename(2) does nothing if both names are of one file already: then an earlier call has brought it. */
    return unlinkat(scratch, NEW, 0) == 0 || errno == ENOENT || failed("linking it");
}

/* Brings a file that may have other names in the layer. */
static bool bring_file(int from, const char *name, int to, const struct stat *status)
{
    if (status->st_nlink < 2)
        return bring_new(from, name, to, status);
    struct linked *own = malloc(sizeof *own), **found;
    char *copy = strdup(path);
    if (!own || !copy)
        return failed("its names");
    *own = (struct linked){.inode = status->st_ino, .path = copy};
    if (!(found = tsearch(own, &links, compare_links)))
        return failed("its names");
    if (*found == own)
        return bring_new(from, name, to, status);
    free(copy);
    free(own);
    return bring_link(*found, to, name);
}

static bool is_opaque(int from, const char *name)
{
    char value[2];
    return lgetxattr(path_of(from, name), OVERLAYS "opaque", value, sizeof value) > 0 && value[0] == 'y';
}

static bool bring_all(int from, int to);

static bool bring_directory(int from, const char *name, int to, const struct stat *status)
{
    struct stat there;
    bool exists = fstatat(to, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(there.st_mode);
    bool fresh = !exists || is_opaque(from, name);
    if (fresh && !bring_new(from, name, to, status))
        return false;
    int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool done = in >= 0 && out >= 0 ? bring_all(in, out) : failed("opening it");
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    /* Its time is last: each name that is made in it changes that. */
    return done && set_attributes(to, name, status) && (fresh || set_xattrs(from, name, to, name, false));
}

static bool bring(int from, const char *name, int to)
{
    struct stat status;
    if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return failed("looking at it");
    if (S_ISDIR(status.st_mode))
        return bring_directory(from, name, to, &status);
    if (!S_ISCHR(status.st_mode) || status.st_rdev)
        return bring_file(from, name, to, &status);
    result->entries++;
    return remove_all(to, name); /* a whiteout */
}

/* Brings what is in the directory FROM into the directory TO. */
static bool bring_all(int from, int to)
{
    DIR *list = open_list(from);
    if (!list)
        return failed("listing it");
    bool done = true;
    for (struct dirent *entry; done && (entry = readdir(list));) {
        if (!is_entry(entry) || (to == top && !strcmp(entry->d_name, SCRATCH)))
            continue;
        ssize_t before = enter(entry->d_name);
        if (before < 0) {
            done = failed("its path");
            break;
        }
        done = bring(from, entry->d_name, to);
        if (done)
            leave(before); /* a problem names the path, which stays */
    }
    closedir(list);
    return done;
}

bool layer_write(int upper, int root, struct written *written)
{
    struct statfs kind;
    struct stat status;
    *(result = written) = (struct written){0};
    top = root;
    umask(0);
    if (fstatfs(root, &kind) < 0 || fstat(upper, &status) < 0)
        return failed("looking at it");
    exact = kind.f_type == P9_MAGIC;
    /* SCRATCH may be left of a call that was interrupted. */
    if (!remove_all(root, SCRATCH))
        return false;
    if (mkdirat(root, SCRATCH, 0700) < 0 || (scratch = openat(root, SCRATCH, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return failed("making " SCRATCH);
    if (lremovexattr(path_of(root, SCRATCH), "system.posix_acl_default") < 0 && errno != ENODATA && errno != EOPNOTSUPP)
        return failed("making " SCRATCH);
    bool done = bring_all(upper, root);
    remove_all(root, SCRATCH);
    close(scratch);
    return done && set_attributes(root, ".", &status) && set_xattrs(upper, ".", root, ".", false) && !result->problem[0];
}
