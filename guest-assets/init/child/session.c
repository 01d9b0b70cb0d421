#include "child/session.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "child/archive.h"
#include "child/become.h"
#include "child/cgroup.h"
#include "child/process_file.h"
#include "child/stdio.h"
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

/* The container's own process, which an archive describes. */
static const struct process *process_of(const struct container *container, int report)
{
    static struct process found;
    size_t size;
    char *text = archive_find(container->archive, container->archive_size, "runx/process", &size);
    const char *wrong = text ? process_file_parse(text, size, &found) : "there is none";
    if (!wrong && found.has_filter &&
        !(found.filter = archive_find(container->archive, container->archive_size, "runx/seccomp", &found.filter_size)))
        wrong = "there is no filter";
    if (wrong)
        report_failure(report, STATUS_SETUP_FAILED, "the record of the container: %s", wrong);
    return &found;
}

/* New limits alone, or what the group's files say. */
static _Noreturn void limit(const char *group, const struct process *p, const struct child_pipes *pipes)
{
    cgroup_write(group, p, pipes->report);
    if (write(pipes->report, (char[]){REPORT_EXECUTING}, 1) != 1)
        _exit(1);
    close(pipes->report);
    cgroup_tell(group, p, pipes->out);
    _exit(0);
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

/* The namespaces that a container of a pod may have for itself. */
static void enter_kinds(pid_t pid, int report)
{
    static const struct {
        const char *name;
        int kind;
    } KINDS[] = {{"ipc", CLONE_NEWIPC}, {"uts", CLONE_NEWUTS}};
    for (size_t i = 0; i < ARRAY_SIZE(KINDS); i++) {
        int fd = open_namespace(pid, KINDS[i].name, report);
        if (setns(fd, KINDS[i].kind) < 0)
            report_failure(report, STATUS_SETUP_FAILED, "entering the container: %s", reason(errno));
        close(fd);
    }
}

void session_main(char *text, size_t size, const struct container *container, const struct child_pipes *pipes)
{
    static struct process p;
    int report = pipes->report, cgroups = -1;
    restore_signals();
    const char *wrong = process_file_parse(text, size, &p);
    if (wrong)
        report_failure(report, STATUS_SETUP_FAILED, "the session's record: %s", wrong);
    if (container->group && !p.args)
        limit(container->group, &p, pipes);
    if (!p.args)
        report_failure(report, STATUS_SETUP_FAILED, "the session's record: no record \"args\"");
    bound(&p, container->group ? process_of(container, report) : container->process);
    become_prepare(&p, report);
    stdio_prepare_session(&p, report);
    int mounts = open_namespace(container->pid, "mnt", report);
    if (container->group) {
        cgroups = open_namespace(container->pid, "cgroup", report);
        enter_kinds(container->pid, report);
        cgroup_join_group(container->group, container->pid, report);
    } else if (p.pids_limit) {
        cgroups = open_namespace(container->pid, "cgroup", report);
        cgroup_join(container->pid, report);
    }
    /* The last step: it takes the ramdisk's /proc away. Its root is the container's, which lies over the ramdisk there. */
    if ((cgroups >= 0 && setns(cgroups, CLONE_NEWCGROUP) < 0) || setns(mounts, CLONE_NEWNS) < 0)
        report_failure(report, STATUS_SETUP_FAILED, "entering the container: %s", reason(errno));
    become(&p, pipes, false);
}
