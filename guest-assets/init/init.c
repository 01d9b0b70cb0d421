/* PID 1 of a runx guest: sets the container up, runs its one process, and speaks for it over a console of the domain.
 *
 * docs/guest.md has the order of events, docs/console-link.md the frames. Everything happens in one poll loop; what can
 * block (the setup script, the steps before execve) happens in a child.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

enum {
    OUTPUT_WINDOW = 128 * 1024, /* of each stream, what the host has not yet given back */
    INPUT_WINDOW = 32 * 1024,
    LOG_LIMIT = 64 * 1024,
    TAIL_SIZE = 1024,
    /* How long processes that ignore SIGKILL (stuck in the kernel) may hold up the end. */
    STUCK_MS = 10 * 1000,
    /* poll(2) on a console may miss that there is room again; look often enough that it does not show. */
    RETRY_MS = 50,
};

struct output {
    int fd; /* -1: closed */
    enum frame_type type;
    size_t window;
};

static struct process process;
static unsigned char input[INPUT_WINDOW]; /* a ring: state.input_start, state.input_length */

static struct {
    pid_t child;
    bool started; /* execve has succeeded */
    bool ended;
    int status;       /* waitpid(2)'s, once ended */
    int killed_for;   /* the signal whose default action SIGKILL stood in for */
    uint64_t pending; /* signals that came before the start, bit n - 1 */
    bool children_left;
    bool give_up; /* waited STUCK_MS for the rest */
    struct timespec ended_at;

    int signals; /* signalfd */
    int report;
    unsigned char reported[REPORT_MAX];
    size_t reported_length;

    int log;
    size_t logged;
    char tail[TAIL_SIZE];
    size_t tail_length;
    bool tail_cut;

    struct output out, err;

    int in; /* -1: closed */
    bool in_end;
    size_t input_start, input_length;
    uint32_t credit; /* taken by the process, not yet told */
    bool tell_closed;
} state = {
    .signals = -1,
    .report = -1,
    .log = -1,
    .in = -1,
    .out = {-1, FRAME_STDOUT, OUTPUT_WINDOW},
    .err = {-1, FRAME_STDERR, OUTPUT_WINDOW},
};

/* ---- the end ---- */

static _Noreturn void power_off(void)
{
    sync();
    reboot(RB_POWER_OFF);
    /* A power off that returns would be a panic once PID 1 ends; the host sees a dead domain either way. */
    _exit(1);
}

/* Waits up to TIMEOUT_MS for room on the console, and flushes. */
static bool flush_for(int timeout_ms)
{
    struct pollfd console = {.fd = link_fd(), .events = POLLOUT};
    poll(&console, 1, timeout_ms);
    return link_flush();
}

/* Sends the last frame, which finds room whatever is queued, and ends the machine when the console has taken it. */
static _Noreturn void finish(enum frame_type type, const void *payload, size_t length)
{
    while (!link_is_empty() && flush_for(RETRY_MS))
        ;
    link_send(type, payload, length);
    while (!link_is_empty() && flush_for(RETRY_MS))
        ;
    tcdrain(link_fd());
    power_off();
}

static void kill_everything(void)
{
    kill(-1, SIGKILL); /* all but this process; those in PID namespaces below too */
}

/* The console is gone: the host has hung up, nobody is left to run for. */
static _Noreturn void hang_up(void)
{
    kill_everything();
    for (int waited = 0; waited < STUCK_MS; waited += RETRY_MS) {
        pid_t pid;
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (pid < 0)
            break;
        nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
    }
    power_off();
}

static _Noreturn void fatal(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
static _Noreturn void fatal(int status, const char *format, ...)
{
    char text[FRAME_PAYLOAD_MAX] = {(char)status};
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text + 1, sizeof text - 1, format, arguments);
    va_end(arguments);
    if (length < 0)
        length = 0;
    if ((size_t)length > sizeof text - 2)
        length = (int)sizeof text - 2;
    kill_everything();
    sync();
    finish(FRAME_FATAL, text, (size_t)length + 1);
}

/* ---- the setup script's output ---- */

static void remember(const char *text, size_t length)
{
    if (length > TAIL_SIZE) {
        text += length - TAIL_SIZE;
        length = TAIL_SIZE;
        state.tail_cut = true;
    }
    if (state.tail_length + length > TAIL_SIZE) {
        size_t drop = state.tail_length + length - TAIL_SIZE;
        memmove(state.tail, state.tail + drop, state.tail_length - drop);
        state.tail_length -= drop;
        state.tail_cut = true;
    }
    memcpy(state.tail + state.tail_length, text, length);
    state.tail_length += length;
}

static void send_log(const char *text, size_t length)
{
    if (length > LOG_LIMIT - state.logged)
        length = LOG_LIMIT - state.logged;
    if (length)
        link_send(FRAME_LOG, text, length);
    state.logged += length;
}

static void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void warn(const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (link_has_room())
        send_log(text, strlen(text));
}

static void relay_log(void)
{
    char text[FRAME_PAYLOAD_MAX];
    while (state.log >= 0 && link_has_room()) {
        ssize_t count = read(state.log, text, sizeof text);
        if (count > 0) {
            remember(text, (size_t)count);
            send_log(text, (size_t)count);
        } else if (count < 0 && errno == EINTR) {
            continue;
        } else {
            if (count == 0 || errno != EAGAIN) {
                close(state.log);
                state.log = -1;
            }
            return;
        }
    }
}

/* The last whole lines of what the script printed. */
static _Noreturn void setup_failed(void)
{
    char *text = state.tail;
    size_t length = state.tail_length;
    while (length && text[length - 1] == '\n')
        length--;
    if (state.tail_cut) {
        char *line = memchr(text, '\n', length);
        if (line) {
            length -= (size_t)(line + 1 - text);
            text = line + 1;
        }
    }
    if (!length)
        fatal(STATUS_SETUP_FAILED, "the setup script failed and printed nothing");
    fatal(STATUS_SETUP_FAILED, "%.*s", (int)length, text);
}

/* ---- signals ---- */

static bool terminates_by_default(int number)
{
    switch (number) {
    case SIGCHLD:
    case SIGCONT:
    case SIGURG:
    case SIGWINCH:
    case SIGSTOP:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
        return false;
    default:
        return true;
    }
}

/* Whether the process handles, ignores or blocks the signal (proc(5), SigCgt, SigIgn, SigBlk). */
static bool takes_care_of(pid_t pid, int number)
{
    char path[32], line[256];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "re");
    if (!status)
        return true; /* gone */
    while (fgets(line, sizeof line, status))
        if (!strncmp(line, "SigCgt:", 7) || !strncmp(line, "SigIgn:", 7) || !strncmp(line, "SigBlk:", 7))
            found |= strtoull(line + 7, NULL, 16) >> (number - 1) & 1;
    fclose(status);
    return found;
}

static void deliver(int number)
{
    if (number < 1 || number > 64 || state.ended)
        return;
    if (!state.started) {
        state.pending |= UINT64_C(1) << (number - 1);
        return;
    }
    /* The kernel keeps PID 1 of a namespace from dying of a signal it has not asked for. A container's process should. */
    if (process.pid_namespace && terminates_by_default(number) && !takes_care_of(state.child, number)) {
        if (!state.killed_for)
            state.killed_for = number;
        number = SIGKILL;
    }
    kill(state.child, number);
}

static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == state.child && !state.ended) {
            state.ended = true;
            state.status = status;
            clock_gettime(CLOCK_MONOTONIC, &state.ended_at);
        }
    state.children_left = pid == 0;
}

static void take_signals(void)
{
    struct signalfd_siginfo info;
    while (read(state.signals, &info, sizeof info) == sizeof info)
        switch (info.ssi_signo) {
        case SIGCHLD:
            reap();
            break;
        default: /* halt, poweroff, reboot, or Ctrl-Alt-Del: the container should end */
            deliver(SIGTERM);
        }
}

static uint8_t exit_status(void)
{
    if (WIFEXITED(state.status))
        return (uint8_t)WEXITSTATUS(state.status);
    int number = WTERMSIG(state.status);
    if (number == SIGKILL && state.killed_for)
        number = state.killed_for;
    return (uint8_t)(128 + number);
}

/* ---- frames from the host ---- */

static struct output *stream(unsigned number)
{
    return number == 1 ? &state.out : number == 2 ? &state.err : NULL;
}

static void close_output(struct output *output)
{
    if (output->fd >= 0)
        close(output->fd);
    output->fd = -1;
}

static void close_input(void)
{
    if (state.in >= 0)
        close(state.in);
    state.in = -1;
    state.input_length = 0;
}

/* The process has closed its standard input, or is gone. */
static void lose_input(void)
{
    if (state.in < 0)
        return;
    close_input();
    state.tell_closed = !state.in_end && !state.ended;
}

static void take_input(const unsigned char *bytes, size_t length)
{
    if (state.in < 0)
        return; /* sent before STDIN_CLOSED arrived */
    if (length > INPUT_WINDOW - state.input_length) {
        warn("init: input beyond the window was dropped\n");
        return;
    }
    for (size_t i = 0; i < length; i++)
        input[(state.input_start + state.input_length + i) % INPUT_WINDOW] = bytes[i];
    state.input_length += length;
}

static uint32_t read_u32(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void handle_frame(unsigned type, const unsigned char *payload, size_t length)
{
    struct output *output;
    switch (type) {
    case FRAME_HOST_STDIN:
        take_input(payload, length);
        return;
    case FRAME_HOST_STDIN_EOF:
        state.in_end = true;
        return;
    case FRAME_HOST_SIGNAL:
        if (length == 1)
            deliver(payload[0]);
        return;
    case FRAME_HOST_WINSIZE:
        return; /* of a terminal; there are only pipes so far */
    case FRAME_HOST_CREDIT:
        if (length == 5 && (output = stream(payload[0]))) {
            uint32_t bytes = read_u32(payload + 1);
            size_t missing = OUTPUT_WINDOW - output->window;
            output->window += bytes < missing ? bytes : missing;
        }
        return;
    case FRAME_HOST_CLOSED:
        if (length == 1 && (output = stream(payload[0])))
            close_output(output);
        return;
    default:
        warn("init: unknown frame 0x%02x from the host\n", type);
    }
}

/* ---- the process's streams ---- */

static void relay_output(struct output *output)
{
    while (output->fd >= 0 && output->window && link_has_room()) {
        ssize_t count = link_send_from(output->type, output->fd, output->window);
        if (count > 0) {
            output->window -= (size_t)count;
        } else if (count < 0 && errno == EINTR) {
            continue;
        } else if (count < 0 && errno == EAGAIN && !state.give_up) {
            return;
        } else {
            link_send(output->type, NULL, 0);
            close_output(output);
        }
    }
}

static void feed_input(void)
{
    while (state.in >= 0 && state.input_length) {
        size_t contiguous = INPUT_WINDOW - state.input_start;
        if (contiguous > state.input_length)
            contiguous = state.input_length;
        ssize_t count = write(state.in, input + state.input_start, contiguous);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            return;
        if (count < 0) { /* EPIPE */
            lose_input();
            return;
        }
        state.input_start = (state.input_start + (size_t)count) % INPUT_WINDOW;
        state.input_length -= (size_t)count;
        state.credit += (uint32_t)count;
    }
    if (state.in_end)
        close_input();
}

/* Credit is told in pieces worth a frame, or when there is nothing left to take. */
static void send_input_news(void)
{
    if (state.credit && link_has_room()) {
        uint32_t n = state.credit;
        unsigned char payload[5] = {0, (unsigned char)n, (unsigned char)(n >> 8), (unsigned char)(n >> 16),
                                    (unsigned char)(n >> 24)};
        link_send(FRAME_CREDIT, payload, sizeof payload);
        state.credit = 0;
    }
    if (state.tell_closed && link_has_room()) {
        link_send(FRAME_STDIN_CLOSED, NULL, 0);
        state.tell_closed = false;
    }
}

/* ---- the start ---- */

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

static void watch_signals(void)
{
    static const int NUMBERS[] = {SIGCHLD, SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGPWR};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(NUMBERS); i++)
        sigaddset(&set, NUMBERS[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    state.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (state.signals < 0)
        fatal(STATUS_SETUP_FAILED, "signalfd: %s", reason(errno));
}

static void start(void)
{
    int in[2], out[2], err[2], log[2], report[2];
    make_pipe(in);
    make_pipe(out);
    make_pipe(err);
    make_pipe(log);
    make_pipe(report);
    if (process.pid_namespace && unshare(CLONE_NEWPID) < 0)
        fatal(STATUS_SETUP_FAILED, "new PID namespace: %s", reason(errno));
    state.child = fork();
    if (state.child < 0)
        fatal(STATUS_SETUP_FAILED, "fork: %s", reason(errno));
    if (!state.child) {
        struct child_pipes pipes = {in[0], out[1], err[1], log[1], report[1]};
        process_become(&process, &pipes);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    close(log[1]);
    close(report[1]);
    state.in = in[1];
    state.out.fd = out[0];
    state.err.fd = err[0];
    state.log = log[0];
    state.report = report[0];
    set_nonblocking(state.in);
    set_nonblocking(state.out.fd);
    set_nonblocking(state.err.fd);
    set_nonblocking(state.log);
    set_nonblocking(state.report);
}

/* The report pipe has ended: the child has executed the process, or has failed, or is dead. */
static void judge_report(void)
{
    const unsigned char *text = state.reported;
    size_t length = state.reported_length;
    close(state.report);
    state.report = -1;
    relay_log();
    for (size_t i = 0; i + 1 < length; i++)
        if (text[i] == REPORT_FAILED) { /* after REPORT_EXECUTING at most */
            if (length - i == 2)
                setup_failed();
            fatal(text[i + 1], "%.*s", (int)(length - i - 2), text + i + 2);
        }
    if (!length || text[length - 1] != REPORT_EXECUTING)
        fatal(STATUS_SETUP_FAILED, "the set-up was killed");
    link_send(FRAME_STARTED, NULL, 0);
    state.started = true;
    for (int number = 1; number <= 64; number++)
        if (state.pending >> (number - 1) & 1)
            deliver(number);
}

static void take_report(void)
{
    ssize_t count =
        read(state.report, state.reported + state.reported_length, sizeof state.reported - state.reported_length);
    if (count > 0)
        state.reported_length += (size_t)count;
    else if (count == 0 || (errno != EAGAIN && errno != EINTR))
        judge_report();
}

/* ---- the loop ---- */

/* Whether everything the process left behind has been seen to. Also decides when to stop waiting for it. */
static bool all_done(void)
{
    static bool swept;
    struct timespec now;
    if (!state.ended || !state.started)
        return false;
    if (!swept) {
        swept = true;
        kill_everything();
        reap();
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (state.children_left &&
        (now.tv_sec - state.ended_at.tv_sec) * 1000 + (now.tv_nsec - state.ended_at.tv_nsec) / 1000000 > STUCK_MS)
        state.give_up = true;
    return state.out.fd < 0 && state.err.fd < 0 && (!state.children_left || state.give_up);
}

static void wait_for_events(void)
{
    bool room = link_has_room();
    struct pollfd fds[] = {
        {.fd = link_fd(), .events = link_events()},
        {.fd = state.signals, .events = POLLIN},
        {.fd = state.report, .events = POLLIN},
        {.fd = room ? state.log : -1, .events = POLLIN},
        {.fd = state.started && room && state.out.window ? state.out.fd : -1, .events = POLLIN},
        {.fd = state.started && room && state.err.window ? state.err.fd : -1, .events = POLLIN},
        {.fd = state.started ? state.in : -1, .events = state.input_length ? POLLOUT : 0},
    };
    /* Timeouts only where no event may come: a console's room, a process stuck in the kernel. */
    int timeout = !link_is_empty() ? RETRY_MS : state.ended && state.children_left ? STUCK_MS / 10 : -1;
    if (poll(fds, ARRAY_SIZE(fds), timeout) < 0)
        return; /* EINTR cannot be: signals are blocked */
    if ((fds[0].revents & ~POLLOUT) && !link_receive(handle_frame))
        hang_up();
    if (fds[1].revents)
        take_signals();
    if (fds[2].revents)
        take_report();
    if (fds[6].revents & POLLERR) /* nobody has the pipe's other end open */
        lose_input();
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
    watch_signals();
    reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del and its kin become SIGINT; refused in a namespace, which has none */
    const char *wrong = process_read("/runx/process", &process);
    if (wrong)
        fatal(STATUS_SETUP_FAILED, "/runx/process: %s", wrong);
    if (process.terminal)
        fatal(STATUS_SETUP_FAILED, "/runx/process: terminals are not supported by this guest");
    start();

    for (;;) {
        relay_log();
        if (state.started) {
            relay_output(&state.out);
            relay_output(&state.err);
            feed_input();
        }
        send_input_news();
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
    if (!strcmp(slash ? slash + 1 : argv[0], "inroot"))
        return inroot_main(argc, argv);
    return init_main(argc > 1 && argv[1][0] == '/' ? argv[1] : "/dev/hvc1");
}
