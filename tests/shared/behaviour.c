/* What a program may expect of its root file system. Prints a line for each thing, "NAME ok" or "NAME: what was wrong", and works in
 * a directory that it is given. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NEED(condition) do { if (!(condition)) return #condition; } while (0)
static int files = 10000;

static const char *unix_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    char byte = 0;
    NEED(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1) == 0);
    NEED(connect(client, (struct sockaddr *)&address, sizeof address) == 0 && write(client, "x", 1) == 1);
    NEED(read(accept(listener, NULL, NULL), &byte, 1) == 1 && byte == 'x');
    return NULL;
}

static const char *fifo(void)
{
    struct stat status;
    char byte = 0;
    NEED(mkfifo("fifo", 0640) == 0 && stat("fifo", &status) == 0 && status.st_mode == (S_IFIFO | 0640));
    int fd = open("fifo", O_RDWR);
    NEED(write(fd, "y", 1) == 1 && read(fd, &byte, 1) == 1 && byte == 'y');
    return NULL;
}

static const char *device_node(void)
{
    struct stat status;
    NEED(mknod("null", S_IFCHR | 0666, makedev(1, 3)) == 0 && stat("null", &status) == 0);
    NEED(S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 3));
    return NULL;
}

static const char *links(void)
{
    struct stat one, two;
    char target[32] = "";
    NEED(close(open("one", O_CREAT | O_WRONLY, 0600)) == 0 && link("one", "two") == 0);
    NEED(stat("one", &one) == 0 && stat("two", &two) == 0 && one.st_ino == two.st_ino && one.st_nlink == 2);
    NEED(symlink("no\nwhere", "symbolic") == 0 && readlink("symbolic", target, sizeof target) == 8 && !strcmp(target, "no\nwhere"));
    return NULL;
}

static const char *attributes(void)
{
    char value[8] = "";
    NEED(close(open("attributes", O_CREAT | O_WRONLY, 0600)) == 0);
    NEED(setxattr("attributes", "user.name", "value", 5, 0) == 0 && getxattr("attributes", "user.name", value, 8) == 5);
    return NULL;
}

static const char *capability(void)
{
    /* struct vfs_cap_data, version 2: cap_net_bind_service, effective. */
    const unsigned char data[20] = {1, 0, 0, 2, 0, 4};
    unsigned char value[20];
    NEED(close(open("capable", O_CREAT | O_WRONLY, 0755)) == 0);
    NEED(setxattr("capable", "security.capability", data, sizeof data, 0) == 0);
    NEED(getxattr("capable", "security.capability", value, sizeof value) == 20 && !memcmp(data, value, 20));
    return NULL;
}

static const char *temporary_file(void)
{
    int fd = open(".", O_TMPFILE | O_RDWR, 0600);
    NEED(fd >= 0 && write(fd, "z", 1) == 1);
    return NULL;
}

static const char *allocation(void)
{
    struct stat status;
    int fd = open("allocated", O_CREAT | O_RDWR, 0600);
    NEED(fallocate(fd, 0, 0, 1 << 20) == 0 && fstat(fd, &status) == 0 && status.st_size == 1 << 20);
    NEED(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 19) == 0);
    return NULL;
}

static const char *direct(void)
{
    void *page = NULL;
    NEED(posix_memalign(&page, 4096, 4096) == 0);
    memset(page, 'd', 4096);
    int fd = open("direct", O_CREAT | O_RDWR | O_DIRECT, 0600);
    NEED(fd >= 0 && write(fd, page, 4096) == 4096 && pread(fd, page, 4096, 0) == 4096);
    return NULL;
}

static const char *mapping(void)
{
    char byte = 0;
    int fd = open("mapped", O_CREAT | O_RDWR, 0600);
    NEED(ftruncate(fd, 4096) == 0);
    char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NEED(memory != MAP_FAILED);
    memory[100] = 'm';
    NEED(msync(memory, 4096, MS_SYNC) == 0 && pread(fd, &byte, 1, 100) == 1 && byte == 'm');
    return NULL;
}

static const char *locks(void)
{
    int one = open("locked", O_CREAT | O_RDWR, 0600), two = open("locked", O_RDWR), status;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    NEED(flock(one, LOCK_EX) == 0 && flock(two, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK);
    NEED(flock(one, LOCK_UN) == 0 && flock(two, LOCK_EX | LOCK_NB) == 0);
    NEED(fcntl(one, F_SETLK, &lock) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(fcntl(two, F_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES) ? 0 : 1);
    NEED(waitpid(child, &status, 0) == child && status == 0);
    return NULL;
}

static const char *renames(void)
{
    struct stat status;
    NEED(close(open("a", O_CREAT | O_WRONLY, 0600)) == 0 && mkdir("b", 0700) == 0);
    NEED(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE) < 0 && errno == EEXIST);
    NEED(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE) == 0 && stat("a", &status) == 0 && S_ISDIR(status.st_mode));
    return NULL;
}

static const char *unlinked(void)
{
    struct stat status;
    int fd = open("unlinked", O_CREAT | O_RDWR, 0600);
    NEED(unlink("unlinked") == 0 && write(fd, "u", 1) == 1 && ftruncate(fd, 100) == 0 && fchmod(fd, 0640) == 0);
    NEED(fstat(fd, &status) == 0 && status.st_size == 100 && status.st_nlink == 0 && (status.st_mode & 0777) == 0640);
    return NULL;
}

static const char *ownership(void)
{
    struct stat status;
    const struct timespec times[2] = {{.tv_sec = 1, .tv_nsec = 2}, {.tv_sec = 1000000000, .tv_nsec = 123456789}};
    NEED(close(open("owned", O_CREAT | O_WRONLY, 0600)) == 0 && chown("owned", 70000, 80000) == 0 && chmod("owned", 06711) == 0);
    NEED(utimensat(AT_FDCWD, "owned", times, 0) == 0 && stat("owned", &status) == 0);
    NEED(status.st_uid == 70000 && status.st_gid == 80000 && (status.st_mode & 07777) == 06711);
    NEED(status.st_mtim.tv_sec == 1000000000 && status.st_mtim.tv_nsec == 123456789);
    return NULL;
}

static const char *names(void)
{
    char name[256] = {0};
    for (int byte = 1; byte < 256; byte++)
        name[byte - 1] = byte == '/' ? '_' : (char)byte;
    NEED(close(open(name, O_CREAT | O_WRONLY, 0600)) == 0 && access(name, F_OK) == 0 && unlink(name) == 0);
    return NULL;
}

static const char *many_files(void)
{
    char name[32];
    int count = 0;
    NEED(mkdir("many", 0700) == 0);
    for (int number = 0; number < files; number++) {
        snprintf(name, sizeof name, "many/%d", number);
        NEED(close(open(name, O_CREAT | O_WRONLY, 0600)) == 0);
    }
    DIR *directory = opendir("many");
    NEED(directory != NULL);
    while (readdir(directory))
        count++;
    NEED(closedir(directory) == 0 && count == files + 2);
    return NULL;
}

static const char *changed_lower(void)
{
    /* A file of the image: it can be written to, removed, and made anew. */
    char text[64] = "";
    int fd = open("/etc/motd", O_RDWR | O_APPEND);
    NEED(fd >= 0 && write(fd, "more", 4) == 4 && pread(fd, text, 4, 0) == 4 && close(fd) == 0);
    NEED(rename("/etc/motd", "/etc/motd.old") == 0 && access("/etc/motd", F_OK) < 0 && rename("/etc/motd.old", "/etc/motd") == 0);
    return NULL;
}

static const struct {
    const char *name;
    const char *(*test)(void);
} tests[] = {
    {"unix-sockets", unix_socket}, {"fifos", fifo}, {"device-nodes", device_node}, {"links", links},
    {"user-attributes", attributes}, {"file-capabilities", capability}, {"O_TMPFILE", temporary_file},
    {"fallocate", allocation}, {"O_DIRECT", direct}, {"shared-mmap", mapping}, {"flock-fcntl", locks},
    {"rename-flags", renames}, {"unlinked-files", unlinked}, {"owner-mode-times", ownership},
    {"any-byte-in-names", names}, {"many-files", many_files}, {"files-of-the-image", changed_lower},
};

int main(int argc, char **argv)
{
    if (argc < 2 || mkdir(argv[1], 0755) < 0 || chdir(argv[1]) < 0)
        return 2;
    if (argc > 2)
        files = atoi(argv[2]);
    umask(0);
    alarm(600);
    for (size_t index = 0; index < sizeof tests / sizeof tests[0]; index++) {
        errno = 0;
        const char *wrong = tests[index].test();
        if (wrong)
            printf("%s: %s: %s\n", tests[index].name, wrong, strerror(errno));
        else
            printf("%s ok\n", tests[index].name);
        fflush(stdout);
    }
    return 0;
}
