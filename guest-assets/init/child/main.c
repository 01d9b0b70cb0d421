/* The child's way from /init to the container's root. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

void report_failure(int report, int status, const char *format, ...)
{
    char text[REPORT_MAX] = {REPORT_FAILED, (char)status};
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text + 2, sizeof text - 2, format, arguments);
    va_end(arguments);
    if (length < 0)
        length = 0;
    if ((size_t)length > sizeof text - 3)
        length = (int)sizeof text - 3;
    /* Shorter than PIPE_BUF: written whole or not at all, and there is nobody else to tell. */
    _exit(write(report, text, (size_t)length + 2) < 0 ? STATUS_SETUP_FAILED : status);
}

char *const SCRIPT_ENVIRONMENT[] = {"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/", NULL};

void restore_signals(void)
{
    /* Not the C library's: it keeps some numbers for itself, which whoever started a test may have left ignored. */
    static const unsigned long by_default[8]; /* the kernel's struct sigaction, whatever its size */
    sigset_t none;
    for (int number = 1; number < _NSIG; number++)
        syscall(SYS_rt_sigaction, number, by_default, NULL, _NSIG / 8);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void run_setup(const struct child_pipes *pipes)
{
    static char *const ARGUMENTS[] = {"sh", "/runx/setup", NULL};
    network_forget();
    pid_t shell = fork();
    if (shell < 0)
        report_failure(pipes->report, STATUS_SETUP_FAILED, "starting the setup script: %s", reason(errno));
    if (!shell) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (null < 0 || dup2(null, 0) < 0 || dup2(pipes->log, 1) < 0 || dup2(pipes->log, 2) < 0 || !network_pass())
            report_failure(pipes->report, STATUS_SETUP_FAILED, "the setup script's streams: %s", reason(errno));
        execve("/bin/sh", ARGUMENTS, SCRIPT_ENVIRONMENT);
        report_failure(pipes->report, STATUS_SETUP_FAILED, "/bin/sh: %s", reason(errno));
    }
    int status = 0;
    pid_t ended;
    /* In a PID namespace of its own this is PID 1, which gets the script's orphans too. */
    while ((ended = waitpid(-1, &status, 0)) != shell)
        if (ended < 0 && errno != EINTR)
            report_failure(pipes->report, STATUS_SETUP_FAILED, "waiting for the setup script: %s", reason(errno));
    if (status)
        report_failure(pipes->report, STATUS_SETUP_FAILED, "%s", "");
}

/* A ramdisk's root can be neither pivoted nor unmounted; moving the new root over it is what switch_root(8) does. */
static void enter_root(int report)
{
    if (chdir(NEWROOT) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "%s: %s", NEWROOT, reason(errno));
    if (mount(".", "/", NULL, MS_MOVE, NULL) < 0) {
        /* No mount point: the root lies in the ramdisk itself. */
        if (errno != EINVAL || mount(NEWROOT, NEWROOT, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(NEWROOT) < 0 ||
            mount(".", "/", NULL, MS_MOVE, NULL) < 0)
            report_failure(report, STATUS_SETUP_FAILED, "making %s the root: %s", NEWROOT, reason(errno));
    }
    if (chroot(".") < 0 || chdir("/") < 0)
        report_failure(report, STATUS_SETUP_FAILED, "chroot to %s: %s", NEWROOT, reason(errno));
}

bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t length = strlen(text);
    bool written = write(fd, text, length) == (ssize_t)length;
    int error = errno;
    close(fd);
    errno = error;
    return written;
}

/* A container's host may allow more open files than this kernel's default ceiling. */
static void raise_file_ceiling(rlim_t wanted)
{
    char text[32] = "";
    int fd = open("/proc/sys/fs/nr_open", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0 || strtoull(text, NULL, 10) >= wanted)
        return;
    snprintf(text, sizeof text, "%llu", (unsigned long long)wanted);
    write_file("/proc/sys/fs/nr_open", text); /* setrlimit reports it when this was too much */
}

/* What needs /proc of the ramdisk, since the container may have none. */
static void prepare(const struct process *p, int report)
{
    for (size_t i = 0; i < p->limit_count; i++)
        if (p->limits[i].resource == RLIMIT_NOFILE)
            raise_file_ceiling(p->limits[i].value.rlim_max);
    if (p->has_oom_score_adj && !write_file("/proc/self/oom_score_adj", p->oom_score_adj))
        report_failure(report, STATUS_SETUP_FAILED, "oom_score_adj %s: %s", p->oom_score_adj, reason(errno));
}

void process_become(struct process *p, const struct child_pipes *pipes)
{
    restore_signals();
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        report_failure(pipes->report, STATUS_SETUP_FAILED, "new mount namespace: %s", reason(errno));
    int limit = p->pids_limit ? cgroup_enter(pipes->report) : -1;
    run_setup(pipes);
    if (limit >= 0)
        cgroup_limit(limit, p->pids_limit, pipes->report);
    prepare(p, pipes->report);
    hooks_prepare(p, pipes->report);
    enter_root(pipes->report);
    if (p->terminal)
        terminal_open(p, pipes->terminal, pipes->report);
    else if (setsid() < 0)
        report_failure(pipes->report, STATUS_SETUP_FAILED, "setsid: %s", reason(errno));
    else if (dup2(pipes->in, 0) < 0 || dup2(pipes->out, 1) < 0 || dup2(pipes->err, 2) < 0)
        report_failure(pipes->report, STATUS_SETUP_FAILED, "standard streams: %s", reason(errno));
    process_execute(p, pipes->report);
}
