/* The child of PID 1 that becomes the container's process. */
#ifndef RUNX_CHILD_MAIN_H
#define RUNX_CHILD_MAIN_H

#include "child/pipes.h"
#include "child/process.h"

/* Carries out the steps of /runx/setup, makes NEWROOT the root, applies PROCESS and executes it. */
_Noreturn void child_main(struct process *process, const struct child_pipes *pipes);

#endif
