/* /runx/setup: the steps that assemble the container's root (docs/guest.md). */
#ifndef RUNX_CHILD_SETUP_H
#define RUNX_CHILD_SETUP_H

#include "child/pipes.h"

/* Carries the steps out. A failure is told to PIPES->log, and ends the child. */
void setup_run(const struct child_pipes *pipes);

#endif
