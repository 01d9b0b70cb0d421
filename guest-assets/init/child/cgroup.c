/* The steps are explained in docs/guest.md, "Tasks". The cgroup2 file system is mounted for a moment only; the cgroup stays. */
#include "child/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/common.h"
#include "common/error_text.h"
#include "common/file.h"
#include "common/report.h"

#define CONTAINER HIERARCHY "/container"

/* Enables all controllers, for programs that run containers inside this one. Only "pids" must be there. */
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
        failed = "enabling the controller \"pids\"";
    else if (mkdir(CONTAINER, 0755) < 0)
        failed = "making a cgroup";
    else if (!write_file(CONTAINER "/cgroup.procs", "0"))
        failed = "joining the cgroup";
    else if ((limit = open(CONTAINER "/pids.max", O_WRONLY | O_CLOEXEC)) < 0)
        failed = "opening pids.max";
    else if (unshare(CLONE_NEWCGROUP) < 0)
        failed = "making a cgroup namespace";
    if (failed)
        report_failure(report, STATUS_SETUP_FAILED, "pids limit: %s: %s", failed, reason(errno));
    umount2(HIERARCHY, MNT_DETACH); /* detached, because LIMIT is open */
    return limit;
}

/* Where the process PID is: a program such as systemd moves the container's processes into cgroups below its own, which then can
 * have no process itself. */
static bool join_cgroup_of(pid_t pid)
{
    char path[32], text[512], name[600];
    snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
    if (!read_file(path, text, sizeof text))
        return false;
    for (char *rest = text, *line; (line = strtok_r(rest, "\n", &rest));)
        if (!strncmp(line, "0::/", 4)) {
            snprintf(name, sizeof name, HIERARCHY "%s/cgroup.procs", line + 3);
            return write_file(name, "0");
        }
    errno = ENOENT;
    return false;
}

void cgroup_join(pid_t pid, int report)
{
    const char *failed = NULL;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        failed = "making a mount namespace";
    else if (mkdir(HIERARCHY, 0755) < 0 && errno != EEXIST)
        failed = HIERARCHY;
    else if (mount("cgroup2", HIERARCHY, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate") < 0)
        failed = "mounting cgroup2";
    else if (!write_file(CONTAINER "/cgroup.procs", "0") && (errno != EBUSY || !join_cgroup_of(pid)))
        failed = "joining the cgroup";
    if (failed)
        report_failure(report, STATUS_SETUP_FAILED, "pids limit: %s: %s", failed, reason(errno));
}

void cgroup_join_group(const char *group, pid_t pid, int report)
{
    char path[128];
    snprintf(path, sizeof path, HIERARCHY "/%s/cgroup.procs", group);
    if (!write_file(path, "0") && (errno != EBUSY || !pid || !join_cgroup_of(pid)))
        report_failure(report, STATUS_SETUP_FAILED, "control group: joining it: %s", reason(errno));
}

/* Waits until all processes of GROUP have stopped, or go on again. Those that do not stop in time all go on. False with errno. */
static bool await_frozen(const char *group, bool frozen)
{
    enum { LIMIT_MS = 5000 };
    char path[128], text[128];
    snprintf(path, sizeof path, HIERARCHY "/%s/cgroup.events", group);
    for (int waited = 0; waited < LIMIT_MS && read_file(path, text, sizeof text); waited++) {
        if (strstr(text, frozen ? "frozen 1" : "frozen 0"))
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    snprintf(path, sizeof path, HIERARCHY "/%s/cgroup.freeze", group);
    write_file(path, "0");
    errno = EBUSY;
    return false;
}

void cgroup_tell(const char *group, const struct process *p, int out)
{
    static char text[4096];
    char path[256];
    for (size_t i = 0; i < p->control_group_count; i += 2) {
        const char *file = p->control_group[i];
        if (*p->control_group[i + 1] || snprintf(path, sizeof path, HIERARCHY "/%s/%s", group, file) >= (int)sizeof path ||
            !read_file(path, text, sizeof text))
            continue; /* the kernel may not have it */
        for (char *rest = text, *line; (line = strtok_r(rest, "\n", &rest));)
            dprintf(out, "%s %s\n", file, line);
    }
}

void cgroup_write(const char *group, const struct process *p, int report)
{
    char path[256];
    for (size_t i = 0; i < p->control_group_count; i += 2) {
        const char *file = p->control_group[i], *value = p->control_group[i + 1];
        if (snprintf(path, sizeof path, HIERARCHY "/%s/%s", group, file) >= (int)sizeof path)
            report_failure(report, STATUS_SETUP_FAILED, "control group: %s: %s", file, reason(ENAMETOOLONG));
        if (!*value)
            continue; /* it is to be read */
        if (write_file(path, value) && (strcmp(file, "cgroup.freeze") || await_frozen(group, *value == '1')))
            continue;
        /* EINVAL: the kernel can never have so many tasks. A weight is among others, of which a kernel without them knows nothing;
         * and without a limit of memory, none of a group runs out. */
        if (!strcmp(file, "pids.max") && errno == EINVAL && write_file(path, "max"))
            continue;
        if ((strcmp(file, "cpu.weight") && strcmp(file, "memory.oom.group")) || errno != ENOENT)
            report_failure(report, STATUS_SETUP_FAILED, "control group: %s %s: %s", file, value, reason(errno));
    }
}

void cgroup_limit(int limit, const char *most, int report)
{
    bool written = write(limit, most, strlen(most)) >= 0;
    /* EINVAL: the kernel can never have so many tasks. That is the same as no limit. */
    if (!written && errno == EINVAL)
        written = write(limit, "max", 3) >= 0;
    if (!written)
        report_failure(report, STATUS_SETUP_FAILED, "pids limit: %s: %s", most, reason(errno));
    close(limit);
}
