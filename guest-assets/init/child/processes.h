/* Lists the processes of the container, for `runx ps`. */
#ifndef RUNX_CHILD_PROCESSES_H
#define RUNX_CHILD_PROCESSES_H

#include <stdbool.h>
#include <sys/types.h>

#include "child/pipes.h"

/* In a child of PID 1: writes a line for each process to its output, and ends. IN_PID_NAMESPACE: the container has its own. GROUP: the
 * control group of a container of a pod, whose process is PID; NULL for the container of session 0. */
_Noreturn void processes_main(bool in_pid_namespace, const char *group, pid_t pid, const struct child_pipes *pipes);

#endif
