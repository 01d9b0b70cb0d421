/* Changes a root filesystem in all the ways that a layer above it has to keep, and executes a command.
 *
 *     changes COMMAND ...
 *
 * The root is one that make_layers.py has made; its own directories are looked for, not named here. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#define CHECK(call)                                             \
    do                                                          \
        if ((call) < 0) {                                       \
            fprintf(stderr, "%s: %s\n", #call, strerror(errno)); \
            exit(1);                                            \
        }                                                       \
    while (0)

static void put(const char *path, const char *text, mode_t mode)
{
    int fd;
    CHECK(fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode));
    CHECK(write(fd, text, strlen(text)));
    CHECK(fchmod(fd, mode));
    close(fd);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status, (void)type, (void)walk;
    CHECK(remove(path));
    return 0;
}

static void set_time(const char *path, long seconds, long nanoseconds)
{
    struct timespec times[] = {{seconds, 1}, {seconds, nanoseconds}};
    CHECK(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW));
}

/* Every third directory of the root is removed, every second one of those comes again, and files of others are changed. */
static void change_what_is_there(void)
{
    char path[512];
    int number = 0;
    DIR *list = opendir("/");
    for (struct dirent *entry; (entry = readdir(list));) {
        struct stat status;
        snprintf(path, sizeof path, "/%s", entry->d_name);
        if (entry->d_name[0] == '.' || !strcmp(path, "/dev") || !strcmp(path, "/bin") || !strcmp(path, "/new"))
            continue;
        CHECK(lstat(path, &status));
        if (S_ISREG(status.st_mode)) {
            switch (number++ % 4) {
            case 0:
                CHECK(unlink(path));
                break;
            case 1:
                CHECK(chown(path, 1000, 2000));
                break;
            case 2:
                put(path, "changed\n", 04711);
                break;
            default:
                CHECK(unlink(path));
                CHECK(mkdir(path, 0700));
            }
        } else if (S_ISDIR(status.st_mode) && number++ % 3 == 0) {
            CHECK(nftw(path, remove_one, 64, FTW_DEPTH | FTW_PHYS));
            if (number % 2) {
                CHECK(mkdir(path, 01777));
                snprintf(path, sizeof path, "/%s/only", entry->d_name);
                put(path, "the only one\n", 0644);
            }
        } else if (S_ISDIR(status.st_mode)) {
            CHECK(chmod(path, 0711));
            snprintf(path, sizeof path, "/%s/added", entry->d_name);
            put(path, "added\n", 0600);
        }
    }
    closedir(list);
}

int main(int argc, char **argv)
{
    static const unsigned char CAPABILITY[20] = {1, 0, 0, 2, 0, 4};
    static const unsigned char ACL[] = {
        2, 0, 0,    0,    1,    0,    6,    0, 0xff, 0xff, 0xff, 0xff, 2, 0, 5,    0,    0xe8, 3,    0,  0, 4, 0, 4,    0,
        0xff, 0xff, 0xff, 0xff, 16,   0,    7, 0,    0xff, 0xff, 0xff, 0xff, 32,   0,    0,    0,    0xff, 0xff, 0xff, 0xff,
    };
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/new/socket"};
    char name[300] = "/new/", *end = name + strlen(name);
    int fd;
    if (argc < 2)
        return 2;
    umask(0);
    change_what_is_there();
    CHECK(mkdir("/new", 0755));
    CHECK(mkdir("/new/deep", 02750));
    put("/new/one", "several names\n", 0640);
    CHECK(link("/new/one", "/new/deep/two"));
    CHECK(link("/new/one", "/three"));
    CHECK(symlink("../\xff nowhere", "/new/link"));
    CHECK(lchown("/new/link", 3, 4));
    CHECK(mkfifo("/new/fifo", 0622));
    CHECK(mknod("/new/null", S_IFCHR | 0666, makedev(1, 3)));
    CHECK(mknod("/new/disk", S_IFBLK | 0640, makedev(202, 17)));
    CHECK(fd = socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address));
    memset(end, 'n', 254); /* mkfs.erofs 1.5 takes no more */
    put(name, "", 0444);
    CHECK(fd = open("/new/sparse", O_WRONLY | O_CREAT, 0600));
    CHECK(pwrite(fd, "begin", 5, 0));
    CHECK(pwrite(fd, "middle", 6, 20 << 20));
    CHECK(ftruncate(fd, 41 << 20));
    close(fd);
    put("/new/capable", "a program", 0755);
    CHECK(setxattr("/new/capable", "security.capability", CAPABILITY, sizeof CAPABILITY, 0));
    put("/new/listed", "", 0674);
    CHECK(setxattr("/new/listed", "system.posix_acl_access", ACL, sizeof ACL, 0));
    CHECK(setxattr("/new/deep", "system.posix_acl_default", ACL, sizeof ACL, 0));
    put("/new/deep/inherits", "", 0666);
    set_time("/new/one", 1234567890, 123456789);
    set_time("/new/link", 1000000001, 987654321);
    set_time("/new/deep", 999999999, 999999999);
    set_time("/", 1500000000, 123456789);
    execvp(argv[1], argv + 1);
    fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
    return 1;
}
