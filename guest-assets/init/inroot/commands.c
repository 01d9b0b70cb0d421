/* These commands run before any program of the container.
 *
 * The image decides what the root holds, and its symbolic links must not lead a mount out of the root. So resolve() opens
 * DEST, and mount(2) gets the name /proc/self/fd/N of that descriptor.
 */
#include "inroot/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "inroot/copy.h"
#include "inroot/fail.h"
#include "inroot/options.h"
#include "inroot/path.h"

/* The path by which mount(2) finds the file of FD. The next call but one overwrites it. */
static const char *name_of(int fd)
{
    static char name[2][32];
    static int turn;
    turn = !turn;
    snprintf(name[turn], sizeof name[turn], "/proc/self/fd/%d", fd);
    return name[turn];
}

static mode_t mode_of(int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        fail("%s", reason(errno));
    return status.st_mode;
}

static void remount(const char *dest, unsigned long flags)
{
    /* A descriptor from before the mount is of the file below the mount: resolve DEST again. */
    int fd = resolve(dest, MISSING_FAILS, NULL);
    if (fd < 0 || mount(NULL, name_of(fd), NULL, MS_REMOUNT | MS_BIND | flags, NULL) < 0)
        fail("remounting: %s", reason(errno));
    close(fd);
}

/* Whether FD is on a file system of a type of which the container has only one. */
static bool is_only(const char *type, int fd)
{
    static const struct {
        const char *type;
        unsigned long magic; /* of statfs(2) */
    } ONLY[] = {{"proc", 0x9fa0}, {"sysfs", 0x62656572}, {"mqueue", 0x19800202}, {"cgroup2", 0x63677270}};
    struct statfs status;
    for (size_t i = 0; i < ARRAY_SIZE(ONLY); i++)
        if (!strcmp(ONLY[i].type, type))
            return fstatfs(fd, &status) == 0 && (unsigned long)status.f_type == ONLY[i].magic;
    return false;
}

/* Mounts the file system of FD, which is mounted at DEST, over itself with other flags. */
static void cover_with_itself(const char *dest, int fd, unsigned long flags)
{
    if (mount(name_of(fd), name_of(fd), NULL, MS_BIND, NULL) < 0)
        fail("%s", reason(errno));
    remount(dest, flags);
}

static void do_mount(char **a)
{
    struct options options;
    struct stat below;
    const char *type = a[0], *dest = a[2];
    read_options(a[3], &options);
    int fd = resolve(dest, MISSING_FAILS, NULL);
    bool existed = fd >= 0;
    if (!existed)
        fd = resolve(dest, MISSING_IS_DIRECTORY, NULL);
    if (fstat(fd, &below) < 0)
        fail("%s", reason(errno));
    bool copy = options.copy_up && S_ISDIR(below.st_mode);
    /* copy_up() writes into the new file system, so that becomes read-only afterwards. */
    if (mount(a[1], name_of(fd), type, copy ? options.flags & ~(unsigned long)MS_RDONLY : options.flags,
              options.data[0] ? options.data : NULL) < 0) {
        /* EBUSY: it is mounted there already. A container may have a mount of sysfs, and a bind mount that became another. */
        if (errno != EBUSY || !is_only(type, fd))
            fail("%s", reason(errno));
        cover_with_itself(dest, fd, options.flags);
    }
    if (!existed && !copy) {
        close(fd);
        return;
    }
    int mounted = resolve(dest, MISSING_FAILS, NULL);
    if (mounted < 0)
        fail("%s", reason(errno));
    /* As runc does: a tmpfs takes the mode of the directory that it covers, unless its options have a mode. */
    if (!strcmp(type, "tmpfs") && existed && !strstr(options.data, "mode=") && !(options.flags & MS_RDONLY && !copy) &&
        chmod(name_of(mounted), below.st_mode & 07777) < 0)
        fail("chmod: %s", reason(errno));
    if (copy) {
        copy_up(fd, mounted);
        if (options.flags & MS_RDONLY)
            remount(dest, options.flags);
    }
    close(mounted);
    close(fd);
}

/* Binds SOURCE at DEST, which is made if it is missing. */
static void bind_at(const char *source, const char *dest)
{
    struct stat status;
    if (stat(source, &status) < 0)
        fail("%s: %s", source, reason(errno));
    int fd = resolve(dest, S_ISDIR(status.st_mode) ? MISSING_IS_DIRECTORY : MISSING_IS_FILE, NULL);
    if (mount(source, name_of(fd), NULL, MS_BIND | MS_REC, NULL) < 0)
        fail("%s", reason(errno));
    close(fd);
}

static void do_bind(char **a)
{
    struct options options;
    read_options(a[2], &options);
    if (options.data[0] || options.copy_up)
        fail("a bind mount takes no option \"%s\"", options.data[0] ? options.data : "tmpcopyup");
    bind_at(a[0], a[1]);
    if (options.has_flags)
        remount(a[1], options.flags);
}

static void do_bind_existing(char **a)
{
    if (access(a[0], F_OK) == 0)
        bind_at(a[0], a[1]);
}

static bool is_root(const char *dest)
{
    return !dest[strspn(dest, "/")];
}

static void do_propagation(char **a)
{
    unsigned long flags = propagation_flags(a[1]);
    if (!flags)
        fail("unknown propagation \"%s\"", a[1]);
    int fd = resolve(a[0], MISSING_FAILS, NULL);
    if (fd < 0)
        fail("%s: %s", a[1], reason(errno));
    if (mount(NULL, name_of(fd), NULL, flags, NULL) < 0) {
        /* EINVAL: the root is a directory of the ramdisk. Make it a mount. */
        if (errno != EINVAL || !is_root(a[0]) || mount(name_of(fd), name_of(fd), NULL, MS_BIND | MS_REC, NULL) < 0)
            fail("%s: %s", a[1], reason(errno));
        close(fd);
        fd = resolve(a[0], MISSING_FAILS, NULL);
        if (fd < 0 || mount(NULL, name_of(fd), NULL, flags, NULL) < 0)
            fail("%s: %s", a[1], reason(errno));
    }
    close(fd);
}

static unsigned long parse_number(const char *text, int base)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, base);
    if (*end || end == text || errno || value > UINT32_MAX)
        fail("\"%s\" is not a number", text);
    return value;
}

struct node {
    mode_t type, mode;
    dev_t device;
    uid_t uid;
    gid_t gid;
};

/* Of the arguments TYPE MAJOR MINOR MODE UID GID. */
static struct node read_node(char **a)
{
    mode_t type = !strcmp(a[0], "c") ? S_IFCHR : !strcmp(a[0], "b") ? S_IFBLK : !strcmp(a[0], "p") ? S_IFIFO : 0;
    if (!type)
        fail("\"%s\" is not a type of node", a[0]);
    dev_t device = makedev((unsigned)parse_number(a[1], 10), (unsigned)parse_number(a[2], 10));
    return (struct node){
        .type = type,
        .mode = (mode_t)parse_number(a[3], 8) & 07777,
        .device = type == S_IFIFO ? 0 : device,
        .uid = (uid_t)parse_number(a[4], 10),
        .gid = (gid_t)parse_number(a[5], 10),
    };
}

static void set_owner_and_mode(const struct node *node, int parent, const char *name)
{
    /* chown(2) clears set-id bits, so it comes first. */
    if (fchownat(parent, name, node->uid, node->gid, AT_SYMLINK_NOFOLLOW) < 0 || fchmodat(parent, name, node->mode, 0) < 0)
        fail("owner and mode: %s", reason(errno));
}

static void do_node(char **a)
{
    char name[NAME_MAX + 1];
    struct stat status;
    struct node node = read_node(a);
    int parent = resolve(a[6], MISSING_IS_DIRECTORY, name);

    /* Another virtual machine that shares the root may make the node at the same time: look at the node again. */
    while (mknodat(parent, name, node.type | node.mode, node.device) < 0) {
        if (errno != EEXIST)
            fail("%s", reason(errno));
        if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if ((status.st_mode & S_IFMT) == node.type && (node.type == S_IFIFO || status.st_rdev == node.device))
            break;
        if (unlinkat(parent, name, S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT)
            fail("replacing the existing file: %s", reason(errno));
    }
    set_owner_and_mode(&node, parent, name);
    close(parent);
}

/* For a root that cannot hold nodes: the node is in the ramdisk, and bound over a file. */
static void do_bound_node(char **a)
{
    static unsigned count;
    char place[32];
    struct node node = read_node(a);
    if (mkdir(NODES, 0755) < 0 && errno != EEXIST)
        fail("%s: %s", NODES, reason(errno));
    snprintf(place, sizeof place, NODES "/%u", count++);
    if (mknod(place, node.type | node.mode, node.device) < 0)
        fail("%s: %s", place, reason(errno));
    set_owner_and_mode(&node, AT_FDCWD, place);
    bind_at(place, a[6]);
}

static void do_symlink(char **a)
{
    char name[NAME_MAX + 1];
    int parent = resolve(a[1], MISSING_IS_DIRECTORY, name);
    if (symlinkat(a[0], parent, name) < 0 && errno != EEXIST)
        fail("%s", reason(errno));
    close(parent);
}

static void do_mask(char **a)
{
    int fd = resolve(a[0], MISSING_FAILS, NULL);
    if (fd < 0)
        return;
    int result = S_ISDIR(mode_of(fd)) ? mount("tmpfs", name_of(fd), "tmpfs", MS_RDONLY, NULL)
                                      : mount("/dev/null", name_of(fd), NULL, MS_BIND, NULL);
    if (result < 0)
        fail("%s", reason(errno));
    close(fd);
}

/* The flags for mount(2) that keep those of FD's mount. */
static unsigned long flags_of(int fd)
{
    static const struct {
        unsigned long st, ms;
    } PAIRS[] = {
        {ST_NOSUID, MS_NOSUID},         {ST_NODEV, MS_NODEV},       {ST_NOEXEC, MS_NOEXEC}, {ST_NOATIME, MS_NOATIME},
        {ST_NODIRATIME, MS_NODIRATIME}, {ST_RELATIME, MS_RELATIME}, {0x2000, MS_NOSYMFOLLOW},   {ST_RDONLY, MS_RDONLY},
    };
    struct statvfs status;
    unsigned long flags = 0;
    if (fstatvfs(fd, &status) < 0)
        fail("%s", reason(errno));
    for (size_t i = 0; i < ARRAY_SIZE(PAIRS); i++)
        if (status.f_flag & PAIRS[i].st)
            flags |= PAIRS[i].ms;
    if (!(flags & (MS_NOATIME | MS_RELATIME)))
        flags |= MS_STRICTATIME;
    return flags;
}

/* Gives a mount at DEST one flag more. */
static void restrict_mount(const char *dest, unsigned long flag)
{
    int fd = resolve(dest, MISSING_FAILS, NULL);
    if (fd < 0)
        return;
    unsigned long flags = flag | flags_of(fd);
    /* The root is a mount already. A bind over it would hide the mounts below it. */
    if (!is_root(dest) || mount(NULL, name_of(fd), NULL, MS_REMOUNT | MS_BIND | flags, NULL) < 0) {
        if (mount(name_of(fd), name_of(fd), NULL, MS_BIND | MS_REC, NULL) < 0)
            fail("%s", reason(errno));
        remount(dest, flags);
    }
    close(fd);
}

static void do_readonly(char **a)
{
    restrict_mount(a[0], MS_RDONLY);
}

static void do_nodev(char **a)
{
    restrict_mount(a[0], MS_NODEV);
}

static void do_mkdir(char **a)
{
    int fd = resolve(a[0], MISSING_IS_DIRECTORY, NULL);
    if (!S_ISDIR(mode_of(fd)))
        fail("%s", reason(ENOTDIR));
    close(fd);
}

/* Copies owner, mode, extended attributes and times. */
static void do_like(char **a)
{
    enum { XATTR_MAX = 65536 }; /* xattr(7) */
    static char names[XATTR_MAX], value[XATTR_MAX];
    struct stat status;
    int to = resolve(a[1], MISSING_FAILS, NULL);
    if (to < 0 || stat(a[0], &status) < 0)
        fail("%s: %s", a[0], reason(errno));
    if (chown(name_of(to), status.st_uid, status.st_gid) < 0 || chmod(name_of(to), status.st_mode & 07777) < 0)
        fail("owner and mode: %s", reason(errno));
    ssize_t length = listxattr(a[0], names, sizeof names);
    for (const char *name = names; name < names + length; name += strlen(name) + 1) {
        if (!strncmp(name, "trusted.overlay.", 16)) /* of overlayfs, about the layer that SOURCE is */
            continue;
        ssize_t size = getxattr(a[0], name, value, sizeof value);
        /* EOPNOTSUPP: a tmpfs holds no user attributes before Linux 6.6. */
        if (size < 0 || (setxattr(name_of(to), name, value, (size_t)size, 0) < 0 && errno != EOPNOTSUPP))
            fail("%s: %s", name, reason(errno));
    }
    struct timespec times[] = {status.st_atim, status.st_mtim};
    if (utimensat(AT_FDCWD, name_of(to), times, 0) < 0)
        fail("times: %s", reason(errno));
    close(to);
}

/* In the order of docs/guest.md. */
static const struct command COMMANDS[] = {
    {"mount", 4, 2, do_mount},
    {"bind", 3, 1, do_bind},
    {"bind_existing", 2, 1, do_bind_existing},
    {"propagation", 2, 0, do_propagation},
    {"node", 7, 6, do_node},
    {"bound_node", 7, 6, do_bound_node},
    {"symlink", 2, 1, do_symlink},
    {"mask", 1, 0, do_mask},
    {"readonly", 1, 0, do_readonly},
    {"nodev", 1, 0, do_nodev},
    {"mkdir", 1, 0, do_mkdir},
    {"like", 2, 1, do_like},
};

const struct command *inroot_command(const char *name)
{
    return command_of(COMMANDS, ARRAY_SIZE(COMMANDS), name);
}
