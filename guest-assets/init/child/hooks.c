#include "child/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "common/report.h"
#include "common/spawn.h"

enum { OUTPUT_MAX = 1000 /* bytes of a hook's output in a message */ };

static int memory_file(int report)
{
    int fd = memfd_create("hook", MFD_CLOEXEC);
    if (fd < 0)
        report_failure(report, STATUS_SETUP_FAILED, "hooks: memfd_create: %s", reason(errno));
    return fd;
}

void hooks_prepare(struct process *p, int report)
{
    char pid[24];
    snprintf(pid, sizeof pid, "%d", getpid());
    for (size_t i = 0; i < p->hook_count; i++) {
        struct hook *hook = &p->hooks[i];
        hook->output = memory_file(report);
        hook->state = memory_file(report);
        const char *const parts[] = {p->hook_state[0], pid, p->hook_state[1]};
        for (size_t part = 0; part < ARRAY_SIZE(parts); part++)
            if (write(hook->state, parts[part], strlen(parts[part])) != (ssize_t)strlen(parts[part]))
                report_failure(report, STATUS_SETUP_FAILED, "hooks: writing the state: %s", reason(errno));
        lseek(hook->state, 0, SEEK_SET);
    }
}

/* ": " and the end of a hook's output on one line; empty when there is none. */
static const char *end_of(int output)
{
    static char text[OUTPUT_MAX + 3] = ": ";
    off_t size = lseek(output, 0, SEEK_END);
    ssize_t length = pread(output, text + 2, OUTPUT_MAX, size > OUTPUT_MAX ? size - OUTPUT_MAX : 0);
    while (length > 0 && strchr(" \n\r\t", text[1 + length]))
        length--;
    for (ssize_t i = 0; i < length; i++)
        if ((unsigned char)text[2 + i] < ' ')
            text[2 + i] = ' ';
    text[2 + (length > 0 ? length : 0)] = 0;
    return length > 0 ? text : "";
}

/* In the hook's process: executes the hook, or writes an errno to FAILURE. */
static _Noreturn void become(const struct hook *hook, int failure)
{
    setsid();
    if (dup2(hook->state, 0) >= 0 && dup2(hook->output, 1) >= 0 && dup2(hook->output, 2) >= 0) {
        restore_signals();
        execve(hook->path, hook->args, hook->env);
    }
    int error = errno;
    leave(write(failure, &error, sizeof error) < 0 ? 1 : STATUS_NOT_FOUND);
}

/* Waits for PID with SIGCHLD blocked. Returns false when the time is over. An orphan of the hook may cause SIGCHLD, too. */
static bool wait_for(pid_t pid, unsigned timeout_s, int *status)
{
    struct timespec now, end;
    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += timeout_s;
    while (waitpid(pid, status, WNOHANG) != pid) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        struct timespec left = {end.tv_sec - now.tv_sec, end.tv_nsec - now.tv_nsec};
        if (left.tv_nsec < 0) {
            left.tv_sec--;
            left.tv_nsec += 1000000000L;
        }
        if (timeout_s && left.tv_sec < 0)
            return false;
        sigtimedwait(&ended, NULL, timeout_s ? &left : NULL);
    }
    return true;
}

static void run(const struct hook *hook, int report)
{
    int failure[2], error = 0, status = 0;
    if (pipe2(failure, O_CLOEXEC) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "%s (%s): pipe: %s", hook->origin, hook->path, reason(errno));
    pid_t pid = fork();
    if (pid < 0)
        report_failure(report, STATUS_SETUP_FAILED, "%s (%s): fork: %s", hook->origin, hook->path, reason(errno));
    if (!pid)
        become(hook, failure[1]);
    close(failure[1]);
    /* The pipe ends without an errno when execve(2) succeeds. */
    ssize_t length = read(failure[0], &error, sizeof error);
    close(failure[0]);
    if (length == sizeof error)
        report_failure(report, STATUS_SETUP_FAILED, "%s (%s): cannot be executed: %s", hook->origin, hook->path,
                       reason(error));
    if (!wait_for(pid, hook->timeout_s, &status)) {
        kill(-pid, SIGKILL); /* the hook and its process group */
        waitpid(pid, &status, 0);
        report_failure(report, STATUS_SETUP_FAILED, "%s (%s) did not end within %u s%s", hook->origin, hook->path,
                       hook->timeout_s, end_of(hook->output));
    }
    if (WIFSIGNALED(status))
        report_failure(report, STATUS_SETUP_FAILED, "%s (%s) was ended by signal %d%s", hook->origin, hook->path,
                       WTERMSIG(status), end_of(hook->output));
    if (WEXITSTATUS(status))
        report_failure(report, STATUS_SETUP_FAILED, "%s (%s) failed with exit status %d%s", hook->origin, hook->path,
                       WEXITSTATUS(status), end_of(hook->output));
}

void hooks_run(const struct process *p, int report)
{
    sigset_t ended, before;
    if (!p->hook_count)
        return;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, &before);
    for (size_t i = 0; i < p->hook_count; i++)
        run(&p->hooks[i], report);
    sigprocmask(SIG_SETMASK, &before, NULL);
}
