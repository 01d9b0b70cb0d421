/* The changes of an overlay are files, and marks of what has gone: a device node 0:0 for a name (a whiteout), the attribute
 * trusted.overlay.opaque for all names below a directory (Linux, Documentation/filesystems/overlayfs.rst). They are sent as they
 * are, one record for each thing, in the order of the directories. The host decides what becomes of them
 * (runx/exec/ninep/layer.py), so a file needs no answer of its own. */
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
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/error_text.h"

#define SCRATCH ".runx-layer" /* in the root; a name of the host's own (runx/exec/ninep/export_names.py) */
#define OVERLAYS "trusted.overlay."

/* Kinds of records, and their layouts after the head, which is the kind and the size of the rest: runx/exec/ninep/changes.py. */
enum record {
    RECORD_ENTRY = 1,
    RECORD_DATA = 2,
    RECORD_ATTRIBUTE = 3,
    RECORD_PLACE = 4,
    RECORD_LEAVE = 5,
    RECORD_REMOVE = 6,
    RECORD_LINK = 7,
    RECORD_END = 8,
};
enum {
    HEAD_SIZE = 5,
    ENTRY_SIZE = 47, /* without names */
    OPAQUE = 1,      /* of the flags of RECORD_ENTRY */
    PIECE = 61440,   /* what is sent at once, less than a message of the share */
    PIECE_MIN = 4096,
    NAMES_MAX = 65536, /* XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h */
    LINK_MAX = 1024 * 1024,
    NAME_PATH = 64 + NAME_MAX,
};

/* A file with several names, and the first of them that was sent. */
struct linked {
    ino_t inode;
    char *path;
};

static struct written *result;
static int stream;
static unsigned char piece[PIECE]; /* what is sent next */
static size_t used;                /* of `piece` */
static uint32_t records;
static void *links; /* a tree of struct linked */
static char *path;  /* of the entry that is being sent, without a slash before it */
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

/* A path for calls that take no directory's descriptor. The next call overwrites it. */
static const char *path_of(int directory, const char *name)
{
    static char text[NAME_PATH];
    snprintf(text, sizeof text, "/proc/self/fd/%d/%s", directory, name);
    return text;
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

/* ---- records */

static bool send_piece(void)
{
    for (size_t done = 0; done < used;) {
        ssize_t count = write(stream, piece + done, used - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return failed("sending it");
        done += (size_t)count;
    }
    used = 0;
    return true;
}

static bool put(const void *data, size_t size)
{
    const unsigned char *at = data;
    while (size) {
        if (used == PIECE && !send_piece())
            return false;
        size_t count = size < PIECE - used ? size : PIECE - used;
        memcpy(piece + used, at, count);
        used += count;
        at += count;
        size -= count;
    }
    return true;
}

static bool put_number(uint64_t number, int size)
{
    unsigned char bytes[8];
    for (int i = 0; i < size; i++)
        bytes[i] = (unsigned char)(number >> 8 * i);
    return put(bytes, (size_t)size);
}

/* Begins a record of SIZE bytes. It is whole in what is sent, if it can be: the host need not keep parts then. */
static bool begin(enum record kind, size_t size)
{
    records++;
    if (used && used + HEAD_SIZE + size > PIECE && !send_piece())
        return false;
    return put_number(kind, 1) && put_number(size, 4);
}

static uint64_t nanoseconds(struct timespec time)
{
    return (uint64_t)((int64_t)time.tv_sec * 1000000000 + time.tv_nsec);
}

static bool send_entry(const char *name, const struct stat *status, unsigned flags, const char *target)
{
    size_t length = strlen(name), target_length = strlen(target);
    return begin(RECORD_ENTRY, ENTRY_SIZE + length + target_length) && put_number(status->st_mode, 4) &&
           put_number(status->st_uid, 4) && put_number(status->st_gid, 4) && put_number(major(status->st_rdev), 4) &&
           put_number(minor(status->st_rdev), 4) && put_number(nanoseconds(status->st_atim), 8) &&
           put_number(nanoseconds(status->st_mtim), 8) && put_number((uint64_t)status->st_size, 8) && put_number(flags, 1) &&
           put_number(length, 2) && put(name, length) && put(target, target_length);
}

static bool send_name(enum record kind, const char *name)
{
    return begin(kind, strlen(name)) && put(name, strlen(name));
}

/* ---- attributes */

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

/* Extended attributes of FROM/NAME. */
static bool send_attributes(int from, const char *name)
{
    static char names[NAMES_MAX], value[NAMES_MAX];
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
        size_t name_length = strlen(own);
        if (!begin(RECORD_ATTRIBUTE, 2 + name_length + (size_t)size) || !put_number(name_length, 2) || !put(own, name_length) ||
            !put(value, (size_t)size))
            return false;
    }
    return true;
}

/* ---- entries */

/* Sends a part of a file, in pieces that need not be taken apart. */
static bool send_range(int in, off_t start, off_t end)
{
    static unsigned char data[PIECE];
    while (start < end) {
        if (PIECE - used < PIECE_MIN && !send_piece())
            return false;
        size_t room = PIECE - used - HEAD_SIZE - 8;
        size_t wanted = end - start < (off_t)room ? (size_t)(end - start) : room;
        ssize_t count = pread(in, data, wanted, start);
        if (count < 0)
            return failed("reading it");
        if (!count)
            return true; /* it has become shorter, which nobody could have done */
        if (!begin(RECORD_DATA, 8 + (size_t)count) || !put_number((uint64_t)start, 8) || !put(data, (size_t)count))
            return false;
        start += count;
    }
    return true;
}

/* Sends the data of a file; its holes stay holes. */
static bool send_data(int from, const char *name, off_t size)
{
    int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
    if (in < 0)
        return failed("opening it");
    bool done = true;
    for (off_t end = 0; done && end < size;) {
        off_t start = lseek(in, end, SEEK_DATA), next;
        if (start < 0 && errno == ENXIO)
            break; /* a hole up to the end */
        if (start < 0 || (next = lseek(in, start, SEEK_HOLE)) < 0)
            start = end, next = size; /* this file system has no holes */
        done = send_range(in, start, next);
        end = next;
    }
    close(in);
    return done;
}

static bool send_new(int from, const char *name, const struct stat *status, unsigned flags)
{
    static char target[PATH_MAX + 1];
    ssize_t length = 0;
    if (S_ISLNK(status->st_mode) && (length = readlinkat(from, name, target, sizeof target - 1)) < 0)
        return failed("reading it");
    target[length] = '\0';
    return send_entry(name, status, flags, target) &&
           (!S_ISREG(status->st_mode) || !status->st_size || send_data(from, name, status->st_size)) &&
           send_attributes(from, name) && begin(RECORD_PLACE, 0);
}

static int compare_links(const void *a, const void *b)
{
    const struct linked *one = a, *other = b;
    return one->inode < other->inode ? -1 : one->inode > other->inode;
}

static bool send_link(const char *name, const char *first)
{
    size_t name_length = strlen(name), length = strlen(first);
    if (length > LINK_MAX)
        return problem("the path of its first name is too long");
    return begin(RECORD_LINK, 2 + name_length + length) && put_number(name_length, 2) && put(name, name_length) &&
           put(first, length);
}

/* Sends a file that may have other names in the layer. */
static bool send_file(int from, const char *name, const struct stat *status)
{
    if (status->st_nlink < 2)
        return send_new(from, name, status, 0);
    struct linked *own = malloc(sizeof *own), **found;
    char *copy = strdup(path);
    if (!own || !copy)
        return failed("its names");
    *own = (struct linked){.inode = status->st_ino, .path = copy};
    if (!(found = tsearch(own, &links, compare_links)))
        return failed("its names");
    if (*found == own)
        return send_new(from, name, status, 0);
    free(copy);
    free(own);
    return send_link(name, (*found)->path);
}

static bool is_opaque(int from, const char *name)
{
    char value[2];
    return lgetxattr(path_of(from, name), OVERLAYS "opaque", value, sizeof value) > 0 && value[0] == 'y';
}

static bool send_all(int from, bool is_top);

static bool send_directory(int from, const char *name, const struct stat *status)
{
    if (!send_new(from, name, status, is_opaque(from, name) ? OPAQUE : 0))
        return false;
    int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool done = in >= 0 ? send_all(in, false) : failed("opening it");
    if (in >= 0)
        close(in);
    return done && begin(RECORD_LEAVE, 0);
}

static bool send_one(int from, const char *name)
{
    struct stat status;
    if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return failed("looking at it");
    if (S_ISDIR(status.st_mode))
        return send_directory(from, name, &status);
    if (!S_ISCHR(status.st_mode) || status.st_rdev)
        return send_file(from, name, &status);
    return send_name(RECORD_REMOVE, name); /* a whiteout */
}

/* Sends what is in the directory FROM. */
static bool send_all(int from, bool is_top)
{
    DIR *list = open_list(from);
    if (!list)
        return failed("listing it");
    bool done = true;
    for (struct dirent *entry; done && (entry = readdir(list));) {
        if (!is_entry(entry) || (is_top && !strcmp(entry->d_name, SCRATCH)))
            continue;
        ssize_t before = enter(entry->d_name);
        if (before < 0) {
            done = failed("its path");
            break;
        }
        done = send_one(from, entry->d_name);
        if (done)
            leave(before); /* a problem names the path, which stays */
    }
    closedir(list);
    return done;
}

bool layer_write(int upper, int changes, struct written *written)
{
    struct stat status;
    *(result = written) = (struct written){0};
    stream = changes;
    if (fstat(upper, &status) < 0)
        return failed("looking at it");
    /* The top is an entry without a name. */
    return send_entry("", &status, 0, "") && send_attributes(upper, ".") && begin(RECORD_PLACE, 0) && send_all(upper, true) &&
           begin(RECORD_END, 4) && put_number(records, 4) && send_piece();
}
