/* /dev/xen/gntdev and /dev/xen/evtchn for supervisors and servers of shares on tools/xl-double (docs/double.md): loaded into them
 * with LD_PRELOAD.
 *
 * A mapped grant is a file of the domain's directory, beside the socket that $XENSTORED_PATH names. An event channel is one end of a
 * pair of sockets, the other end of which goes to the domain: the numbers of ports that have events are read from it and written back
 * to unmask them, as the kernel's device has it, with no help from here. NOTIFY is an eventfd, since events do not queue up.
 *
 * A server of shares is confined by the time at which it maps and binds: it can make no sockets, and its root directory is another.
 * So it has a descriptor of the directory of all domains from before, and the domain takes its end of a channel by itself: it finds
 * the numbers of the descriptors in a file.
 *
 * The clock of a fault is made here, too.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAP_GRANT_REF 0x184700UL   /* IOCTL_GNTDEV_MAP_GRANT_REF (xen/gntdev.h) */
#define BIND_INTERDOMAIN 0x84501UL /* IOCTL_EVTCHN_BIND_INTERDOMAIN (xen/evtchn.h) */
#define UNMAP_GRANT_REF 0x104701UL
#define NOTIFY 0x44504UL
#define RESTRICT_DOMID 0x24506UL
#define UNBIND 0x44503UL

enum kind { NONE, GRANTS, CHANNELS };
enum { FDS = 4096, LOCAL_PORT = 1, SHARES_FROM = 100 }; /* ports of shares: runxtools/double/layer_share.py */

/* By descriptor. The domain's end stays open here too: the device of a destroyed domain neither hangs up nor fails. */
static struct {
    enum kind kind;
    int far, kick; /* of channels; far is the file that is mapped next, of grants */
    int domains;
} table[FDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *original(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* A child closes what it does not need by ranges, which nothing here hears of. */
static void forget_all(void)
{
    memset(table, 0, sizeof table);
}

__attribute__((constructor)) static void begin(void)
{
    pthread_atfork(NULL, NULL, forget_all);
}

static int open_domains(void)
{
    char path[256];
    const char *store = getenv("XENSTORED_PATH"), *slash = strrchr(store, '/');
    if (!slash || snprintf(path, sizeof path, "%.*s/domains", (int)(slash - store), store) >= (int)sizeof path)
        return -1;
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))original("open");
    return real(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int remember(int fd, enum kind kind, int far, int kick)
{
    if (fd >= FDS) {
        close(fd);
        errno = EMFILE;
        return -1;
    }
    pthread_mutex_lock(&lock);
    table[fd].kind = kind;
    table[fd].far = far;
    table[fd].kick = kick;
    table[fd].domains = open_domains();
    pthread_mutex_unlock(&lock);
    return fd;
}

/* Opens a device of /dev/xen; -2 for any other path. */
static int open_device(const char *path, int flags)
{
    if (strncmp(path, "/dev/xen/", 9) || !getenv("XENSTORED_PATH"))
        return -2;
    if (!strcmp(path + 9, "gntdev")) {
        int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))original("open");
        int fd = real("/dev/null", flags);
        return fd < 0 ? fd : remember(fd, GRANTS, -1, -1);
    }
    if (!strcmp(path + 9, "evtchn")) {
        int ends[2], kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int type = SOCK_DGRAM | (flags & O_NONBLOCK ? SOCK_NONBLOCK : 0) | (flags & O_CLOEXEC ? SOCK_CLOEXEC : 0);
        if (kick < 0 || socketpair(AF_UNIX, type, 0, ends) < 0)
            return -1;
        fcntl(ends[1], F_SETFD, FD_CLOEXEC);
        return remember(ends[0], CHANNELS, ends[1], kick);
    }
    return -2;
}

/* Opens a file of a domain's directory. */
static int open_of(int fd, uint32_t domain, const char *what, uint32_t which, int flags)
{
    char path[64];
    snprintf(path, sizeof path, "%u/%s-%u", domain, what, which);
    int (*real)(int, const char *, int, ...) = (int (*)(int, const char *, int, ...))original("openat");
    return real(table[fd].domains, path, flags | O_CLOEXEC, 0600);
}

static int (*real_close(void))(int)
{
    return (int (*)(int))original("close");
}

/* The pages of one call are one file, which is named by the first of them. */
static int map_grant(int fd, uint32_t *request)
{
    int pages = open_of(fd, request[4], "grant", request[5], O_RDWR);
    if (pages < 0) {
        errno = EINVAL; /* the kernel's error for an invalid grant */
        return -1;
    }
    if (table[fd].far >= 0)
        real_close()(table[fd].far);
    table[fd].far = pages;
    request[2] = request[3] = 0; /* the index, which mmap(2) takes as the offset */
    return 0;
}

/* Leaves the numbers of the domain's end for it to take. */
static int bind_share(int fd, const uint32_t *request)
{
    char numbers[32];
    int length = snprintf(numbers, sizeof numbers, "%d %d", table[fd].far, table[fd].kick);
    int file = open_of(fd, request[0], "channel", request[1], O_WRONLY | O_CREAT | O_TRUNC);
    if (file < 0 || write(file, numbers, (size_t)length) != length) {
        errno = EINVAL;
        return -1;
    }
    real_close()(file);
    return LOCAL_PORT;
}

static int bind_channel(int fd, const uint32_t *request)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (request[1] >= SHARES_FROM)
        return bind_share(fd, request);
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%u/port-%u", table[fd].domains, request[0], request[1]);
    int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fds[2] = {table[fd].far, table[fd].kick};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof fds)];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof fds), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec byte = {.iov_base = "c", .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &byte, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
    int failed = connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address) < 0 ||
                 sendmsg(connection, &message, MSG_NOSIGNAL) < 0;
    if (connection >= 0)
        close(connection);
    if (failed) {
        errno = EINVAL;
        return -1;
    }
    return LOCAL_PORT;
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, ...);
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    enum kind kind = fd >= 0 && fd < FDS ? table[fd].kind : NONE;
    if (kind == GRANTS && request == MAP_GRANT_REF)
        return map_grant(fd, argument);
    if (kind == GRANTS && request == UNMAP_GRANT_REF)
        return 0;
    if (kind == CHANNELS && (request == RESTRICT_DOMID || request == UNBIND))
        return 0;
    if (kind == CHANNELS && request == BIND_INTERDOMAIN)
        return bind_channel(fd, argument);
    if (kind == CHANNELS && request == NOTIFY) {
        uint64_t one = 1;
        ssize_t count = write(table[fd].kick, &one, sizeof one);
        (void)count; /* a full channel is already pending */
        return 0;
    }
    if (!real)
        real = (int (*)(int, unsigned long, ...))original("ioctl");
    return real(fd, request, argument);
}

int close(int fd)
{
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))original("close");
    if (fd >= 0 && fd < FDS && table[fd].kind != NONE) {
        pthread_mutex_lock(&lock);
        int far = table[fd].far, kick = table[fd].kick, domains = table[fd].domains;
        table[fd].kind = NONE;
        pthread_mutex_unlock(&lock);
        if (far >= 0)
            real(far);
        if (kick >= 0)
            real(kick);
        if (domains >= 0)
            real(domains);
    }
    return real(fd);
}

/* What a descriptor of grants maps is the file of the last call. */
#define MMAP(name, offset_type)                                                                                                      \
    void *name(void *address, size_t size, int protection, int flags, int fd, offset_type offset)                                    \
    {                                                                                                                                \
        static void *(*real)(void *, size_t, int, int, int, offset_type);                                                            \
        if (!real)                                                                                                                   \
            real = (void *(*)(void *, size_t, int, int, int, offset_type))original(#name);                                           \
        if (fd >= 0 && fd < FDS && table[fd].kind == GRANTS && table[fd].far >= 0)                                                   \
            fd = table[fd].far;                                                                                                      \
        return real(address, size, protection, flags, fd, offset);                                                                   \
    }

MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

#define OPEN(name)                                                                                                                   \
    int name(const char *path, int flags, ...)                                                                                       \
    {                                                                                                                                \
        static int (*real)(const char *, int, ...);                                                                                  \
        va_list arguments;                                                                                                           \
        va_start(arguments, flags);                                                                                                  \
        mode_t mode = va_arg(arguments, mode_t);                                                                                     \
        va_end(arguments);                                                                                                           \
        int fd = open_device(path, flags);                                                                                           \
        if (fd != -2)                                                                                                                \
            return fd;                                                                                                               \
        if (!real)                                                                                                                   \
            real = (int (*)(const char *, int, ...))original(#name);                                                                 \
        return real(path, flags, mode);                                                                                              \
    }

OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                                 \
    int name(int directory, const char *path, int flags, ...)                                                                        \
    {                                                                                                                                \
        static int (*real)(int, const char *, int, ...);                                                                             \
        va_list arguments;                                                                                                           \
        va_start(arguments, flags);                                                                                                  \
        mode_t mode = va_arg(arguments, mode_t);                                                                                     \
        va_end(arguments);                                                                                                           \
        int fd = open_device(path, flags);                                                                                           \
        if (fd != -2)                                                                                                                \
            return fd;                                                                                                               \
        if (!real)                                                                                                                   \
            real = (int (*)(int, const char *, int, ...))original(#name);                                                            \
        return real(directory, path, flags, mode);                                                                                   \
    }

OPENAT(openat)
OPENAT(openat64)

/* The fault clock-ahead: seconds by which dom0's clock is ahead of this machine's, which guests have. Nobody sets that one. */
static time_t clock_ahead(void)
{
    static time_t ahead = -1;
    const char *store = getenv("XENSTORED_PATH"), *end = store ? strrchr(store, '/') : NULL;
    char path[4096], text[32] = "";
    if (ahead >= 0)
        return ahead;
    ahead = 0;
    if (!end || snprintf(path, sizeof path, "%.*s/faults/clock-ahead", (int)(end - store), store) >= (int)sizeof path)
        return ahead;
    FILE *file = fopen(path, "re");
    if (file) {
        if (fgets(text, sizeof text, file))
            ahead = atol(text);
        fclose(file);
    }
    return ahead;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))original("clock_gettime");
    int done = real(clock, time);
    if (done == 0 && clock == CLOCK_REALTIME)
        time->tv_sec += clock_ahead();
    return done;
}
