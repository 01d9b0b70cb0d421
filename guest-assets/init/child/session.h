/* The child of PID 1 that becomes a further process of the container. */
#ifndef RUNX_CHILD_SESSION_H
#define RUNX_CHILD_SESSION_H

#include <sys/types.h>

#include "child/pipes.h"
#include "child/process.h"

/* Where a session's process goes. */
struct container {
    const struct process *process; /* of session 0: no session may do more; NULL for a container of a pod */
    pid_t pid;                     /* of that process, in the PID namespace of PID 1 */
    char *archive;                 /* of a container of a pod: its files, which say what its own process may do */
    size_t archive_size;
    const char *group;             /* of a container of a pod: its control group */
};

/* Enters the container, applies the SIZE bytes of TEXT, records as in /runx/process, and executes the process. This child is in
 * the container's PID namespace already. For a container of a pod, records that have limits alone are new limits of its control
 * group, or questions about it, and nothing is executed. */
_Noreturn void session_main(char *text, size_t size, const struct container *container, const struct child_pipes *pipes);

#endif
