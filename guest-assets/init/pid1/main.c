/* PID 1 of a runx guest: sets the container up, runs its one process, and speaks for it over a console of the domain.
 *
 * docs/guest.md has the order of events, docs/console-link.md the frames. Everything happens in one poll loop; what can
 * block (the setup script, the steps before execve) happens in a child.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

static struct process process;

/* What the child says on its way to the process. */
static int reports = -1;
static int terminal_socket = -1; /* on which it sends the master of the process's terminal */
static unsigned char reported[REPORT_MAX];
static size_t reported_length;

static bool give_up; /* has waited STUCK_MS for what the process left behind */

static void mount_or_warn(const char *type, const char *target, unsigned long flags, const char *data)
{
    mkdir(target, 0755);
    /* EBUSY: mounted already, by the kernel or by who tests this. */
    if (mount(type, target, type, flags, data) < 0 && errno != EBUSY)
        fprintf(stderr, "init: mounting %s: %s\n", target, reason(errno));
}

static void mount_own(void)
{
    umask(0);
    mount_or_warn("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_or_warn("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_or_warn("devtmpfs", "/dev", MS_NOSUID, "mode=755");
    mount_or_warn("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755");
    mkdir(NEWROOT, 0755);
    umask(022);
}

static void set_nonblocking(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void make_pipe(int ends[2])
{
    if (pipe2(ends, O_CLOEXEC) < 0)
        fatal(STATUS_SETUP_FAILED, "pipe: %s", reason(errno));
}

static void start(void)
{
    int in[2], out[2], err[2], log[2], report[2], terminal[2] = {-1, -1};
    make_pipe(in);
    make_pipe(out);
    make_pipe(err);
    make_pipe(log);
    make_pipe(report);
    if (process.terminal && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, terminal) < 0)
        fatal(STATUS_SETUP_FAILED, "terminal: %s", reason(errno));
    network_start(log[1], process.network_follows); /* before there is a PID namespace to be in */
    if (process.pid_namespace && unshare(CLONE_NEWPID) < 0)
        fatal(STATUS_SETUP_FAILED, "new PID namespace: %s", reason(errno));
    child.in_pid_namespace = process.pid_namespace;
    child.pid = fork();
    if (child.pid < 0)
        fatal(STATUS_SETUP_FAILED, "fork: %s", reason(errno));
    if (!child.pid) {
        struct child_pipes pipes = {in[0], out[1], err[1], log[1], report[1], terminal[1], network_line()};
        network_forget();
        child_main(&process, &pipes);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    close(log[1]);
    close(report[1]);
    set_nonblocking(in[1]);
    set_nonblocking(out[0]);
    set_nonblocking(err[0]);
    set_nonblocking(log[0]);
    set_nonblocking(report[0]);
    if (process.terminal) {
        close(terminal[1]);
        close(in[1]);
        close(out[0]);
        close(err[0]);
        terminal_socket = terminal[0];
        streams_await_terminal();
    } else {
        streams_open(in[1], out[0], err[0]);
    }
    log_open(log[0]);
    reports = report[0];
}

/* The report pipe has ended: the child has executed the process, or has failed, or is dead. */
static void judge_report(void)
{
    const unsigned char *text = reported;
    size_t length = reported_length;
    close(reports);
    reports = -1;
    log_relay();
    for (size_t i = 0; i + 1 < length; i++)
        if (text[i] == REPORT_FAILED) { /* after REPORT_EXECUTING at most */
            if (length - i == 2)
                log_fail();
            fatal(text[i + 1], "%.*s", (int)(length - i - 2), text + i + 2);
        }
    if (!length || text[length - 1] != REPORT_EXECUTING)
        fatal(STATUS_SETUP_FAILED, "the set-up was killed");
    if (process.terminal) {
        int master = terminal_receive(terminal_socket);
        if (master < 0)
            fatal(STATUS_SETUP_FAILED, "the terminal did not arrive");
        set_nonblocking(master);
        streams_open_terminal(master);
    }
    link_send(FRAME_STARTED, NULL, 0);
    child_started();
}

static void take_report(void)
{
    ssize_t count = read(reports, reported + reported_length, sizeof reported - reported_length);
    if (count > 0)
        reported_length += (size_t)count;
    else if (count == 0 || (errno != EAGAIN && errno != EINTR))
        judge_report();
}

/* Whether everything the process left behind has been seen to. Also decides when to stop waiting for it. */
static bool all_done(void)
{
    static bool swept;
    struct timespec now;
    if (!child.ended || !child.started)
        return false;
    if (!swept) {
        swept = true;
        kill_everything();
        reap();
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (child.any_left &&
        (now.tv_sec - child.ended_at.tv_sec) * 1000 + (now.tv_nsec - child.ended_at.tv_nsec) / 1000000 > STUCK_MS)
        give_up = true;
    return streams_drained() && (!child.any_left || give_up);
}

static void handle_frame(unsigned type, unsigned char *payload, size_t length)
{
    if (streams_take_frame(type, payload, length))
        return;
    switch (type) {
    case FRAME_HOST_SIGNAL:
        if (length == 1)
            deliver(payload[0]);
        return;
    case FRAME_HOST_NETWORK:
        network_receive(payload, length);
        return;
    case FRAME_HOST_NAMES:
        names_serve(payload, length);
        return;
    case FRAME_HOST_ANSWER:
        names_answer(payload, length);
        return;
    default:
        log_warn("init: unknown frame 0x%02x from the host\n", type);
    }
}

static void wait_for_events(void)
{
    enum { LINK, SIGNALS, REPORT, LOG, NAMES, MEMORY, STREAMS, COUNT = STREAMS + 3 };
    struct pollfd fds[COUNT] = {
        [LINK] = {.fd = link_fd(), .events = link_events()},
        [SIGNALS] = {.fd = signals_fd(), .events = POLLIN},
        [REPORT] = {.fd = reports, .events = POLLIN},
        [LOG] = {.fd = link_has_room() ? log_fd() : -1, .events = POLLIN},
        [NAMES] = {.fd = link_has_room() ? names_fd() : -1, .events = POLLIN},
        [MEMORY] = {.fd = memory_fd(), .events = POLLPRI},
    };
    streams_poll(fds + STREAMS);
    /* Timeouts only where no event may come: a console's room, a process stuck in the kernel. */
    int timeout = !link_is_empty() ? RETRY_MS : child.ended && child.any_left ? STUCK_MS / 10 : -1;
    if (poll(fds, COUNT, timeout) < 0)
        return; /* EINTR cannot be: signals are blocked */
    if ((fds[LINK].revents & ~POLLOUT) && !link_receive(handle_frame))
        hang_up();
    if (fds[SIGNALS].revents)
        signals_take();
    if (fds[MEMORY].revents)
        memory_want();
    if (fds[REPORT].revents)
        take_report();
    if (fds[STREAMS].revents & POLLERR)
        streams_lose_input();
}

static int init_main(const char *device)
{
    if (getpid() != 1) {
        fprintf(stderr, "init: is PID 1 of a guest, see docs/guest.md\n");
        return 1;
    }
    mount_own();
    if (link_open(device) < 0) {
        fprintf(stderr, "init: %s: %s\n", device, reason(errno));
        power_off();
    }
    link_send(FRAME_HELLO, (unsigned char[]){LINK_VERSION}, 1);
    kernel_log_open();
    memory_watch();
    signals_watch();
    reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del and its kin become SIGINT; refused in a namespace, which has none */
    const char *wrong = process_file_read("/runx/process", &process);
    if (wrong)
        fatal(STATUS_SETUP_FAILED, "/runx/process: %s", wrong);
    start();

    for (;;) {
        log_relay();
        names_relay();
        streams_relay(give_up);
        if (!link_flush())
            hang_up();
        if (all_done())
            break;
        wait_for_events();
    }
    /* The process's mount namespace died with its last process, so its file systems are unmounted by now. */
    sync();
    finish(FRAME_EXIT, (uint8_t[]){exit_status()}, 1);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash ? slash + 1 : argv[0];
    if (!strcmp(name, "inroot"))
        return inroot_main(argc, argv);
    if (!strcmp(name, "add-neighbour"))
        return neighbour_main(argc, argv);
    return init_main(argc > 1 && argv[1][0] == '/' ? argv[1] : "/dev/hvc1");
}
