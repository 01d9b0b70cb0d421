#include "child/main.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include "child/cgroup.h"
#include "child/exec.h"
#include "child/hooks.h"
#include "child/setup.h"
#include "child/stdio.h"
#include "child/terminal.h"
#include "common/common.h"
#include "common/error_text.h"
#include "common/file.h"
#include "common/report.h"
#include "common/spawn.h"

/* Moves the new root over the old one, as switch_root(8) does: the root of a ramdisk cannot be pivoted or unmounted. */
static void enter_root(int report)
{
    if (chdir(NEWROOT) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "%s: %s", NEWROOT, reason(errno));
    if (mount(".", "/", NULL, MS_MOVE, NULL) < 0) {
        /* EINVAL: the root is a directory of the ramdisk. Make it a mount. */
        if (errno != EINVAL || mount(NEWROOT, NEWROOT, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(NEWROOT) < 0 ||
            mount(".", "/", NULL, MS_MOVE, NULL) < 0)
            report_failure(report, STATUS_SETUP_FAILED, "making %s the root: %s", NEWROOT, reason(errno));
    }
    if (chroot(".") < 0 || chdir("/") < 0)
        report_failure(report, STATUS_SETUP_FAILED, "chroot to %s: %s", NEWROOT, reason(errno));
}

/* Raises the ceiling of RLIMIT_NOFILE: a limit that is possible on the host may be above this kernel's default. */
static void raise_file_ceiling(rlim_t wanted)
{
    char text[32];
    if (!read_file("/proc/sys/fs/nr_open", text, sizeof text) || strtoull(text, NULL, 10) >= wanted)
        return;
    snprintf(text, sizeof text, "%llu", (unsigned long long)wanted);
    write_file("/proc/sys/fs/nr_open", text); /* setrlimit(2) reports a limit that is still too high */
}

/* Sets what needs the ramdisk's /proc: the container may have none. */
static void prepare(const struct process *p, int report)
{
    for (size_t i = 0; i < p->limit_count; i++)
        if (p->limits[i].resource == RLIMIT_NOFILE)
            raise_file_ceiling(p->limits[i].value.rlim_max);
    if (p->has_oom_score_adj && !write_file("/proc/self/oom_score_adj", p->oom_score_adj))
        report_failure(report, STATUS_SETUP_FAILED, "oom_score_adj %s: %s", p->oom_score_adj, reason(errno));
}

void child_main(struct process *p, const struct child_pipes *pipes)
{
    restore_signals();
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        report_failure(pipes->report, STATUS_SETUP_FAILED, "making a mount namespace: %s", reason(errno));
    int limit = p->pids_limit ? cgroup_enter(pipes->report) : -1;
    setup_run(pipes);
    if (limit >= 0)
        cgroup_limit(limit, p->pids_limit, pipes->report);
    prepare(p, pipes->report);
    hooks_prepare(p, pipes->report);
    stdio_prepare(pipes->report);
    enter_root(pipes->report);
    if (p->terminal)
        terminal_open(p, pipes->terminal, pipes->report);
    else if (setsid() < 0)
        report_failure(pipes->report, STATUS_SETUP_FAILED, "setsid: %s", reason(errno));
    else
        stdio_connect(pipes, pipes->report);
    stdio_own(p, pipes->report);
    exec_process(p, pipes->report);
}
