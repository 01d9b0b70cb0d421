#include "child/main.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "child/become.h"
#include "child/cgroup.h"
#include "child/hooks.h"
#include "child/setup.h"
#include "child/stdio.h"
#include "common/common.h"
#include "common/error_text.h"
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

void child_main(struct process *p, const struct child_pipes *pipes)
{
    restore_signals();
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        report_failure(pipes->report, STATUS_SETUP_FAILED, "making a mount namespace: %s", reason(errno));
    int limit = p->pids_limit ? cgroup_enter(pipes->report) : -1;
    setup_run(pipes);
    if (limit >= 0)
        cgroup_limit(limit, p->pids_limit, pipes->report);
    become_prepare(p, pipes->report);
    hooks_prepare(p, pipes->report);
    stdio_prepare(pipes->report);
    enter_root(pipes->report);
    become(p, pipes, true);
}
