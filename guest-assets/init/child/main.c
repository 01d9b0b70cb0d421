#include "child/main.h"

#include "child/become.h"
#include "child/cgroup.h"
#include "child/hooks.h"
#include "child/pause.h"
#include "child/root.h"
#include "child/setup.h"
#include "child/stdio.h"
#include "common/spawn.h"

void child_main(struct process *p, const struct child_pipes *pipes)
{
    int report = pipes->report;
    restore_signals();
    if (!p->pod) /* what is mounted for a pod is for the containers to come */
        root_mounts_of_its_own(report);
    int limit = p->pids_limit ? cgroup_enter(report) : -1;
    setup_run(pipes);
    if (limit >= 0)
        cgroup_limit(limit, p->pids_limit, report);
    if (p->pod) {
        root_mounts_of_its_own(report);
        pause_root(report);
    }
    become_prepare(p, report);
    hooks_prepare(p, report);
    stdio_prepare(report);
    root_enter(report);
    become(p, pipes, true);
}
