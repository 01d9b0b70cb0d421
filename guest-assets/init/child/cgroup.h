/* The limit of tasks (linux.resources.pids.limit): a cgroup of the container's own. */
#ifndef RUNX_CHILD_CGROUP_H
#define RUNX_CHILD_CGROUP_H

#include <sys/types.h>

/* Moves the child into a cgroup, which is the root of a new cgroup namespace. It has no limit yet, because the processes of
 * the set-up must not count. Returns a descriptor for cgroup_limit(). */
int cgroup_enter(int report);
/* In a child that is in the root cgroup: moves it into that of the container, whose process is PID. Makes a mount namespace. */
void cgroup_join(pid_t pid, int report);
/* Sets the most tasks there may be, a decimal number, and closes LIMIT. */
void cgroup_limit(int limit, const char *most, int report);

#endif
