/* One guest of tools/xl-double: does the work of its hypervisor and kernel with namespaces of this machine (docs/double.md).
 *
 *     guest ROOT DEV CGROUP CPUS HVC0 HVC1 HANGER RING CHANNEL CONTROL [TAG PATH ...]
 *
 * ROOT is a mount with the unpacked ramdisk, DEV a mount that becomes the guest's /dev, CGROUP the file cgroup.procs of its group,
 * CPUS the number of its processors, TAG PATH a tree that it mounts as 9p. The words from HVC0 to CONTROL are descriptors: the slave
 * of hvc0; master and slave of hvc1; the console's ring; a listening socket for the backend's end of the event channel; a socket for
 * orders. Ends with the guest: status 0 after a power off, 1 after a reboot, 2 when PID 1 died.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* <sys/mount.h> of glibc clashes with <linux/mount.h>. */
int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
int umount2(const char *target, int flags);

enum { UNMOUNT_DETACH = 2, MESSAGE_SIZE = 4 };

static char **shares; /* TAG PATH ... NULL */
static const char *dev;

_Noreturn static void die(const char *format, ...)
{
    va_list arguments;
    int error = errno;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, ": %s\n", strerror(error));
    exit(3);
}

static void send_fd(int socket, int fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof fd)];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec byte = {.iov_base = "f", .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &byte, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    if (sendmsg(socket, &message, 0) < 0)
        die("passing a descriptor");
}

/* Receives COUNT descriptors in one message; false when the other end was closed. */
static bool receive_fds(int socket, int *fds, size_t count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(4 * sizeof *fds)];
    } control;
    char byte;
    struct iovec room = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &room, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) <= 0)
        return false;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(count * sizeof *fds))
        return false;
    memcpy(fds, CMSG_DATA(header), count * sizeof *fds);
    return true;
}

/* ---- The guest's kernel: mounts of 9p and devtmpfs, which are trees of the host here.
 *
 * seccomp(2) hands those mount(2) to this program. The container sees a filter where a guest of its own kernel sees none.
 */

/* A filter for the architecture's own system calls: this program answers some, some must not reach this machine, the rest pass. */
static int listen_for_mounts(void)
{
    enum { ANSWER = 100, NOTHING, REFUSE }; /* jump targets, replaced below */
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
#if defined __x86_64__
                 AUDIT_ARCH_X86_64,
#elif defined __aarch64__
                 AUDIT_ARCH_AARCH64,
#else
#error "xl-double runs on x86_64 and aarch64"
#endif
                 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mount, ANSWER, 0),
        /* The guest's disks are in memory; a sync of this machine's disks would delay each container's end. */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sync, NOTHING, 0),
        /* A guest has a clock and a kernel of its own. */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_settime, REFUSE, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_settimeofday, REFUSE, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_adjtime, REFUSE, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_adjtimex, REFUSE, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_init_module, REFUSE, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_finit_module, REFUSE, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_delete_module, REFUSE, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kexec_load, REFUSE, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    unsigned count = sizeof filter / sizeof filter[0];
    for (unsigned i = 0; i < count; i++)
        if (filter[i].jt >= ANSWER)
            filter[i].jt = (unsigned char)(count - 3 + (filter[i].jt - ANSWER) - i - 1);
    struct sock_fprog program = {.len = (unsigned short)count, .filter = filter};
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (fd < 0)
        die("seccomp");
    return fd;
}

static int clone_tree(const char *path)
{
    return (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
}

/* Clients of a 9p server are not bound by noexec, nosuid and nodev of the server's mounts. */
static void free_of_flags(const char *path)
{
    struct mount_attr change = {.attr_clr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
    if (syscall(SYS_mount_setattr, AT_FDCWD, path, AT_RECURSIVE, &change, sizeof change) < 0 && errno != EINVAL)
        die("%s", path); /* EINVAL: not a mount point */
}

/* A copy of the mounts at PATH of which no flag can be taken back, as if they were a server's: the copy is made in the mount
 * namespace of a new user namespace, where flags are locked, and stays locked wherever it is attached. */
static int clone_locked(const char *path)
{
    int ends[2], fd = -1, status;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        int tree = unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ? -1 : clone_tree(path);
        if (tree < 0)
            _exit(errno);
        send_fd(ends[1], tree);
        _exit(0);
    }
    close(ends[1]);
    if (pid > 0) {
        bool came = receive_fds(ends[0], &fd, 1);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        if (!came) {
            errno = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
            fd = -1;
        }
    }
    close(ends[0]);
    return fd;
}

static bool read_string(int memory, uint64_t address, char *text, size_t size)
{
    ssize_t length = pread(memory, text, size - 1, (off_t)address);
    if (length <= 0)
        return false;
    text[length] = 0;
    return memchr(text, 0, (size_t)length) != NULL;
}

static int open_of(pid_t pid, const char *what, int flags)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
    return open(path, flags | O_CLOEXEC);
}

/* In a child: attaches TREE at TARGET as the process PID sees it. Returns an errno. */
static int attach(pid_t pid, int tree, const char *target, unsigned long flags)
{
    int space = open_of(pid, "ns/mnt", O_RDONLY), root = open_of(pid, "root", O_PATH), cwd = open_of(pid, "cwd", O_PATH);
    if (space < 0 || root < 0 || cwd < 0 || setns(space, CLONE_NEWNS) < 0 || fchdir(root) < 0 || chroot(".") < 0 || fchdir(cwd) < 0)
        return errno;
    if (syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return errno;
    flags &= MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME;
    if (flags && mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | flags, NULL) < 0)
        return errno;
    return 0;
}

/* ---- The share `layer`, which another process of the domain carries to its server (runxtools/double/layer_share.py). */

static bool has_layer; /* the guest has it */

/* Waits until all that the guest has written to the share so far has come to its server. What it says on the console afterwards is
 * about that, and must not be earlier. If the server does not answer, the guest has given it up. */
static void settle_layer(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char byte;
    int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/../settle", dev);
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 2}, sizeof(struct timeval));
    if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address) < 0)
        has_layer = false; /* that process has ended */
    else
        while (read(connection, &byte, 1) < 0 && errno == EINTR)
            ;
    if (connection >= 0)
        close(connection);
}

/* The tree of a share that appeared after the guest's boot; NULL if there is none with this tag. */
static const char *late_share(const char *tag)
{
    static char path[4096];
    char link[4096];
    if (strchr(tag, '/') || snprintf(link, sizeof link, "%s/../tag-%s", dev, tag) >= (int)sizeof link)
        return NULL;
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return NULL;
    path[length] = 0;
    free_of_flags(path);
    has_layer = has_layer || !strcmp(tag, "layer");
    return path;
}

/* Answers a mount(2) of the guest: an errno, or -1 to let the kernel do it. */
static int serve_mount(const struct seccomp_notif *request)
{
    char type[16], target[4096], source[256];
    pid_t pid = (pid_t)request->pid;
    const uint64_t *words = (const uint64_t *)request->data.args;
    if (!words[2] || words[3] & (MS_REMOUNT | MS_BIND | MS_MOVE | MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE))
        return -1;
    int memory = open_of(pid, "mem", O_RDONLY);
    if (memory < 0)
        return -1;
    bool wanted = read_string(memory, words[2], type, sizeof type) && (!strcmp(type, "9p") || !strcmp(type, "devtmpfs"));
    bool readable = wanted && read_string(memory, words[1], target, sizeof target) &&
                    read_string(memory, words[0], source, sizeof source);
    close(memory);
    if (!wanted)
        return -1;
    if (!readable)
        return EFAULT;
    const char *path = strcmp(type, "devtmpfs") ? NULL : dev;
    for (char **share = shares; !path && share[0]; share += 2)
        if (!strcmp(share[0], source))
            path = share[1];
    if (!path)
        path = late_share(source);
    if (!path)
        return ENOENT; /* 9p over Xen: no such tag */
    int tree = path == dev ? clone_tree(path) : clone_locked(path);
    if (tree < 0)
        return errno;
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(attach(pid, tree, target, words[3]));
    close(tree);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static void serve_mounts(int listener)
{
    struct seccomp_notif request = {0};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0)
        return; /* the caller was killed meanwhile */
    int error = serve_mount(&request);
    struct seccomp_notif_resp answer = {
        .id = request.id,
        .error = error > 0 ? -error : 0,
        .flags = error < 0 ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0,
    };
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

/* ---- The boot: PID 1 of new namespaces. */

_Noreturn static void become_init(const char *root, const char *group, int hvc0, int report)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(group, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1)
        die("%s", group);
    if (unshare(CLONE_NEWCGROUP) < 0) /* only now, so that its own group is the root that it sees */
        die("a cgroup namespace");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || chdir(root) < 0)
        die("%s", root);
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", UNMOUNT_DETACH) < 0 || chdir("/") < 0)
        die("changing to the ramdisk");
    setsid();
    if (sethostname("(none)", 6) < 0)
        die("hostname");
    if (dup2(hvc0, 0) < 0 || dup2(hvc0, 1) < 0)
        die("hvc0");
    int listener = listen_for_mounts();
    send_fd(report, listener);
    dup2(hvc0, 2);
    close_range(3, ~0U, 0);
    char *const argv[] = {"/init", NULL}, *const environment[] = {"HOME=/", "TERM=linux", NULL};
    execve("/init", argv, environment);
    dprintf(2, "Kernel panic - not syncing: No working init found: %s\n", strerror(errno));
    _exit(1);
}

/* ---- The console: the frontend of hvc1, between the guest's tty and the ring (xen/interface/io/console.h). */

struct ring {
    char in[1024], out[2048];
    uint32_t in_cons, in_prod, out_cons, out_prod;
};

static struct ring *ring;
static int channel = -1, kicks = -1; /* events to the backend and its unmasking; its events to us, an eventfd */
static bool masked, pending;

static void notify(void)
{
    uint32_t port = 1;
    if (channel < 0 || masked) {
        pending = true;
        return;
    }
    pending = false;
    masked = send(channel, &port, sizeof port, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof port;
}

static void unmasked(void)
{
    char port[MESSAGE_SIZE];
    while (recv(channel, port, sizeof port, MSG_DONTWAIT) == sizeof port)
        masked = false;
    if (!masked && pending)
        notify();
}

static void connect_backend(int listener)
{
    int fds[2], connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (connection < 0)
        return;
    if (receive_fds(connection, fds, 2)) {
        if (channel >= 0) {
            close(channel);
            close(kicks);
        }
        channel = fds[0];
        kicks = fds[1];
        masked = false;
        notify(); /* Xen marks a channel as pending when it is bound */
    }
    close(connection);
}

static size_t room_for_output(void)
{
    uint32_t used = ring->out_prod - __atomic_load_n(&ring->out_cons, __ATOMIC_ACQUIRE);
    return used > sizeof ring->out ? 0 : sizeof ring->out - used;
}

static size_t waiting_input(void)
{
    uint32_t used = __atomic_load_n(&ring->in_prod, __ATOMIC_ACQUIRE) - ring->in_cons;
    return used > sizeof ring->in ? 0 : used;
}

/* The part of a ring of SIZE from index AT on, LENGTH bytes, in two pieces when it wraps. */
static int pieces(char *start, size_t size, uint32_t at, size_t length, struct iovec piece[2])
{
    size_t offset = at & (size - 1), first = size - offset < length ? size - offset : length;
    piece[0] = (struct iovec){start + offset, first};
    piece[1] = (struct iovec){start, length - first};
    return length > first ? 2 : 1;
}

/* Whether output may have a frame that says that changes have been written. Bytes of others may look like it, which costs time. */
static bool has_written_back(const struct iovec piece[2], size_t length)
{
    enum { WRITTEN_BACK = 0x0c };
    size_t first = piece[0].iov_len < length ? piece[0].iov_len : length;
    return memchr(piece[0].iov_base, WRITTEN_BACK, first) ||
           (length > first && memchr(piece[1].iov_base, WRITTEN_BACK, length - first));
}

/* False when the tty had no bytes. */
static bool move_output(int tty)
{
    struct iovec piece[2];
    size_t room = room_for_output();
    if (!room)
        return true;
    ssize_t count = readv(tty, piece, pieces(ring->out, sizeof ring->out, ring->out_prod, room, piece));
    if (count <= 0)
        return false;
    if (has_layer && has_written_back(piece, (size_t)count))
        settle_layer(); /* after the read: what is read was said after what it is about */
    __atomic_store_n(&ring->out_prod, ring->out_prod + (uint32_t)count, __ATOMIC_RELEASE);
    notify();
    return true;
}

static void move_input(int tty)
{
    struct iovec piece[2];
    size_t length = waiting_input();
    if (!length)
        return;
    ssize_t count = writev(tty, piece, pieces(ring->in, sizeof ring->in, ring->in_cons, length, piece));
    if (count <= 0)
        return;
    __atomic_store_n(&ring->in_cons, ring->in_cons + (uint32_t)count, __ATOMIC_RELEASE);
    notify();
}

/* ---- */

static int number(const char *text)
{
    return atoi(text);
}

/* Runs until PID 1 has ended and the backend has taken all of its output: its wait status. */
static int run(pid_t init, int tty, int hanger, int listener, int control, int mounts)
{
    int pidfd = (int)syscall(SYS_pidfd_open, init, 0), status = 0;
    bool ended = false;
    if (pidfd < 0)
        die("pidfd_open");
    for (;;) {
        enum { TTY, KICKS, CHANNEL, LISTENER, CONTROL, MOUNTS, INIT, COUNT };
        bool room = room_for_output() > 0;
        struct pollfd fds[COUNT] = {
            [TTY] = {.fd = tty, .events = (short)((room ? POLLIN : 0) | (waiting_input() ? POLLOUT : 0))},
            [KICKS] = {.fd = kicks, .events = POLLIN},
            [CHANNEL] = {.fd = channel, .events = POLLIN},
            [LISTENER] = {.fd = listener, .events = POLLIN},
            [CONTROL] = {.fd = control, .events = POLLIN},
            [MOUNTS] = {.fd = mounts, .events = POLLIN},
            [INIT] = {.fd = ended ? -1 : pidfd, .events = POLLIN},
        };
        if (!fds[TTY].events)
            fds[TTY].fd = -1;
        /* At the end, send first what the tty still holds. */
        if (poll(fds, COUNT, ended && room ? 0 : -1) < 0 && errno != EINTR)
            die("poll");
        if (fds[LISTENER].revents)
            connect_backend(listener);
        if (fds[CHANNEL].revents)
            unmasked();
        if (fds[KICKS].revents) {
            uint64_t count;
            if (read(kicks, &count, sizeof count) < 0 && errno != EAGAIN)
                die("eventfd");
        }
        if (fds[MOUNTS].revents & POLLIN)
            serve_mounts(mounts);
        else if (fds[MOUNTS].revents) {
            close(mounts);
            mounts = -1;
        }
        bool had_output = room && tty >= 0 && move_output(tty);
        if (tty >= 0)
            move_input(tty);
        if (fds[CONTROL].revents) {
            char order;
            ssize_t count = read(control, &order, 1);
            if (count <= 0)
                kill(init, SIGKILL), control = -1;
            else if (order == 'h' && tty >= 0) { /* the backend hangs up, and with it the guest's tty */
                close(tty);
                close(hanger);
                tty = -1;
            } else if (order == 's' && !ended)
                kill(init, SIGUSR2); /* like busybox's poweroff, which the kernel runs */
        }
        if (fds[INIT].revents) {
            while (waitpid(init, &status, 0) < 0 && errno == EINTR)
                ;
            ended = true;
        } else if (ended && (tty < 0 || control < 0 || (room && !had_output)))
            return status;
    }
}

int main(int argc, char **argv)
{
    if (argc < 11)
        return 3;
    const char *root = argv[1];
    dev = argv[2];
    int cpus = number(argv[4]), hvc0 = number(argv[5]), tty = number(argv[6]), hanger = number(argv[7]);
    int page = number(argv[8]), listener = number(argv[9]), control = number(argv[10]), ends[2], mounts;
    shares = argv + 11;
    for (char **share = shares; share[0]; share += 2) {
        free_of_flags(share[1]);
        has_layer = has_layer || !strcmp(share[0], "pod");
    }
    ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, page, 0);
    if (ring == MAP_FAILED)
        die("the console's ring");
    cpu_set_t set, first;
    CPU_ZERO(&first);
    if (sched_getaffinity(0, sizeof set, &set) < 0)
        die("sched_getaffinity");
    for (int cpu = 0; cpu < CPU_SETSIZE && cpus > 0; cpu++)
        if (CPU_ISSET(cpu, &set)) {
            CPU_SET(cpu, &first);
            cpus--;
        }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        die("socketpair");
    unsigned long spaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET;
    pid_t init = (pid_t)syscall(SYS_clone, spaces | SIGCHLD, 0, 0, 0, 0);
    if (init < 0)
        die("clone");
    if (init == 0) {
        sched_setaffinity(0, sizeof first, &first);
        become_init(root, argv[3], hvc0, ends[1]);
    }
    close(ends[1]);
    close(hvc0);
    fcntl(tty, F_SETFL, fcntl(tty, F_GETFL) | O_NONBLOCK);
    if (!receive_fds(ends[0], &mounts, 1))
        mounts = -1; /* it died and has printed why */
    int status = run(init, tty, hanger, listener, control, mounts);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGINT ? 0 : WIFSIGNALED(status) && WTERMSIG(status) == SIGHUP ? 1 : 2;
}
