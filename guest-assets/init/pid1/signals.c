#include "pid1/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "pid1/end.h"

struct child child;

static int signals = -1;
static int wait_status;  /* of waitpid(2), when the child has ended */
static int killed_for;   /* the signal for which deliver() sent SIGKILL; 0: none */
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

/* Whether the process handles, ignores or blocks the signal (SigCgt, SigIgn, SigBlk of proc(5)). */
static bool takes_care_of(pid_t pid, int number)
{
    char path[32], line[256];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "re");
    if (!status)
        return true; /* it has ended */
    while (fgets(line, sizeof line, status))
        if (!strncmp(line, "SigCgt:", 7) || !strncmp(line, "SigIgn:", 7) || !strncmp(line, "SigBlk:", 7))
            found |= strtoull(line + 7, NULL, 16) >> (number - 1) & 1;
    fclose(status);
    return found;
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
    if (child.ended)
        return;
    /* The kernel discards a signal to PID 1 of a PID namespace that has no handler for it. Users expect the process to end. */
    if (child.in_pid_namespace && terminates_by_default(number) && !takes_care_of(child.pid, number)) {
        if (!killed_for)
            killed_for = number;
        number = SIGKILL;
    }
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
    if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL && killed_for)
        return (uint8_t)(128 + killed_for);
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
