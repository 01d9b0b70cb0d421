/* The filler is a file beside the overlay's directories, which the container does not see. It has blocks of the layer's file
 * system, but none of the host's, as nothing is ever written to it. So it keeps the container from using blocks for which the
 * host has no room. The reasons are in docs/decisions/0013-filler-in-the-layer.md.
 *
 * Each step may wait for the disk, so a child does it. The child mounts the layer once more, in a mount namespace of its own,
 * and ends. What it must not forget is in a page that it shares with PID 1. */
#include "pid1/space.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error_text.h"
#include "pid1/log.h"

#define PLACE "/run/layer"

/* Of linux/fs.h, which clashes with <sys/mount.h>. */
struct trim_range {
    uint64_t start, length, least;
};
#define FITRIM _IOWR('X', 121, struct trim_range)

enum {
    FRAME_SIZE = 16,
    MOST_FDS = 1024,
    INODE_SIZE = 256, /* of mke2fs (runx/exec/storage/mkfs.py) */
    INODE_SHARE = 512, /* of a table that an inode in use may have filled: neighbours in its block may be unused */
    STEP = 1 << 20,
    TRIM_FROM = 16 << 20, /* bytes that the host may hold in vain */
    TRIM_LEAST = 64 << 10,
    TRIM_EVERY = 8, /* runs after which to trim again, if the last time left more than TRIM_FROM */
};

static const char *disk;
static pid_t running;
static bool is_due, has_warned;
static struct {
    uint64_t limit, held; /* of the frame */
    uint64_t rest;        /* bytes that the host holds in vain, and that trimming does not give back */
    unsigned runs;        /* since the last trim */
    bool has_trimmed, cannot_trim;
    const char *failed; /* the step that failed, NULL: none; an address that both processes have */
    int error;
} *shared;

void space_of(const char *device)
{
    disk = device;
}

static uint64_t number(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

void space_receive(const unsigned char *payload, size_t length)
{
    if (length != FRAME_SIZE || !disk)
        return;
    if (!shared) {
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (shared == MAP_FAILED) {
            shared = NULL;
            return;
        }
    }
    /* A run that is at work may see one number of this frame and one of the last. The next run has both. */
    shared->limit = number(payload);
    shared->held = number(payload + 8);
    is_due = true;
}

/* ---- in the child */

static _Noreturn void stop(const char *step)
{
    shared->error = errno;
    shared->failed = step;
    _exit(1);
}

/* Gives back to the host what the container has removed. */
static void trim(int root)
{
    struct trim_range range = {.length = UINT64_MAX, .least = TRIM_LEAST};
    if (shared->cannot_trim)
        return;
    syncfs(root); /* blocks are free when their removal is in the journal */
    shared->runs = 0;
    if (ioctl(root, FITRIM, &range) == 0)
        shared->has_trimmed = true;
    else
        shared->cannot_trim = true;
}

/* Bytes that the filler should have; it has FILLER. Trims first if that is worth it. */
static uint64_t wanted(int root, uint64_t disk_size, uint64_t filler)
{
    struct statvfs status;
    if (fstatvfs(root, &status) < 0)
        stop("statvfs");
    uint64_t total = status.f_blocks * status.f_frsize, unused = status.f_bfree * status.f_frsize;
    /* What the container's files do not have, but the file system itself: journal, maps, and the tables of inodes, which occupy
     * the host's blocks as they fill. */
    uint64_t tables = status.f_files * INODE_SIZE, filled = (status.f_files - status.f_ffree) * INODE_SHARE;
    uint64_t used = (filled < tables ? filled : tables) + total - unused - filler;
    if (disk_size > total + tables)
        used += disk_size - total - tables;

    uint64_t in_vain = shared->held > used ? shared->held - used : 0;
    if (shared->has_trimmed || in_vain < shared->rest)
        shared->rest = in_vain;
    shared->has_trimmed = false;
    if (in_vain - shared->rest >= TRIM_FROM || (in_vain >= TRIM_FROM && ++shared->runs >= TRIM_EVERY))
        trim(root);

    uint64_t floor = used + shared->rest, available = shared->limit > floor ? shared->limit - floor : 0;
    return unused + filler > available ? unused + filler - available : 0;
}

static void adjust(int root, uint64_t disk_size)
{
    struct stat status = {0};
    int filler = openat(root, "filler", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (filler >= 0 && fstat(filler, &status) < 0)
        stop("fstat");
    uint64_t size = (uint64_t)status.st_size, want = wanted(root, disk_size, size);
    if (!want && filler >= 0) {
        if (unlinkat(root, "filler", 0) < 0)
            stop("removing the filler");
    } else if (want >= size + STEP) {
        if (filler < 0)
            filler = openat(root, "filler", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (filler < 0)
            stop("making the filler");
        /* ENOSPC: the container was quicker. The filler has what was left. */
        if (fallocate(filler, 0, (off_t)size, (off_t)(want - size)) < 0 && errno != ENOSPC)
            stop("fallocate");
    } else if (size >= want + STEP && ftruncate(filler, (off_t)want) < 0) {
        stop("ftruncate");
    }
}

static _Noreturn void run(void)
{
    uint64_t disk_size;
    for (int fd = 3; fd < MOST_FDS; fd++)
        close(fd); /* ends of the process's pipes */
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        stop("making a mount namespace");
    mkdir(PLACE, 0700);
    if (mount(disk, PLACE, "ext4", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        stop("mounting the layer");
    int root = open(PLACE, O_RDONLY | O_DIRECTORY | O_CLOEXEC), device = open(disk, O_RDONLY | O_CLOEXEC);
    if (root < 0 || device < 0 || ioctl(device, BLKGETSIZE64, &disk_size) < 0)
        stop("opening the layer");
    close(device);
    adjust(root, disk_size);
    _exit(0);
}

/* ---- in PID 1 */

void space_follow(void)
{
    if (running) {
        /* ECHILD: the child was reaped together with others. */
        if (waitpid(running, NULL, WNOHANG) == 0)
            return;
        running = 0;
        if (shared->failed && !has_warned) {
            has_warned = true;
            log_warn("init: the space of the layer is not kept within the host's: %s: %s\n", shared->failed,
                     reason(shared->error));
        }
        shared->failed = NULL;
    }
    if (!is_due)
        return;
    is_due = false;
    running = fork();
    if (running == 0)
        run();
    if (running < 0)
        running = 0; /* the next frame tries again */
}
