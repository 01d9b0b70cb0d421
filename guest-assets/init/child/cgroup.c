/* linux.resources.pids.limit: the container's tasks in a cgroup of their own.
 *
 * The cgroup2 file system is mounted here for a moment only. The cgroup outlives that; what the container mounts itself shows
 * its own cgroup as the root, since it has a cgroup namespace too, and there its limit cannot be raised (nsdelegate).
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

#define HIERARCHY "/run/cgroup"
#define CONTAINER HIERARCHY "/container"

/* All of them: what runs containers inside this one wants the others too. Only the one for tasks must be there. */
static bool enable_controllers(void)
{
    char names[256], one[256];
    bool have_pids = false;
    if (!read_file(HIERARCHY "/cgroup.controllers", names, sizeof names))
        return false;
    for (char *rest = names, *name; (name = strtok_r(rest, " \n", &rest));) {
        snprintf(one, sizeof one, "+%s", name);
        if (write_file(HIERARCHY "/cgroup.subtree_control", one))
            have_pids |= !strcmp(name, "pids");
        else if (!strcmp(name, "pids"))
            return false;
    }
    errno = ENOSYS;
    return have_pids;
}

int cgroup_enter(int report)
{
    const char *failed = NULL;
    int limit = -1;
    mkdir(HIERARCHY, 0755);
    if (mount("cgroup2", HIERARCHY, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate") < 0)
        failed = "mounting cgroup2";
    else if (!enable_controllers())
        failed = "the controller \"pids\"";
    else if (mkdir(CONTAINER, 0755) < 0)
        failed = "making a cgroup";
    else if (!write_file(CONTAINER "/cgroup.procs", "0"))
        failed = "joining the cgroup";
    else if ((limit = open(CONTAINER "/pids.max", O_WRONLY | O_CLOEXEC)) < 0)
        failed = "pids.max";
    else if (unshare(CLONE_NEWCGROUP) < 0)
        failed = "new cgroup namespace";
    if (failed)
        report_failure(report, STATUS_SETUP_FAILED, "pids limit: %s: %s", failed, reason(errno));
    umount2(HIERARCHY, MNT_DETACH); /* LIMIT is still open */
    return limit;
}

void cgroup_limit(int limit, const char *value, int report)
{
    bool written = write(limit, value, strlen(value)) >= 0;
    /* The kernel refuses a number of tasks that it can never have, which is as good as no limit. */
    if (!written && errno == EINVAL)
        written = write(limit, "max", 3) >= 0;
    if (!written)
        report_failure(report, STATUS_SETUP_FAILED, "pids limit: %s: %s", value, reason(errno));
    close(limit);
}
