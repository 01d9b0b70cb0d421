/* A container that joins the machine of its pod, from its archive to its process (docs/guest.md, "The machine of a pod"). */
#ifndef RUNX_CHILD_CONTAINER_H
#define RUNX_CHILD_CONTAINER_H

#include <stddef.h>

#include "child/pipes.h"

/* Assembles the container of an archive of SIZE bytes, in the control group GROUP, and becomes its process. In the child of PID 1. */
_Noreturn void container_main(char *archive, size_t size, const char *group, const struct child_pipes *pipes);

#endif
