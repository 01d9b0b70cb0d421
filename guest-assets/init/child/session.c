#include "child/session.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "child/become.h"
#include "child/cgroup.h"
#include "child/process_file.h"
#include "common/common.h"
#include "common/error_text.h"
#include "common/report.h"
#include "common/spawn.h"

/* Takes from the container's process what holds for every process of the container. */
static void bound(struct process *p, const struct process *container)
{
    p->has_filter = container->has_filter;
    p->filter_flags = container->filter_flags;
    p->filter = container->filter;
    p->filter_size = container->filter_size;
    p->pids_limit = container->pids_limit;
    p->hook_count = 0;
    if (!container->has_capabilities)
        return;
    for (int set = 0; set < CAP_SETS; set++)
        p->capabilities[set] = p->has_capabilities ? p->capabilities[set] & container->capabilities[CAP_BOUNDING]
                                                   : container->capabilities[set];
    p->has_capabilities = true;
}

static int open_namespace(pid_t pid, const char *name, int report)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        report_failure(report, STATUS_SETUP_FAILED, "the container's process has ended");
    return fd;
}

void session_main(char *text, size_t size, const struct container *container, const struct child_pipes *pipes)
{
    static struct process p;
    int report = pipes->report, cgroups = -1;
    restore_signals();
    const char *wrong = process_file_parse(text, size, &p);
    if (wrong)
        report_failure(report, STATUS_SETUP_FAILED, "the session's record: %s", wrong);
    bound(&p, container->process);
    become_prepare(&p, report);
    int mounts = open_namespace(container->pid, "mnt", report);
    if (p.pids_limit) {
        cgroups = open_namespace(container->pid, "cgroup", report);
        cgroup_join(container->pid, report);
    }
    /* The last step: it takes the ramdisk's /proc away. Its root is the container's, which lies over the ramdisk there. */
    if ((cgroups >= 0 && setns(cgroups, CLONE_NEWCGROUP) < 0) || setns(mounts, CLONE_NEWNS) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "entering the container: %s", reason(errno));
    become(&p, pipes, false);
}
