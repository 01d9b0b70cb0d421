/* The last steps before the container's process, inside its root. */
#ifndef RUNX_CHILD_EXEC_H
#define RUNX_CHILD_EXEC_H

#include "child/process.h"

/* Takes the user, the limits and the rights of PROCESS, runs its hooks and executes it. */
_Noreturn void exec_process(struct process *process, int report);

#endif
