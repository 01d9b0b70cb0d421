/* The mounts are a copy of PID 1's, with the pod's share. What the container brings is in a tmpfs over /runx, so that all steps find
 * it where a machine of the container's own would have it; and it goes with the container. */
#include "child/container.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child/archive.h"
#include "child/become.h"
#include "child/cgroup.h"
#include "child/hooks.h"
#include "child/process_file.h"
#include "child/root.h"
#include "child/setup.h"
#include "child/stdio.h"
#include "common/common.h"
#include "common/error_text.h"
#include "common/report.h"
#include "common/spawn.h"
#include "inroot/commands.h"

static void cover(const char *place, int report)
{
    if ((mkdir(place, 0700) < 0 && errno != EEXIST) || mount("container", place, "tmpfs", MS_NOSUID, "mode=700") < 0)
        report_failure(report, STATUS_SETUP_FAILED, "%s: %s", place, reason(errno));
}

/* Takes away what is of all containers of the pod. The binds out of it stay. */
static void leave_the_pods(int report)
{
    static const char *const PLACES[] = {"/shares/pod", "/shares/shm", HIERARCHY};
    for (size_t i = 0; i < ARRAY_SIZE(PLACES); i++)
        if (umount2(PLACES[i], MNT_DETACH) < 0)
            report_failure(report, STATUS_SETUP_FAILED, "%s: %s", PLACES[i], reason(errno));
}

_Noreturn void container_main(char *archive, size_t size, const char *group, const struct child_pipes *pipes)
{
    static struct process p;
    int report = pipes->report;
    restore_signals();
    root_mounts_of_its_own(report);
    cover("/runx", report);
    cover(NODES, report);
    const char *wrong = archive_unpack(archive, size);
    if (wrong)
        report_failure(report, STATUS_SETUP_FAILED, "the container's files: %s", wrong);
    wrong = process_file_read("/runx/process", &p);
    if (wrong)
        report_failure(report, STATUS_SETUP_FAILED, "/runx/process: %s", wrong);
    cgroup_join_group(group, 0, report);
    if (unshare(CLONE_NEWCGROUP) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "making a cgroup namespace: %s", reason(errno));
    setup_run(pipes);
    cgroup_write(group, &p, report); /* after the set-up, which the limits are not for */
    become_prepare(&p, report);
    hooks_prepare(&p, report);
    stdio_prepare(report);
    leave_the_pods(report);
    root_enter(report);
    become(&p, pipes, true);
}
