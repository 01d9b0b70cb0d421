#include "child/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "common/records.h"

enum { MAGIC = 6, FIELD = 8, FIELDS = 13, HEADER = MAGIC + FIELD * FIELDS };
enum { MODE = 1, UID = 2, GID = 3, SIZE = 6, NAME_SIZE = 11 }; /* fields of the header */

#define TRAILER "TRAILER!!!"

static bool read_field(const char *header, int number, uint32_t *value)
{
    *value = 0;
    for (const char *at = header + MAGIC + FIELD * number, *end = at + FIELD; at < end; at++) {
        const char *digits = "0123456789abcdef", *digit = *at ? strchr(digits, *at | ('A' <= *at && *at <= 'F' ? 0x20 : 0)) : NULL;
        if (!digit)
            return false;
        *value = *value << 4 | (uint32_t)(digit - digits);
    }
    return true;
}

static size_t padded(size_t length)
{
    return (length + 3) & ~(size_t)3;
}

const char *archive_read(char *data, size_t size, const char *(*take)(const struct entry *entry, void *context), void *context)
{
    for (size_t at = 0; at < size;) {
        uint32_t mode, uid, gid, length, name_size;
        if (!data[at]) { /* padding behind a trailer */
            at++;
            continue;
        }
        if (size - at < HEADER || memcmp(data + at, "070701", MAGIC))
            return fault("the archive has no header at byte %zu", at);
        if (!read_field(data + at, MODE, &mode) || !read_field(data + at, UID, &uid) || !read_field(data + at, GID, &gid) ||
            !read_field(data + at, SIZE, &length) || !read_field(data + at, NAME_SIZE, &name_size))
            return fault("the archive has a wrong header at byte %zu", at);
        size_t head = padded(HEADER + (size_t)name_size);
        if (!name_size || head > size - at || padded(length) > size - at - head || data[at + HEADER + name_size - 1])
            return fault("the archive ends within the entry at byte %zu", at);
        struct entry entry = {
            .name = data + at + HEADER, .mode = mode, .uid = uid, .gid = gid, .content = data + at + head, .size = length};
        at += head + padded(length);
        const char *wrong = strcmp(entry.name, TRAILER) ? take(&entry, context) : NULL;
        if (wrong)
            return wrong;
    }
    return NULL;
}

/* Whether NAME is below runx, and leads nowhere else. */
static bool is_ours(const char *name)
{
    if (strcmp(name, "runx") && strncmp(name, "runx/", 5))
        return false;
    for (const char *part = name; part; part = strchr(part, '/')) {
        part += *part == '/';
        size_t length = strcspn(part, "/");
        if (!length || (part[0] == '.' && (length == 1 || (length == 2 && part[1] == '.'))))
            return false;
    }
    return true;
}

static const char *make(const struct entry *entry, void *context)
{
    char path[512], target[512];
    (void)context;
    if (!is_ours(entry->name) || snprintf(path, sizeof path, "/%s", entry->name) >= (int)sizeof path)
        return fault("the archive has an entry of another name than runx/...");
    if (S_ISDIR(entry->mode)) {
        if (mkdir(path, entry->mode & 07777) < 0 && errno != EEXIST)
            return fault("%s: %s", path, reason(errno));
        return NULL;
    }
    unlink(path); /* of an archive before: the last one counts */
    if (S_ISLNK(entry->mode)) {
        if (entry->size >= sizeof target)
            return fault("%s: %s", path, reason(ENAMETOOLONG));
        memcpy(target, entry->content, entry->size);
        target[entry->size] = '\0';
        return symlink(target, path) < 0 ? fault("%s: %s", path, reason(errno)) : NULL;
    }
    if (!S_ISREG(entry->mode))
        return fault("%s: a file of another type than archives have", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool made = fd >= 0 && write(fd, entry->content, entry->size) == (ssize_t)entry->size &&
                fchown(fd, entry->uid, entry->gid) == 0 && fchmod(fd, entry->mode & 07777) == 0;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return made ? NULL : fault("%s: %s", path, reason(error));
}

const char *archive_unpack(char *data, size_t size)
{
    mode_t before = umask(0);
    const char *wrong = archive_read(data, size, make, NULL);
    umask(before);
    return wrong;
}

struct search {
    const char *name;
    char *content;
    size_t size;
};

static const char *look(const struct entry *entry, void *context)
{
    struct search *search = context;
    if (!strcmp(entry->name, search->name)) {
        search->content = entry->content;
        search->size = entry->size;
    }
    return NULL;
}

char *archive_find(char *data, size_t archive_size, const char *name, size_t *size)
{
    struct search search = {.name = name};
    if (archive_read(data, archive_size, look, &search))
        return NULL;
    *size = search.size;
    return search.content;
}
