#include "child/ramdisk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "common/file.h"
#include "inroot/fail.h"
#include "inroot/options.h"

/* Of linux/loop.h, which musl does not have. */
enum { LOOP_CTL_GET_FREE = 0x4C82, LOOP_CONFIGURE = 0x4C0A, LO_FLAGS_READ_ONLY = 1, LO_FLAGS_AUTOCLEAR = 4 };
struct loop_config {
    uint32_t file, block_size;
    uint64_t device, inode, rdevice, offset, size_limit;
    uint32_t number, encryption, key_size, flags;
    uint8_t names[2][64], key[32];
    uint64_t init[2], reserved[8];
};

/* Makes PATH and its parents. */
static void make_directory(const char *path)
{
    char part[PATH_MAX];
    for (size_t length = 1;; length++) {
        if (path[length] && path[length] != '/')
            continue;
        snprintf(part, sizeof part, "%.*s", (int)length, path);
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            fail("%s: %s", part, reason(errno));
        if (!path[length])
            return;
    }
}

/* Gives a loop device the file IMAGE, read-only: its descriptor. NAME becomes its path. The last close of it, as a file or
 * as a mount, takes the image away again. */
static int open_loop(const char *image, char *name, size_t size)
{
    int file = open(image, O_RDONLY | O_CLOEXEC);
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (file < 0 || control < 0)
        fail("%s: %s", file < 0 ? image : "/dev/loop-control", reason(errno));
    struct loop_config config = {.file = (uint32_t)file, .flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR};
    for (;;) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        snprintf(name, size, "/dev/loop%d", number);
        int loop = number < 0 ? -1 : open(name, O_RDONLY | O_CLOEXEC);
        if (loop < 0)
            fail("a loop device: %s", reason(errno));
        if (ioctl(loop, LOOP_CONFIGURE, &config) == 0) {
            close(file);
            close(control);
            return loop;
        }
        if (errno != EBUSY) /* another program took the device: on the double, guests share the machine's */
            fail("%s: %s", name, reason(errno));
        close(loop);
    }
}

enum { WAIT_MS = 60 * 1000, RETRY_MS = 2 };

static void wait_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
}

/* Mounts SOURCE as the first of TYPES that it is: whether that was possible. */
static bool mount_one(const char *types, const char *source, const char *target, const struct options *options)
{
    char text[128];
    snprintf(text, sizeof text, "%s", types);
    for (char *rest = text, *type; (type = strsep(&rest, ","));)
        if (mount(source, target, type, options->flags, options->data[0] ? options->data : NULL) == 0)
            return true;
    return false;
}

/* Waits until a disk can be opened: its driver has connected. A disk has its node a moment before that. */
static void await_disk(const char *path)
{
    int fd;
    for (int waited = 0; (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0; waited += RETRY_MS) {
        if ((errno != ENOENT && errno != ENXIO) || waited >= WAIT_MS)
            fail("%s: %s", path, reason(errno));
        wait_a_little();
    }
    close(fd);
}

/* FSTYPES SOURCE TARGET OPTIONS */
static void do_attach(char **a)
{
    struct options options;
    struct stat status;
    char loop_name[32];
    const char *source = a[1];
    int loop = -1;
    read_options(a[3], &options);
    make_directory(a[2]);
    if (!strncmp(source, "/dev/", 5))
        await_disk(source);
    else if (source[0] == '/' && stat(source, &status) == 0 && S_ISREG(status.st_mode)) {
        loop = open_loop(source, loop_name, sizeof loop_name);
        source = loop_name;
    }
    /* The kernel does not know a share (EINVAL) before its driver has connected (net/9p/trans_xen.c, p9_xen_create). */
    for (int waited = 0; !mount_one(a[0], source, a[2], &options); waited += RETRY_MS) {
        if (strcmp(a[0], "9p") || errno != EINVAL || waited >= WAIT_MS)
            fail("%s: %s", a[1], reason(errno));
        wait_a_little();
    }
    if (loop >= 0)
        close(loop);
}

/* SOURCE TARGET */
static void do_place(char **a)
{
    make_directory(a[1]);
    if (mount(a[0], a[1], NULL, MS_BIND, NULL) < 0)
        fail("%s: %s", a[1], reason(errno));
}

/* PATH */
static void do_await_disk(char **a)
{
    await_disk(a[0]);
}

/* KIND */
static void do_unshare(char **a)
{
    int kind = !strcmp(a[0], "ipc") ? CLONE_NEWIPC : !strcmp(a[0], "uts") ? CLONE_NEWUTS : 0;
    if (!kind || unshare(kind) < 0)
        fail("%s", reason(kind ? errno : EINVAL));
}

static void do_directory(char **a)
{
    make_directory(a[0]);
}

/* INTERFACE */
static void do_up(char **a)
{
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", a[0]);
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        fail("%s", reason(errno));
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        fail("%s", reason(errno));
    close(fd);
}

/* NAME VALUE */
static void do_sysctl(char **a)
{
    char path[512];
    if (snprintf(path, sizeof path, "/proc/sys/%s", a[0]) >= (int)sizeof path)
        fail("%s", reason(ENAMETOOLONG));
    if (!write_file(path, a[1]))
        fail("%s", reason(errno));
}

/* In the order of docs/guest.md. */
static const struct command COMMANDS[] = {
    {"attach", 4, 2, do_attach},
    {"place", 2, 1, do_place},
    {"await_disk", 1, 0, do_await_disk},
    {"unshare", 1, 0, do_unshare},
    {"directory", 1, 0, do_directory},
    {"up", 1, 0, do_up},
    {"sysctl", 2, 0, do_sysctl},
};

const struct command *ramdisk_command(const char *name)
{
    return command_of(COMMANDS, ARRAY_SIZE(COMMANDS), name);
}
