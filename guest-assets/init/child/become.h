/* The last steps that every process of the container takes, in its own child of PID 1. */
#ifndef RUNX_CHILD_BECOME_H
#define RUNX_CHILD_BECOME_H

#include "child/pipes.h"
#include "child/process.h"

/* Sets what needs the ramdisk's /proc: the container may have none. */
void become_prepare(const struct process *process, int report);
/* Inside the container's root: takes the standard streams, applies PROCESS and executes it. IS_FIRST: it is the container's own
 * process, whose terminal is /dev/console too. */
_Noreturn void become(struct process *process, const struct child_pipes *pipes, bool is_first);

#endif
