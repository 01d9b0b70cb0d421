/* inroot: acts inside the container's root at /newroot, before anything of the container runs (docs/guest.md).
 *
 * The image decides what lies in that root: path.c finds places in it, and mounts go to /proc/self/fd/N of what it
 * found, so that no symbolic link of the image leads outside.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "inroot.h"

static const char *verb, *subject;

void fail(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "inroot: %s %s: %s\n", verb, subject, text);
    exit(1);
}

/* The name under which mount(2) finds a descriptor's file. */
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

/* ---- options ---- */

static const struct {
    const char *word;
    unsigned long set, clear;
} FLAGS[] = {
    {"async", 0, MS_SYNCHRONOUS},
    {"atime", 0, MS_NOATIME},
    {"dev", 0, MS_NODEV},
    {"diratime", 0, MS_NODIRATIME},
    {"dirsync", MS_DIRSYNC, 0},
    {"exec", 0, MS_NOEXEC},
    {"lazytime", MS_LAZYTIME, 0},
    {"mand", MS_MANDLOCK, 0},
    {"noatime", MS_NOATIME, 0},
    {"nodev", MS_NODEV, 0},
    {"nodiratime", MS_NODIRATIME, 0},
    {"noexec", MS_NOEXEC, 0},
    {"nolazytime", 0, MS_LAZYTIME},
    {"nomand", 0, MS_MANDLOCK},
    {"norelatime", 0, MS_RELATIME},
    {"nostrictatime", 0, MS_STRICTATIME},
    {"nosuid", MS_NOSUID, 0},
    {"nosymfollow", MS_NOSYMFOLLOW, 0},
    {"relatime", MS_RELATIME, 0},
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"strictatime", MS_STRICTATIME, 0},
    {"suid", 0, MS_NOSUID},
    {"symfollow", 0, MS_NOSYMFOLLOW},
    {"sync", MS_SYNCHRONOUS, 0},
};

struct options {
    unsigned long flags;
    bool has_flags; /* a flag word was given, even one that clears */
    bool copy_up;
    char data[4096]; /* a page, which is mount(2)'s limit */
};

static void add_data(struct options *options, const char *word)
{
    size_t length = strlen(options->data);
    if (length + strlen(word) + 2 > sizeof options->data)
        fail("options are longer than a page");
    snprintf(options->data + length, sizeof options->data - length, "%s%s", length ? "," : "", word);
}

static void read_options(char *text, struct options *options)
{
    memset(options, 0, sizeof *options);
    if (!strcmp(text, "-"))
        return;
    for (char *word = strtok(text, ","); word; word = strtok(NULL, ",")) {
        size_t i = 0;
        while (i < ARRAY_SIZE(FLAGS) && strcmp(FLAGS[i].word, word))
            i++;
        if (i < ARRAY_SIZE(FLAGS)) {
            options->flags = (options->flags & ~FLAGS[i].clear) | FLAGS[i].set;
            options->has_flags = true;
        } else if (!strcmp(word, "tmpcopyup")) {
            options->copy_up = true;
        } else {
            add_data(options, word);
        }
    }
}

/* ---- verbs ---- */

static void remount(const char *dest, unsigned long flags)
{
    /* The descriptor of before the mount is of what lies under it: look again. */
    int fd = resolve(dest, MISSING_FAILS, NULL);
    if (fd < 0 || mount(NULL, name_of(fd), NULL, MS_REMOUNT | MS_BIND | flags, NULL) < 0)
        fail("remounting: %s", reason(errno));
    close(fd);
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
    /* What is copied up has to be written first. */
    if (mount(a[1], name_of(fd), type, copy ? options.flags & ~(unsigned long)MS_RDONLY : options.flags,
              options.data[0] ? options.data : NULL) < 0)
        fail("%s", reason(errno));
    if (!existed && !copy)
        return;
    int mounted = resolve(dest, MISSING_FAILS, NULL);
    if (mounted < 0)
        fail("%s", reason(errno));
    /* As runc: a tmpfs takes the mode of the directory it covers, unless it was told one. */
    if (!strcmp(type, "tmpfs") && existed && !strstr(options.data, "mode=") && !(options.flags & MS_RDONLY && !copy) &&
        chmod(name_of(mounted), below.st_mode & 07777) < 0)
        fail("chmod: %s", reason(errno));
    if (copy) {
        copy_up(fd, mounted);
        if (options.flags & MS_RDONLY)
            remount(dest, options.flags);
    }
}

static void do_bind(char **a)
{
    struct options options;
    struct stat source;
    read_options(a[2], &options);
    if (options.data[0] || options.copy_up)
        fail("a bind mount takes no option \"%s\"", options.data[0] ? options.data : "tmpcopyup");
    if (stat(a[0], &source) < 0)
        fail("%s: %s", a[0], reason(errno));
    int fd = resolve(a[1], S_ISDIR(source.st_mode) ? MISSING_IS_DIRECTORY : MISSING_IS_FILE, NULL);
    if (mount(a[0], name_of(fd), NULL, MS_BIND | MS_REC, NULL) < 0)
        fail("%s", reason(errno));
    if (options.has_flags)
        remount(a[1], options.flags);
}

static bool is_root(const char *dest)
{
    return !dest[strspn(dest, "/")];
}

static void do_propagation(char **a)
{
    static const struct {
        const char *word;
        unsigned long flags;
    } KINDS[] = {
        {"private", MS_PRIVATE},       {"rprivate", MS_PRIVATE | MS_REC},       {"slave", MS_SLAVE},
        {"rslave", MS_SLAVE | MS_REC}, {"shared", MS_SHARED},                   {"rshared", MS_SHARED | MS_REC},
        {"unbindable", MS_UNBINDABLE}, {"runbindable", MS_UNBINDABLE | MS_REC},
    };
    size_t i = 0;
    while (i < ARRAY_SIZE(KINDS) && strcmp(KINDS[i].word, a[1]))
        i++;
    if (i == ARRAY_SIZE(KINDS))
        fail("unknown propagation \"%s\"", a[1]);
    int fd = resolve(a[0], MISSING_FAILS, NULL);
    if (fd >= 0 && mount(NULL, name_of(fd), NULL, KINDS[i].flags, NULL) == 0)
        return;
    /* A root that lies in the ramdisk itself is no mount yet. */
    if (fd < 0 || errno != EINVAL || !is_root(a[0]) || mount(name_of(fd), name_of(fd), NULL, MS_BIND | MS_REC, NULL) < 0 ||
        (fd = resolve(a[0], MISSING_FAILS, NULL)) < 0 || mount(NULL, name_of(fd), NULL, KINDS[i].flags, NULL) < 0)
        fail("%s: %s", a[1], reason(errno));
}

static unsigned long parse_number(const char *text, int base)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, base);
    if (*end || end == text || errno || value > UINT32_MAX)
        fail("\"%s\" is no number", text);
    return value;
}

/* TYPE MAJOR MINOR MODE UID GID DEST */
static void do_node(char **a)
{
    char name[NAME_MAX + 1];
    struct stat status;
    mode_t type = !strcmp(a[0], "c") ? S_IFCHR : !strcmp(a[0], "b") ? S_IFBLK : !strcmp(a[0], "p") ? S_IFIFO : 0;
    if (!type)
        fail("\"%s\" is no type of node", a[0]);
    dev_t device = makedev((unsigned)parse_number(a[1], 10), (unsigned)parse_number(a[2], 10));
    mode_t mode = (mode_t)parse_number(a[3], 8) & 07777;
    uid_t uid = (uid_t)parse_number(a[4], 10);
    gid_t gid = (gid_t)parse_number(a[5], 10);
    int parent = resolve(a[6], MISSING_IS_DIRECTORY, name);

    /* Another machine with the same root may do this at the same time: what it made is looked at again. */
    while (mknodat(parent, name, type | mode, type == S_IFIFO ? 0 : device) < 0) {
        if (errno != EEXIST)
            fail("%s", reason(errno));
        if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if ((status.st_mode & S_IFMT) == type && (type == S_IFIFO || status.st_rdev == device))
            break;
        if (unlinkat(parent, name, S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT)
            fail("replacing what is there: %s", reason(errno));
    }
    if (fchownat(parent, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 || fchmodat(parent, name, mode, 0) < 0)
        fail("owner and mode: %s", reason(errno));
}

static void do_symlink(char **a)
{
    char name[NAME_MAX + 1];
    int parent = resolve(a[1], MISSING_IS_DIRECTORY, name);
    if (symlinkat(a[0], parent, name) < 0 && errno != EEXIST)
        fail("%s", reason(errno));
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
}

/* The mount(2) flags of the mount FD lies on. */
static unsigned long flags_of(int fd)
{
    static const struct {
        unsigned long st, ms;
    } PAIRS[] = {
        {ST_NOSUID, MS_NOSUID},         {ST_NODEV, MS_NODEV},       {ST_NOEXEC, MS_NOEXEC}, {ST_NOATIME, MS_NOATIME},
        {ST_NODIRATIME, MS_NODIRATIME}, {ST_RELATIME, MS_RELATIME}, {0x2000, MS_NOSYMFOLLOW},
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

static void do_readonly(char **a)
{
    int fd = resolve(a[0], MISSING_FAILS, NULL);
    if (fd < 0)
        return;
    unsigned long flags = MS_RDONLY | flags_of(fd);
    /* The root is a mount already, and what is mounted below it must stay in sight. */
    if (is_root(a[0]) && mount(NULL, name_of(fd), NULL, MS_REMOUNT | MS_BIND | flags, NULL) == 0)
        return;
    if (mount(name_of(fd), name_of(fd), NULL, MS_BIND | MS_REC, NULL) < 0)
        fail("%s", reason(errno));
    remount(a[0], flags);
}

static void do_mkdir(char **a)
{
    if (!S_ISDIR(mode_of(resolve(a[0], MISSING_IS_DIRECTORY, NULL))))
        fail("%s", reason(ENOTDIR));
}

/* Owner, mode, extended attributes and times of a directory of the ramdisk's root. */
static void do_like(char **a)
{
    enum { MOST = 65536 }; /* xattr(7) */
    static char names[MOST], value[MOST];
    struct stat status;
    int to = resolve(a[1], MISSING_FAILS, NULL);
    if (to < 0 || stat(a[0], &status) < 0)
        fail("%s: %s", a[0], reason(errno));
    if (chown(name_of(to), status.st_uid, status.st_gid) < 0 || chmod(name_of(to), status.st_mode & 07777) < 0)
        fail("owner and mode: %s", reason(errno));
    ssize_t length = listxattr(a[0], names, sizeof names);
    for (const char *name = names; name < names + length; name += strlen(name) + 1) {
        if (!strncmp(name, "trusted.overlay.", 16)) /* about a layer, not about what it shows */
            continue;
        ssize_t size = getxattr(a[0], name, value, sizeof value);
        /* A tmpfs holds no user attributes before Linux 6.6. */
        if (size < 0 || (setxattr(name_of(to), name, value, (size_t)size, 0) < 0 && errno != EOPNOTSUPP))
            fail("%s: %s", name, reason(errno));
    }
    struct timespec times[] = {status.st_atim, status.st_mtim};
    if (utimensat(AT_FDCWD, name_of(to), times, 0) < 0)
        fail("times: %s", reason(errno));
}

static const struct {
    const char *name;
    int count; /* of arguments */
    int dest;  /* which of them errors name */
    void (*run)(char **arguments);
    const char *usage;
} VERBS[] = {
    {"mount", 4, 2, do_mount, "FSTYPE SOURCE DEST OPTIONS"},
    {"bind", 3, 1, do_bind, "SOURCE DEST OPTIONS"},
    {"propagation", 2, 0, do_propagation, "DEST WORD"},
    {"node", 7, 6, do_node, "TYPE MAJOR MINOR MODE UID GID DEST"},
    {"symlink", 2, 1, do_symlink, "TARGET DEST"},
    {"mask", 1, 0, do_mask, "DEST"},
    {"readonly", 1, 0, do_readonly, "DEST"},
    {"mkdir", 1, 0, do_mkdir, "DEST"},
    {"like", 2, 1, do_like, "SOURCE DEST"},
};

int inroot_main(int argc, char **argv)
{
    umask(0);
    for (size_t i = 0; i < ARRAY_SIZE(VERBS); i++)
        if (argc > 1 && !strcmp(argv[1], VERBS[i].name)) {
            if (argc - 2 != VERBS[i].count) {
                fprintf(stderr, "inroot: usage: inroot %s %s\n", VERBS[i].name, VERBS[i].usage);
                return 1;
            }
            verb = VERBS[i].name;
            subject = argv[2 + VERBS[i].dest];
            VERBS[i].run(argv + 2);
            return 0;
        }
    fprintf(stderr, "inroot: unknown command; it takes one of");
    for (size_t i = 0; i < ARRAY_SIZE(VERBS); i++)
        fprintf(stderr, " %s", VERBS[i].name);
    fprintf(stderr, "\n");
    return 1;
}
