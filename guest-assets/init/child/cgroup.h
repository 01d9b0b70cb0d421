/* The limit of tasks (linux.resources.pids.limit): a cgroup of the container's own. And those of the containers of a pod, which PID 1
 * makes (pid1/groups.h). */
#ifndef RUNX_CHILD_CGROUP_H
#define RUNX_CHILD_CGROUP_H

#include <sys/types.h>

#include "child/process.h"

/* Where PID 1 of a pod's machine has control groups, and where a child mounts them for a moment. */
#define HIERARCHY "/run/cgroup"

/* Moves the child into a cgroup, which is the root of a new cgroup namespace. It has no limit yet, because the processes of
 * the set-up must not count. Returns a descriptor for cgroup_limit(). */
int cgroup_enter(int report);
/* In a child that is in the root cgroup: moves it into that of the container, whose process is PID. Makes a mount namespace. */
void cgroup_join(pid_t pid, int report);
/* Moves this process into the control group GROUP of a pod's machine. PID: a process of it, 0 for the first one. */
void cgroup_join_group(const char *group, pid_t pid, int report);
/* Sets what PROCESS says of the control group GROUP of a pod's machine. Waits until the group has stopped, if it is to. */
void cgroup_write(const char *group, const struct process *process, int report);
/* Writes to OUT what files of GROUP say for which PROCESS has no content: a line for each of theirs, after the file's name. */
void cgroup_tell(const char *group, const struct process *process, int out);
/* Sets the most tasks there may be, a decimal number, and closes LIMIT. */
void cgroup_limit(int limit, const char *most, int report);

#endif
