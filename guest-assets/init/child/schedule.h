/* process.scheduler and process.ioPriority (OCI config.md, "Linux Process"). */
#ifndef RUNX_CHILD_SCHEDULE_H
#define RUNX_CHILD_SCHEDULE_H

#include "child/process.h"

void schedule_apply(const struct process *process, int report);

#endif
