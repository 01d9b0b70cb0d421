/* Prints all that a tree shows, a line for each file, in the order of their names: kind and mode, owner, size, time, device, a hash of
 * the content, the first of its names when it has several, and a line for each extended attribute. Names are hexadecimal where they are
 * not plain. Two trees that print the same are the same to whoever reads them.
 *
 *     treehash TOP [LEFT-OUT ...]      names in TOP itself that are left out */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static char **left_out;

static struct {
    dev_t device;
    ino_t inode;
    char *name;
} *linked;
static size_t links;

_Noreturn static void fail(const char *path)
{
    fprintf(stderr, "treehash: %s: %s\n", path, strerror(errno));
    exit(1);
}

static void print_bytes(const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (bytes[i] > ' ' && bytes[i] < 127 && bytes[i] != '%')
            putchar(bytes[i]);
        else
            printf("%%%02x", bytes[i]);
}

static void print_name(const char *name)
{
    print_bytes((const unsigned char *)name, strlen(name));
}

/* FNV-1a of 64 bits, over words of eight bytes: the last one is filled with zeros, and sizes are printed. */
static uint64_t mixed(uint64_t hash, const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, length - i < 8 ? length - i : 8);
        hash = (hash ^ word) * 0x100000001b3;
        hash ^= hash >> 29;
    }
    return hash;
}

static uint64_t hash_of(const char *path)
{
    static unsigned char buffer[1 << 20];
    uint64_t hash = 0xcbf29ce484222325;
    size_t filled = 0;
    ssize_t count;
    int fd = open(path, O_RDONLY | O_NOFOLLOW);
    if (fd < 0)
        fail(path);
    while ((count = read(fd, buffer + filled, sizeof buffer - filled)) > 0)
        if ((filled += (size_t)count) == sizeof buffer) {
            hash = mixed(hash, buffer, filled);
            filled = 0;
        }
    if (count < 0)
        fail(path);
    close(fd);
    return mixed(hash, buffer, filled);
}

static int by_name(const void *one, const void *two)
{
    return strcmp(*(char *const *)one, *(char *const *)two);
}

static void print_attributes(const char *path)
{
    static char names[65536], value[65536];
    char *sorted[256];
    size_t count = 0;
    ssize_t length = llistxattr(path, names, sizeof names);
    for (char *name = names; name < names + length && count < 256; name += strlen(name) + 1)
        if (strncmp(name, "trusted.", 8))
            sorted[count++] = name;
    qsort(sorted, count, sizeof *sorted, by_name);
    for (size_t i = 0; i < count; i++) {
        ssize_t size = lgetxattr(path, sorted[i], value, sizeof value);
        if (size < 0)
            fail(path);
        print_name(path);
        printf(" %s=", sorted[i]);
        print_bytes((unsigned char *)value, (size_t)size);
        putchar('\n');
    }
}

static void print_links(const char *path, const struct stat *status)
{
    for (size_t i = 0; i < links; i++)
        if (linked[i].device == status->st_dev && linked[i].inode == status->st_ino) {
            printf(" as=");
            print_name(linked[i].name);
            return;
        }
    linked = realloc(linked, (links + 1) * sizeof *linked);
    linked[links].device = status->st_dev;
    linked[links].inode = status->st_ino;
    linked[links++].name = strdup(path);
}

static void print_file(const char *path, const struct stat *status)
{
    char target[4096];
    print_name(path);
    printf(" %o %u:%u", status->st_mode, status->st_uid, status->st_gid);
    if (strcmp(path, ".")) /* the top of an overlay is as old as its upper directory */
        printf(" %jd.%09ld", (intmax_t)status->st_mtim.tv_sec, status->st_mtim.tv_nsec);
    if (S_ISREG(status->st_mode))
        printf(" %jd %016" PRIx64, (intmax_t)status->st_size, hash_of(path));
    if (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode))
        printf(" %u,%u", major(status->st_rdev), minor(status->st_rdev));
    if (S_ISLNK(status->st_mode)) {
        ssize_t length = readlink(path, target, sizeof target);
        if (length < 0)
            fail(path);
        printf(" -> ");
        print_bytes((unsigned char *)target, (size_t)length);
    }
    if (!S_ISDIR(status->st_mode) && status->st_nlink > 1)
        print_links(path, status);
    putchar('\n');
    print_attributes(path);
}

static void walk(const char *path, bool top)
{
    struct stat status;
    if (lstat(path, &status) < 0)
        fail(path);
    print_file(path, &status);
    if (!S_ISDIR(status.st_mode))
        return;
    char **names = NULL;
    size_t count = 0;
    DIR *directory = opendir(path);
    struct dirent *entry;
    if (!directory)
        fail(path);
    while ((entry = readdir(directory))) {
        bool skip = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
        for (char **name = left_out; top && *name; name++)
            skip = skip || !strcmp(entry->d_name, *name);
        if (skip)
            continue;
        names = realloc(names, (count + 1) * sizeof *names);
        if (asprintf(&names[count++], "%s/%s", path, entry->d_name) < 0)
            fail(path);
    }
    closedir(directory);
    if (count)
        qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) {
        walk(names[i], false);
        free(names[i]);
    }
    free(names);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    if (chdir(argv[1]) < 0)
        fail(argv[1]);
    left_out = argv + 2;
    walk(".", true);
    return fflush(stdout) == 0 ? 0 : 1;
}
