#include "pid1/signals.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "pid1/end.h"

struct child child;

static int signals = -1;
static int wait_status;  /* of waitpid(2), when the child has ended */
static void (*tell_of_child)(pid_t pid, int status);
static uint64_t pending; /* signals that came before the start; bit n - 1 for signal n */

void signals_watch(void)
{
    static const int NUMBERS[] = {SIGCHLD, SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGPWR};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(NUMBERS); i++)
        sigaddset(&set, NUMBERS[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signals < 0)
        fatal(STATUS_SETUP_FAILED, "signalfd: %s", reason(errno));
}

int signals_fd(void)
{
    return signals;
}

void deliver(int number)
{
    if (number < 1 || number > 64)
        return;
    if (!child.started) {
        pending |= UINT64_C(1) << (number - 1);
        return;
    }
    if (number == SIGKILL && !child.killed) {
        child.killed = true;
        clock_gettime(CLOCK_MONOTONIC, &child.killed_at);
    }
    /* A process that is PID 1 of its namespace and has no handler for the signal does not get it: pid_namespaces(7). */
    if (!child.ended)
        kill(child.pid, number);
}

void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == child.pid && !child.ended) {
            child.ended = true;
            wait_status = status;
            clock_gettime(CLOCK_MONOTONIC, &child.ended_at);
        } else if (tell_of_child) {
            tell_of_child(pid, status);
        }
    child.any_left = pid == 0;
}

void reap_tells(void (*tell)(pid_t pid, int status))
{
    tell_of_child = tell;
}

void signals_take(void)
{
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info)
        switch (info.ssi_signo) {
        case SIGCHLD:
            reap();
            break;
        default: /* busybox's halt, poweroff or reboot, or Ctrl-Alt-Del: end the process */
            deliver(SIGTERM);
        }
}

uint8_t exit_status(void)
{
    if (!child.ended)
        return 128 + SIGKILL;
    return status_of(wait_status);
}

uint8_t status_of(int status)
{
    return (uint8_t)(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

void child_started(void)
{
    child.started = true;
    for (int number = 1; number <= 64; number++)
        if (pending >> (number - 1) & 1)
            deliver(number);
}
