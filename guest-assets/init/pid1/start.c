#include "pid1/start.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child/main.h"
#include "common/common.h"
#include "common/descriptor.h"
#include "common/error_text.h"
#include "common/report.h"
#include "pid1/end.h"
#include "pid1/link.h"
#include "pid1/log.h"
#include "pid1/network_script.h"
#include "pid1/signals.h"
#include "pid1/streams.h"
#include "pid1/write_back.h"

static int reports = -1;         /* the pipe of common/report.h */
static int terminal_socket = -1; /* brings the master of the terminal; -1: no terminal */
static int layer_socket = -1;    /* brings the directory of the container's changes */
static unsigned char reported[REPORT_MAX];
static size_t reported_length;

static void set_nonblocking(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void make_pipe(int ends[2])
{
    if (pipe2(ends, O_CLOEXEC) < 0)
        fatal(STATUS_SETUP_FAILED, "pipe: %s", reason(errno));
}

/* Has later children of this process, such as the network script, in its own PID namespace again. */
static void stay_out_of_pid_namespace(void)
{
    int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (own < 0 || setns(own, CLONE_NEWPID) < 0)
        fatal(STATUS_SETUP_FAILED, "leaving the PID namespace: %s", reason(errno));
    close(own);
}

void start_child(struct process *process)
{
    int in[2], out[2], err[2], log[2], report[2], terminal[2] = {-1, -1}, layer[2];
    make_pipe(in);
    make_pipe(out);
    make_pipe(err);
    make_pipe(log);
    make_pipe(report);
    if (process->terminal && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, terminal) < 0)
        fatal(STATUS_SETUP_FAILED, "terminal: %s", reason(errno));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, layer) < 0)
        fatal(STATUS_SETUP_FAILED, "socketpair: %s", reason(errno));
    network_script_start(log[1], process->network_follows);
    if (process->pid_namespace && unshare(CLONE_NEWPID) < 0)
        fatal(STATUS_SETUP_FAILED, "making a PID namespace: %s", reason(errno));
    child.pid = fork();
    if (child.pid < 0)
        fatal(STATUS_SETUP_FAILED, "fork: %s", reason(errno));
    if (child.pid && process->pid_namespace)
        stay_out_of_pid_namespace();
    if (!child.pid) {
        network_script_close();
        child_main(process, &(struct child_pipes){
                                .in = in[0],
                                .out = out[1],
                                .err = err[1],
                                .log = log[1],
                                .report = report[1],
                                .terminal = terminal[1],
                                .layer = layer[1],
                                .network = network_script_line(),
                            });
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    close(log[1]);
    close(report[1]);
    close(layer[1]);
    set_nonblocking(in[1]);
    set_nonblocking(out[0]);
    set_nonblocking(err[0]);
    set_nonblocking(log[0]);
    set_nonblocking(report[0]);
    if (process->terminal) {
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
    layer_socket = layer[0];
}

int start_fd(void)
{
    return reports;
}

/* Ends the guest with the end of the log as the reason. */
static _Noreturn void fail_as_the_log_says(void)
{
    size_t length;
    const char *text = log_tail(&length);
    if (!length)
        fatal(STATUS_SETUP_FAILED, "the set-up failed and said nothing");
    fatal(STATUS_SETUP_FAILED, "%.*s", (int)length, text);
}

/* The pipe has ended: the child has executed the process, or has failed, or is dead. */
static void judge_report(void)
{
    const unsigned char *text = reported;
    size_t length = reported_length;
    close(reports);
    reports = -1;
    log_relay();
    for (size_t i = 0; i + 1 < length; i++)
        if (text[i] == REPORT_FAILED) { /* first, or after REPORT_EXECUTING */
            if (length - i == 2)
                fail_as_the_log_says();
            fatal(text[i + 1], "%.*s", (int)(length - i - 2), text + i + 2);
        }
    if (!length || text[length - 1] != REPORT_EXECUTING)
        fatal(STATUS_SETUP_FAILED, "the set-up was killed");
    if (terminal_socket >= 0) {
        int master = descriptor_receive(terminal_socket);
        if (master < 0)
            fatal(STATUS_SETUP_FAILED, "the set-up sent no terminal");
        set_nonblocking(master);
        streams_open_terminal(master);
    }
    write_back_take(layer_socket);
    link_send(FRAME_STARTED, NULL, 0);
    child_started();
}

void start_take_report(void)
{
    ssize_t count = read(reports, reported + reported_length, sizeof reported - reported_length);
    if (count > 0)
        reported_length += (size_t)count;
    else if (count == 0 || (errno != EAGAIN && errno != EINTR))
        judge_report();
}
