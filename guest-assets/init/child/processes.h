/* Lists the processes of the container, for `runx ps`. */
#ifndef RUNX_CHILD_PROCESSES_H
#define RUNX_CHILD_PROCESSES_H

#include <stdbool.h>

#include "child/pipes.h"

/* In a child of PID 1: writes a line for each process to its output, and ends. IN_PID_NAMESPACE: the container has its own. */
_Noreturn void processes_main(bool in_pid_namespace, const struct child_pipes *pipes);

#endif
