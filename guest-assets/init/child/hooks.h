/* startContainer hooks: programs of the container's root that run just before its process (docs/guest.md, "Hooks"). */
#ifndef RUNX_CHILD_HOOKS_H
#define RUNX_CHILD_HOOKS_H

#include "child/process.h"

/* Makes the files of the hooks, while the child may still do everything. */
void hooks_prepare(struct process *process, int report);
/* Runs the hooks one after the other, until one fails. */
void hooks_run(const struct process *process, int report);

#endif
