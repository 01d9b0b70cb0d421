/* What the machine of a pod runs in place of a program (docs/guest.md, "The machine of a pod"). */
#ifndef RUNX_CHILD_PAUSE_H
#define RUNX_CHILD_PAUSE_H

/* Makes an empty, read-only root for it at NEWROOT. */
void pause_root(int report);
/* Reports that it runs; then waits, and reaps what others leave in its PID namespace, until SIGTERM or SIGINT end it with 0. */
_Noreturn void pause_run(int report);

#endif
